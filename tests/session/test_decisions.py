"""Risk, what-if, targets, plan and history over the wire, and their consistency."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio

from portfolio_trio.cli.replay_decisions import differences, read_decision
from portfolio_trio.metrics import BUILT_IN, AnalysisError, MetricError, ReturnsCache
from portfolio_trio.protocol.events import parse_message
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.messages import joined
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.session.decisions import Seen, prepare
from portfolio_trio.targets import NO_TARGETS, Targets
from tests.metrics.support import make_portfolio
from tests.support.app import HOLDINGS, App, open_app

if TYPE_CHECKING:
    from trio.testing import MockClock

pytestmark = pytest.mark.trio

Json = dict[str, Any]


def quiet_app(**settings: Any) -> Any:
    """Prices rest."""
    return open_app(market_update_interval_seconds=3_600, **settings)


async def ask(app: App, *requests: Json) -> list[Json]:
    """The answers of one socket without the subprotocol."""
    client = await app.connect()
    answers = []
    for request in requests:
        await client.socket.send_message(json.dumps(request))
        answers.append(await client.receive())
    await client.socket.aclose()
    return answers


async def test_rows_of_risk_are_what_analyses_say(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        await ask(
            app,
            {"action": "set_targets", "weights": {"AAPL": 2, "MSFT": 1}, "budgets": {"AAPL": 1, "GOOGL": 3}},
        )
        (risk,) = await ask(app, {"action": "get_risk", "id": "r", "correlations": True})
        assert (risk["type"], risk["id"], risk["version"]) == ("risk", "r", 2)
        assert [row["ticker"] for row in risk["holdings"]] == list(HOLDINGS)
        client = await app.connect()
        for row in risk["holdings"]:
            await client.send("analyze", ticker=row["ticker"])
            found = {each["metric"]: each for each in await client.take(len(BUILT_IN))}
            assert {each["snapshot"] for each in found.values()} == {risk["snapshot"]}
            assert row["risk"] == found["portfolio_risk"]["value"]
            assert row["weight"] == found["concentration"]["detail"]["weight"]
            assert row["correlation"] == found["correlation"]["value"]
            assert row["score"] == found["allocation_score"]["value"]
            assert row["budget"] == found["allocation_score"]["detail"]["budget"]
            assert row["volatility"] == found["portfolio_risk"]["detail"]["volatility"]
            assert row["beta"] == found["portfolio_risk"]["detail"]["beta"]
            active = found["concentration"]["detail"]["active_weight"]
            assert row["weight"] - row["target_weight"] == pytest.approx(active)
        matrix = risk["matrix"]
        assert [matrix[place][place] for place in range(3)] == [1.0] * 3
        assert risk["totals"]["n_obs"] == 252


async def test_risk_is_in_the_order_of_the_portfolio(autojump_clock: MockClock) -> None:
    held = {"MSFT": 3, "AAPL": 1, "JPM": -2, "KO": 5}
    async with quiet_app() as app:
        portfolio, risk, other, again = await ask(
            app,
            {"action": "set_holdings", "holdings": held},
            {"action": "get_risk", "correlations": True, "receipt": True},
            {"action": "set_holdings", "holdings": {name: held[name] for name in sorted(held)}},
            {"action": "get_risk", "correlations": True},
        )
        assert list(portfolio["holdings"]) == [row["ticker"] for row in risk["holdings"]] == list(held)
        assert list(other["holdings"]) == [row["ticker"] for row in again["holdings"]] == sorted(held)
        place = [sorted(held).index(name) for name in held]
        assert risk["matrix"] == [[again["matrix"][row][column] for column in place] for row in place]
        assert {row["ticker"]: row for row in again["holdings"]} == {
            row["ticker"]: row for row in risk["holdings"]
        }
        read = read_decision(risk)
        assert read is not None
        assert differences(read, risk, app.server.services.book.bars) == []


async def test_what_if_then_trade_then_risk(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        before, what_if, *_, after = await ask(
            app,
            {"action": "get_risk"},
            {"action": "what_if", "trades": {"AAPL": -20, "GOOGL": 10}},
            {"action": "trade", "ticker": "AAPL", "shares": -20},
            {"action": "trade", "ticker": "GOOGL", "shares": 10},
            {"action": "get_risk"},
        )
        assert what_if["version"] == before["version"] == 1
        assert what_if["before"] == before["totals"]
        for name, number in after["totals"].items():
            assert what_if["after"][name] == pytest.approx(number, rel=1e-12)
        for traded, row in zip(what_if["holdings"], after["holdings"], strict=True):
            assert traded["after"]["risk"] == pytest.approx(row["risk"], rel=1e-9)
        spent = -20 * before["holdings"][0]["price"] + 10 * before["holdings"][1]["price"]
        assert what_if["cash"] == pytest.approx(-spent)


def without_empty(fields: Json) -> Json:
    return fields if fields.get("errors", True) else {n: each for n, each in fields.items() if n != "errors"}


@pytest.mark.parametrize("holdings", [HOLDINGS, {"AAPL": -3, "USD": 50}, {"AAPL": 2}, {"USD": 1}])
async def test_answers_are_what_their_models_would_write(
    holdings: dict[str, float], autojump_clock: MockClock
) -> None:
    """With rows that have errors, and with nulls."""
    questions = (
        {"action": "get_risk", "correlations": True},
        {"action": "what_if", "trades": {"AAPL": -2, "TSLA": 3}},
        {"action": "plan", "to": "weights", "cash": 500},
        {"action": "plan", "to": "budgets"},
        {"action": "get_history", "bars": 3},
    )
    kinds: set[str] = set()
    async with quiet_app(default_holdings=holdings, cash=("USD",)) as app:
        for answer in await ask(app, *questions):
            written = json.loads(parse_message(json.dumps(answer)).to_json(), object_hook=without_empty)
            assert written == answer
            kinds.add(answer["type"])
    assert kinds >= {"risk", "what_if", "plan", "history"}


async def test_without_enough_history_the_rest_of_the_risk_is_given() -> None:
    short = make_portfolio({"A": 1.0, "B": 2.0}, rows=50)
    seen = Seen(
        holdings=short.holdings,
        prices=short.prices,
        targets=NO_TARGETS,
        cache=ReturnsCache(short.bars),
        version=1,
        tick_id=2,
        as_of="2026-01-01T00:00:00.000Z",
    )
    job = prepare(GetRisk(action="get_risk", correlations=True), seen)
    text = joined(exact_json(job.compute()), f'{{"receipt":{job.receipt().text}}}')
    answer = json.loads(text)
    assert (answer["matrix"], answer["errors"]) == (None, {"matrix": "insufficient_history"})
    assert answer["totals"]["gross"] == pytest.approx(short.prices["A"] + 2.0 * short.prices["B"])
    assert answer["holdings"][0]["errors"]["risk"] == "insufficient_history"
    read = read_decision(answer)
    assert read is not None
    assert differences(read, answer, short.bars) == []
    assert json.loads(read.to_json())["matrix"] is None


def nulls_without_a_code(part: object, place: str = "") -> list[str]:
    """The members that are null although the ``errors`` beside them have no code for it."""
    if isinstance(part, list):
        return [each for row in part for each in nulls_without_a_code(row, place)]
    if not isinstance(part, dict):
        return []
    codes = part.get("errors", {})
    found = [f"{place}.{name}" for name, each in part.items() if each is None and name not in codes]
    found += [f"{place}.{name}" for name in codes if part.get(name) is not None]
    return found + [each for name in part for each in nulls_without_a_code(part[name], f"{place}.{name}")]


@pytest.mark.parametrize(
    "holdings", [{"USD": 100, "A": 1}, {"USD": 100}, {"A": 1}, {"A": 1, "B": -1, "USD": 3}, {}]
)
@pytest.mark.parametrize("rows", [300, 40, 1])
async def test_each_null_has_its_code_beside_it(holdings: dict[str, float], rows: int) -> None:
    """Of whatever becomes of a portfolio that does not move, is sold or has no history."""
    market = make_portfolio({"A": 1.0, "B": 1.0}, rows=rows)
    prices = {"A": 10.0, "B": 10.0, "USD": 1.0}
    # A and B are the same name twice: long and short they are a full hedge.
    closes = np.column_stack((market.bars.closes[:, 0],) * 2)
    cache = ReturnsCache(replace(market.bars, closes=closes), cash=("USD",))
    targets = Targets(weights={"USD": 1.0})
    questions = (
        GetRisk(action="get_risk"),
        AskWhatIf(action="what_if", trades={"A": -1.0}),
        AskWhatIf(action="what_if", trades={"B": -1.0}),
        AskWhatIf(action="what_if", trades={"USD": 5.0}),
        AskWhatIf(action="what_if", trades={name: -shares for name, shares in holdings.items()} | {"A": -1}),
        MakePlan(action="plan", to="weights"),
        MakePlan(action="plan", to="weights", cash=50.0),
        GetHistory(action="get_history"),
    )
    answered = 0
    for question in questions:
        seen = Seen(holdings, prices, targets, cache, version=1, tick_id=2, as_of="2026-01-01T00:00:00.000Z")
        try:
            fields = prepare(question, seen).compute()
        except (AnalysisError, MetricError):
            continue
        answer, answered = json.loads(exact_json(fields)), answered + 1
        # That is no number to compute, unless a single name is traded.
        if answer.get("best_hedge", ...) is None and len(answer["trades"]) != 1:
            del answer["best_hedge"]
        assert nulls_without_a_code(answer) == []
    assert answered >= 4


async def test_a_new_name_is_admitted_and_an_unknown_one_is_named(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        bought, nothing, refused = await ask(
            app,
            {"action": "what_if", "trades": {"TSLA": 5}},
            {"action": "what_if", "trades": {}},
            {"action": "what_if", "trades": dict.fromkeys((f"N{place}" for place in range(498)), 1)},
        )
        assert [line["ticker"] for line in bought["holdings"]] == ["AAPL", "GOOGL", "MSFT", "TSLA"]
        assert bought["best_hedge"]["ticker"] == "TSLA"
        assert set(nothing["change"].values()) == {0.0}
        assert refused["code"] == "too_many_holdings"
        assert (await app.document())["holdings"] == HOLDINGS


async def test_targets_a_plan_and_the_drift_that_is_left(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        targets, plan = await ask(
            app,
            {"action": "set_targets", "weights": {"AAPL": 50, "TSLA": 50}, "band": 0.01, "id": 1},
            {"action": "plan", "to": "weights", "cash": 1_000},
        )
        assert targets["targets"] == {"weights": {"AAPL": 0.5, "TSLA": 0.5}, "budgets": None, "band": 0.01}
        assert set(targets["outside"]) == {"AAPL", "GOOGL", "MSFT", "TSLA"}
        assert targets["outside"]["TSLA"] == -0.5
        sizes = [abs(line["value"]) for line in plan["lines"]]
        assert sizes == sorted(sizes, reverse=True)
        assert {line["ticker"] for line in plan["lines"]} == {"AAPL", "GOOGL", "MSFT", "TSLA"}
        trades = [
            {"action": "trade", "ticker": line["ticker"], "shares": line["shares"]} for line in plan["lines"]
        ]
        *_, held = await ask(app, *trades)
        assert held["outside"] == {}
        assert set(held["holdings"]) == {"AAPL", "TSLA"}
        (cleared,) = await ask(app, {"action": "set_targets"})
        assert (cleared["targets"], cleared["outside"]) == (None, {})


async def test_a_plan_to_budgets_leaves_no_gap(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        _, plan = await ask(
            app,
            {"action": "set_targets", "budgets": {"AAPL": 1, "GOOGL": 2, "MSFT": 1}},
            {"action": "plan", "to": "budgets"},
        )
        trades = [
            {"action": "trade", "ticker": line["ticker"], "shares": line["shares"]} for line in plan["lines"]
        ]
        *_, risk = await ask(app, *trades, {"action": "get_risk"})
        assert [row["score"] for row in risk["holdings"]] == pytest.approx([0.0] * 3, abs=1e-8)


async def test_a_portfolio_update_says_what_is_outside(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=5, freshness_tolerance=1.0) as app:
        client = await app.connect(events=True)
        await client.receive()
        await client.send("set_targets", weights={"AAPL": 1}, band=0)
        assert (await client.receive())["outside"]["GOOGL"] > 0.0
        (update,) = [frame for frame in await client.silence(6) if frame["type"] == "portfolio_update"]
        gross = sum(update["values"].values())
        assert update["outside"]["MSFT"] == pytest.approx(update["values"]["MSFT"] / gross)


async def test_new_targets_start_a_running_analysis_again(autojump_clock: MockClock) -> None:
    async with quiet_app(metric_delay_seconds="2,2") as app:
        client = await app.connect(events=True)
        await client.receive()
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        await client.send("set_targets", weights={"AAPL": 1})
        cancelled = (await client.until("analysis_cancelled"))[-1]
        assert cancelled["reason"] == "portfolio_changed"
        frames = await client.until("analysis_completed")
        (value,) = [f["detail"] for f in frames if f.get("metric") == "concentration"]
        assert value["active_weight"] < 0.0


async def test_history_ends_with_the_live_value(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        history, portfolio = await ask(
            app, {"action": "get_history", "bars": 30}, {"action": "get_portfolio"}
        )
        assert (len(history["dates"]), len(history["values"])) == (30, 30)
        assert history["since"] == history["dates"][0]
        assert history["basis"] == "current_holdings"
        assert history["value"] == pytest.approx(portfolio["total_value"])
        assert history["drawdown"]["depth"] >= 0.0


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"action": "get_risk"}, "empty_portfolio"),
        ({"action": "get_history"}, "empty_portfolio"),
        ({"action": "plan", "to": "weights", "cash": 5}, "empty_portfolio"),
        ({"action": "what_if", "trades": {}}, "empty_portfolio"),
        ({"action": "plan", "to": "budgets", "only_buy": True}, "invalid_message"),
        ({"action": "plan", "to": "weights", "only_buy": True, "cash": -1}, "invalid_message"),
        ({"action": "plan", "to": "money"}, "invalid_message"),
        ({"action": "set_targets", "weights": {"AAPL": 0}}, "invalid_message"),
        ({"action": "set_targets", "budgets": {"AAPL": 0}}, "invalid_message"),
        ({"action": "set_targets", "weights": {"AAPL": 1, "MSFT": 1e-12}}, "invalid_message"),
        ({"action": "set_targets", "band": 2}, "invalid_message"),
        ({"action": "set_targets", "version": 9}, "version_conflict"),
        ({"action": "get_history", "bars": 0}, "invalid_message"),
    ],
)
async def test_what_cannot_be_answered_is_said(request_: Json, code: str, autojump_clock: MockClock) -> None:
    async with quiet_app(default_holdings={}) as app:
        (answer,) = await ask(app, {**request_, "id": 1})
        assert (answer["type"], answer["code"], answer["id"]) == ("error", code, 1)


async def test_of_a_sliders_what_ifs_the_newest_is_answered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quiet_app() as app:
        client = await app.connect()
        await client.ask("get_risk")
        read = app.store.get_portfolio

        async def slow(*args: Any, **fields: Any) -> Any:
            await trio.sleep(0.01)
            return await read(*args, **fields)

        monkeypatch.setattr(app.store, "get_portfolio", slow)
        for shares in range(1, 9):
            await client.send("what_if", trades={"AAPL": shares}, id="slider")
        await client.send("get_risk", id="after")
        frames = await client.silence(1)
        assert frames[-1]["id"] == "after"
        answers = [frame for frame in frames if frame["type"] == "what_if"]
        passed_over = [frame for frame in frames if frame["type"] == "error"]
        assert len(answers) + len(passed_over) == 8
        assert answers[0]["trades"] == {"AAPL": 1}
        assert answers[-1]["trades"] == {"AAPL": 8}
        assert {(frame["code"], frame["id"]) for frame in passed_over} == {("superseded", "slider")}
        assert len(answers) == 2


async def test_what_ifs_without_an_id_or_with_others_are_all_answered(autojump_clock: MockClock) -> None:
    async with quiet_app() as app:
        client = await app.connect()
        for place in range(4):
            await client.send("what_if", trades={"AAPL": 1}, id=place)
            await client.send("what_if", trades={"AAPL": 1})
        frames = await client.silence(1)
        assert [frame.get("id") for frame in frames] == [0, None, 1, None, 2, None, 3, None]
        assert {frame["type"] for frame in frames} == {"what_if"}


@pytest.mark.parametrize(
    "question",
    [
        {"action": "get_risk"},
        {"action": "what_if", "trades": {"AAPL": 1}},
        {"action": "what_if", "trades": {"TSLA": 1}},
        {"action": "plan", "to": "budgets"},
        {"action": "get_history", "bars": 3},
    ],
)
async def test_no_answer_mixes_ticks_or_versions(question: Json, mock_clock: MockClock) -> None:
    """The same question again and again, while prices, holdings and targets change."""
    async with open_app(market_update_interval_seconds=5) as app:
        services, client = app.server.services, await app.connect()
        answers = [await client.ask(**question, receipt=True)]
        ticks, holdings = [services.book.current], [HOLDINGS]

        async def again(held: Json) -> None:
            answers.append(await client.ask(**question, receipt=True))
            ticks.append(services.book.current)
            holdings.append(held)

        mock_clock.jump(6)
        await trio.testing.wait_all_tasks_blocked()
        await again(HOLDINGS)
        await client.ask("trade", ticker="AAPL", shares=1)
        await again({**HOLDINGS, "AAPL": 101})
        await client.ask("set_targets", budgets={"AAPL": 1, "MSFT": 2})
        await again({**HOLDINGS, "AAPL": 101})
        assert ticks[1].tick_id > ticks[0].tick_id
        assert [answer["version"] for answer in answers] == [1, 1, 2, 3]
        assert len({answer["snapshot"] for answer in answers}) == 4
        for answer, tick, held in zip(answers, ticks, holdings, strict=True):
            receipt, read = answer["receipt"], read_decision(answer)
            assert (answer["tick_id"], answer["as_of"]) == (tick.tick_id, tick.as_of)
            assert receipt["prices"] == {name: tick.prices[name] for name in receipt["prices"]}
            assert receipt["holdings"] == held
            assert read is not None
            assert differences(read, answer, services.book.bars) == []
        assert "targets" in answers[-1]["receipt"]
