"""Receipts come with results, and a replay finds them equal, or shows where they differ."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from portfolio_trio.cli.main import main
from tests.support.app import METRICS, open_app, results

CLOSES = Path(__file__).parents[2] / "examples" / "data" / "closes.csv"

Frame = dict[str, Any]


async def run_of(
    ticker: str, *, prices: str = "simulated", receipt: bool = True, **holdings: float
) -> list[Frame]:
    async with open_app(prices=prices, default_holdings=holdings) as app:
        client = await app.connect()
        await client.send("analyze", ticker=ticker, receipt=receipt)
        return await client.take(len(METRICS))


def replay(tmp_path: Path, frames: object, prices: str = "simulated") -> int:
    recorded = tmp_path / "result.json"
    recorded.write_text(frames if isinstance(frames, str) else json.dumps(frames))
    return main(["replay", str(recorded), "--prices", prices])


async def in_thread(*arguments: Any) -> int:
    # The command line runs an event loop of its own.
    import trio  # noqa: PLC0415 - next to the call that needs it

    return await trio.to_thread.run_sync(replay, *arguments)


@pytest.mark.trio
async def test_a_result_carries_its_receipt_only_when_asked(autojump_clock: MockClock) -> None:
    plain = await run_of("AAPL", receipt=False, AAPL=1, MSFT=2)
    assert all("receipt" not in frame for frame in plain)
    receipts = [f["receipt"] for f in await run_of("AAPL", AAPL=1, MSFT=2, JPM=0)]
    assert all(receipt == receipts[0] for receipt in receipts)
    assert receipts[0]["holdings"] == {"AAPL": 1, "MSFT": 2}
    assert set(receipts[0]["prices"]) >= {"AAPL", "MSFT"}


@pytest.mark.trio
@pytest.mark.parametrize("form", ["one", "list", "lines", "answer"])
async def test_every_form_of_a_recorded_run_is_recomputed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    frames = await run_of("AAPL", AAPL=10, MSFT=-4.5, JPM=3)
    assert len(results(frames)) == 5
    forms: dict[str, object] = {
        "one": frames[0],
        "list": frames,
        "lines": "\n".join(map(json.dumps, frames)),
        "answer": {"type": "results", "results": frames},
    }
    assert await in_thread(tmp_path, forms[form]) == 0
    assert "equal" in capsys.readouterr().out


@pytest.mark.trio
async def test_what_was_cash_is_cash_when_it_is_recomputed(tmp_path: Path) -> None:
    frames = await run_of("AAPL", AAPL=10, MSFT=4, CASH=500)
    receipt = frames[0]["receipt"]
    assert (receipt["cash"], receipt["prices"]["CASH"]) == (["CASH"], 1.0)
    assert len(results(frames)) == len(METRICS)
    # Whatever it costs where the price source makes up names, or is another one.
    assert await in_thread(tmp_path, frames) == 0
    assert "cash" not in (await run_of("AAPL", AAPL=10, MSFT=4))[0]["receipt"]
    told = {frame["metric"]: frame.get("code") for frame in await run_of("CASH", AAPL=10, CASH=500)}
    assert told["momentum"] == told["correlation"] == told["allocation_score"] == "zero_variance"


@pytest.mark.trio
async def test_errors_are_recomputed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = await run_of("AAPL", AAPL=10)
    assert await in_thread(tmp_path, frames) == 0
    assert "no_other_holdings  equal" in capsys.readouterr().out


@pytest.mark.trio
async def test_a_file_may_hold_runs_of_several_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [
        *await run_of("AAPL", AAPL=10, MSFT=3),
        *await run_of("AAPL", AAPL=2, JPM=1),
        *await run_of("GOOGL", GOOGL=1),
    ]
    assert {frame["run_id"] for frame in frames} == {1}
    # In whatever order they came.
    frames.sort(key=lambda frame: frame["metric"])
    assert await in_thread(tmp_path, frames) == 0
    said = capsys.readouterr().out
    assert said.count("holdings\n") == 3
    assert "no_other_holdings  equal" in said


@pytest.mark.trio
async def test_an_error_of_one_of_two_runs_is_compared_with_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [*await run_of("AAPL", AAPL=10, MSFT=3), *await run_of("AAPL", AAPL=2)]
    assert await in_thread(tmp_path, frames) == 0
    assert "no_other_holdings" not in capsys.readouterr().out


@pytest.mark.trio
async def test_real_closes_and_a_file_that_has_grown_since(tmp_path: Path) -> None:
    lines = CLOSES.read_text().splitlines()
    then, now = tmp_path / "then.csv", tmp_path / "now.csv"
    then.write_text("\n".join(lines[:-30]))
    now.write_text("\n".join(lines))
    frames = await run_of("XOM", prices=f"csv:{then}", AAPL=40, JPM=25, XOM=-30)
    assert await in_thread(tmp_path, frames, f"csv:{now}") == 0


@pytest.mark.trio
async def test_a_history_that_was_rescaled_has_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = CLOSES.read_text().splitlines()
    halved = tmp_path / "halved.csv"
    with halved.open("w") as file:
        file.write(head + "\n")
        for row in rows:
            day, *closes = row.split(",")
            file.write(",".join([day, *(repr(float(close) / 2) if close else "" for close in closes)]) + "\n")
    frames = await run_of("XOM", prices=f"csv:{CLOSES}", AAPL=40, JPM=25, XOM=-30)
    assert await in_thread(tmp_path, frames, f"csv:{halved}") == 3
    said = capsys.readouterr().out
    assert said.count("  equal") == 5
    assert "RESCALED" in said
    assert "DIFFERENT" not in said
    # Among several runs the worst one counts.
    changed = json.loads(json.dumps(frames).replace('"run_id": 1', '"run_id": 2'))
    changed[0]["value"] *= 1.01
    for order in (frames + changed, changed + frames):
        assert await in_thread(tmp_path, order, f"csv:{halved}") == 1


@pytest.mark.trio
async def test_what_was_changed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = await run_of("AAPL", AAPL=10, MSFT=4)
    frames[1]["value"] = math.nextafter(frames[1]["value"], 2) * (1 + 1e-6)
    assert await in_thread(tmp_path, frames) == 1
    said = capsys.readouterr().out
    assert said.count("recomputed") == 1
    assert "concentration" in said
    frames[0]["receipt"]["holdings"]["AAPL"] = 11
    assert await in_thread(tmp_path, frames[:1]) == 1
    assert "snapshot differs" in capsys.readouterr().out


@pytest.mark.trio
@pytest.mark.parametrize("content", ["", "not json", "[]", "{}", '{"metric":"a","run_id":"x","ticker":"A"}'])
async def test_a_file_without_a_receipt_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    assert await in_thread(tmp_path, content) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.trio
async def test_prices_that_cannot_be_read_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = await run_of("AAPL", AAPL=10, MSFT=4)
    assert await in_thread(tmp_path, frames, "csv:/does/not/exist") == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.trio
async def test_a_result_from_the_store_has_its_receipt_though_its_run_has_stored_one(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_app(default_holdings={"AAPL": 1, "MSFT": 2}) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL", receipt=True)
        streamed = await client.take(len(METRICS))
        stored = (await app.document())["analysis_results"]
        assert ["receipt" in found for found in stored] == [True, False, False, False, False]
        for limit in (1, 5):
            answer = await client.ask("get_results", limit=limit)
            sent = [{k: v for k, v in frame.items() if k != "type"} for frame in streamed]
            assert answer["results"] == sent[-limit:]
            assert answer.get("more") == (True if limit == 1 else None)
            assert await in_thread(tmp_path, answer) == 0


@pytest.mark.trio
async def test_an_answer_never_takes_more_than_its_part_of_the_queue(autojump_clock: MockClock) -> None:
    # Five results with receipts are longer than that; the socket must not end as too slow for having asked.
    many = {f"N{number}": 1.5 for number in range(400)}
    async with open_app(default_holdings=many, max_queue_bytes=200_000) as app:
        client = await app.connect()
        await client.send("analyze", ticker="N1", receipt=True)
        await client.take(len(METRICS))
        await client.send("get_results", limit=1_000)
        text = await client.socket.get_message()
        answer = json.loads(text)
        assert answer["more"] is True
        assert 1 <= len(answer["results"]) < len(METRICS)
        assert len(text) <= 50_000 + 200
        assert (await client.ask("get_portfolio"))["type"] == "portfolio"


SPREAD = {"AAPL": 123450.5, "MSFT": 32100, "JPM": 7700, "CASH": 10}
QUESTIONS: tuple[Frame, ...] = (
    {"action": "get_risk", "correlations": True},
    {"action": "get_risk"},
    {"action": "what_if", "trades": {"AAPL": -3, "TSLA": 2.5}},
    {"action": "plan", "to": "budgets", "cash": 250.0},
    {"action": "plan", "to": "weights", "whole_shares": True},
    {"action": "get_history", "bars": 40},
)


async def answers_to(*questions: Frame) -> list[Frame]:
    async with open_app(default_holdings={"AAPL": 10, "MSFT": 4.5, "CASH": 100}) as app:
        client = await app.connect()
        await client.ask("set_targets", weights={"AAPL": 1, "JPM": 2}, budgets={"AAPL": 1, "MSFT": 3})
        return [await client.ask(**question, receipt=True) for question in questions]


@pytest.mark.trio
async def test_every_decision_is_recomputed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    answers = await answers_to(*QUESTIONS)
    assert [answer["type"] for answer in answers] == ["risk", "risk", "what_if", "plan", "plan", "history"]
    assert await in_thread(tmp_path, answers) == 0
    said = capsys.readouterr().out
    assert said.count("  equal") == len(QUESTIONS)


@pytest.mark.trio
async def test_a_plan_is_recomputed_from_the_cash_it_was_made_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Sevenths have more digits than a receipt, and whether a share is paid depends on the last one.
    async with open_app(prices=f"csv:{CLOSES}", default_holdings=SPREAD) as app:
        client = await app.connect()
        await client.ask("set_targets", weights=dict.fromkeys(SPREAD, 1))
        total = (await client.ask("get_portfolio"))["total_value"]
        plans = [
            await client.ask("plan", to="weights", cash=total * part / 7, whole_shares=True, receipt=True)
            for part in range(1, 41)
        ]
    assert await in_thread(tmp_path, plans, f"csv:{CLOSES}") == 0
    assert capsys.readouterr().out.count("  equal") == len(plans)


@pytest.mark.trio
@pytest.mark.parametrize("place", range(len(QUESTIONS)))
async def test_a_decision_that_differs_is_told_with_its_place(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    (answer,) = await answers_to(QUESTIONS[place])
    totals = answer.get("totals") or answer.get("after") or answer
    totals["value"] *= 1.0 + 1e-6
    assert await in_thread(tmp_path, [answer]) == 1
    said = capsys.readouterr().out
    assert "value: recorded" in said
    assert "DIFFERENT" in said


def on_another_machine(answer: Frame) -> Frame:
    """The answer of a machine that sums in another order: its terms differ in their last digit."""
    changed: Frame = json.loads(json.dumps(answer))
    if changed["type"] == "what_if":
        for name in ("value", "risk", "volatility", "effective_holdings"):
            changed["after"][name] *= 1.0 + 1e-15
            changed["change"][name] = changed["after"][name] - changed["before"][name]
    if changed["type"] == "plan":
        gross = changed["after"]["gross"]
        for line in changed["lines"]:
            line["value"] += 1e-15 * gross
            line["shares"] += 1e-15 * gross / changed["receipt"]["prices"][line["ticker"]]
        changed["cash_left"] += 1e-15 * gross
        # Trades of the same size come in another order.
        changed["lines"].reverse()
    return changed


@pytest.mark.trio
async def test_small_differences_of_large_numbers_are_equal_on_every_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    async with open_app(default_holdings={"AAPL": 1e8, "MSFT": -1e8}) as app:
        client = await app.connect()
        small = [
            await client.ask("what_if", trades={"AAPL": 1e-5}, receipt=True),
            await client.ask("plan", to="weights", cash=1e-3, receipt=True),
        ]
        held = await client.ask("get_risk")
        await client.ask(
            "set_targets",
            weights={
                row["ticker"]: abs(row["weight"]) + step
                for row, step in zip(held["holdings"], (1e-9, 0.0), strict=True)
            },
        )
        small.append(await client.ask("plan", to="weights", receipt=True))
    assert await in_thread(tmp_path, list(map(on_another_machine, small))) == 0
    # What is more than rounding is told.
    what_if, plan, twice = small
    twice["lines"][1] = twice["lines"][0]
    what_if["change"]["risk"] += 1e-10 * what_if["before"]["risk"]
    plan["lines"][0]["shares"] *= 1.0 + 1e-6
    assert await in_thread(tmp_path, small) == 1
    said = capsys.readouterr().out
    assert said.count("DIFFERENT") == 3
    assert "change.risk: recorded" in said
    assert f"lines.{plan['lines'][0]['ticker']}.shares: recorded" in said


@pytest.mark.trio
async def test_the_order_of_holdings_is_compared_as_the_matrix_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    (risk,) = await answers_to(QUESTIONS[0])
    risk["holdings"].reverse()
    assert await in_thread(tmp_path, [risk]) == 1
    assert "holdings[0].ticker: recorded" in capsys.readouterr().out


@pytest.mark.trio
async def test_a_decision_without_its_receipt_is_no_decision(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (answer,) = await answers_to(QUESTIONS[0])
    del answer["receipt"]
    assert await in_thread(tmp_path, [answer]) == 2
    assert await in_thread(tmp_path, [{**answer, "receipt": {}}]) == 2
