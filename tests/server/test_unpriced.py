"""Names without a price: the session stays usable, and its numbers are marked for all clients."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from trio.testing import MockClock

from portfolio_trio.canonical import canonical
from tests.support.app import App, open_app
from tests.support.clock import START
from tests.support.logs import events, log_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# Time stands still: a file is read in a thread, which virtual time that jumps would not wait for.
pytestmark = pytest.mark.trio

CASES = Path(__file__).parents[1] / "cases"
DELISTED = CASES / "delisted_name_ends_early.csv"
DAY = 86_400.0
# The clock of an app starts on 2026-11-18; what comes after is in the future.
LAST_DAY = "2026-11-18"
TWTR_ENDS = "2026-10-30"
LATE = "the market is no longer updated: ticks are missing"
DO = f"sell or remove TWTR: its last close is of {TWTR_ENDS}"


def put(path: Path, text: str, *, written_at: float = START) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (written_at, written_at))
    new.replace(path)


def until(day: str, case: Path = DELISTED) -> str:
    """A file of closes as it was on a day."""
    heading, *rows = case.read_text().splitlines()
    return "\n".join([heading, *(row for row in rows if row[:10] <= day)]) + "\n"


async def settle(app: App) -> None:
    """One tick, out of turn."""
    await app.server.updater.tick()


@asynccontextmanager
async def market(
    tmp_path: Path, day: str = LAST_DAY, live: str | None = None, **settings: object
) -> AsyncGenerator[tuple[App, Path, Path]]:
    """An app on a file of closes, and with ``live`` on a file of live prices."""
    bars, prices = tmp_path / "bars.csv", tmp_path / "live.json"
    put(bars, until(day))
    if live is not None:
        put(prices, live)
    fields: dict[str, Any] = {"default_holdings": {"AAPL": 10}, **settings}
    live_prices = None if live is None else str(prices)
    async with open_app(prices=f"csv:{bars}", live_prices=live_prices, **fields) as app:
        yield app, bars, prices


async def delisted(app: App, bars: Path, **holdings: float) -> tuple[Any, Any]:
    """A client and a subscriber of a session that held TWTR when its closes ended."""
    client = await app.connect()
    bought = await client.ask("set_holdings", holdings={"AAPL": 10, "TWTR": 5, **holdings})
    assert bought["unpriced"] == {}
    assert not bought["stale"]
    subscriber = await app.connect(events=True)
    await subscriber.receive()
    put(bars, until(LAST_DAY))
    await settle(app)
    return client, subscriber


def price(ticker: str, day: str = LAST_DAY, case: Path = DELISTED) -> float:
    heading, *rows = case.read_text().splitlines()
    row = next(row for row in rows if row.startswith(day)).split(",")
    return float(row[heading.split(",").index(ticker)])


async def test_the_subscribers_are_told_what_the_value_is_worth(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, subscriber = await delisted(app, bars)
        update = await subscriber.receive()
        assert update["type"] == "portfolio_update"
        assert update["unpriced"] == {"TWTR": TWTR_ENDS}
        assert update["stale"] is True
        assert update["last_bar"] == LAST_DAY
        assert update["values"] == {"AAPL": 10 * price("AAPL"), "TWTR": 5 * price("TWTR", TWTR_ENDS)}
        assert update["total_value"] == canonical(sum(update["values"].values()))
        assert update["total_value"] == (await app.document())["total_value"]
        portfolio = await client.ask("get_portfolio")
        assert portfolio["unpriced"] == {"TWTR": TWTR_ENDS}
        assert portfolio["stale"] is True
        assert portfolio["total_value"] == update["total_value"]
        latecomer = await app.connect(events=True)
        assert (await latecomer.receive())["unpriced"] == {"TWTR": TWTR_ENDS}


async def test_an_analysis_is_refused_with_what_to_do(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, subscriber = await delisted(app, bars)
        for ticker in ("AAPL", "TWTR"):
            error = await client.ask("analyze", ticker=ticker, id=ticker)
            assert (error["code"], error["retryable"], error["detail"]) == ("bad_price", False, DO)
            assert (error["id"], error["tickers"]) == (ticker, ["TWTR"])
        failed = (await subscriber.until("analysis_failed"))[-1]
        assert (failed["code"], failed["retryable"], failed["detail"]) == ("bad_price", False, DO)


async def test_what_leaves_a_name_unpriced_is_refused_and_changes_nothing(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, _ = await delisted(app, bars)
        before = await app.document()
        for ask in (
            {"action": "trade", "ticker": "TWTR", "shares": 1},
            {"action": "trade", "ticker": "TWTR", "shares": -2},
            {"action": "trade", "ticker": "TWTR", "shares": -6},
            {"action": "set_holdings", "holdings": {"AAPL": 1, "TWTR": 5}},
        ):
            error = await client.ask(**ask)
            assert (error["code"], error["retryable"], error["detail"]) == ("bad_price", False, DO), ask
        after = await app.document()
        assert {**after, "last_activity": 0} == {**before, "last_activity": 0}


async def test_selling_out_frees_the_session(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, _ = await delisted(app, bars)
        sold = await client.ask("trade", ticker="TWTR", shares=-5)
        assert sold["type"] == "portfolio"
        assert sold["holdings"] == {"AAPL": 10}
        assert (sold["unpriced"], sold["stale"]) == ({}, False)
        assert sold["total_value"] == 10 * price("AAPL")
        assert (await client.ask("analyze", ticker="AAPL"))["type"] == "analysis_result"


async def test_holdings_without_the_name_free_the_session(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, _ = await delisted(app, bars)
        changed = await client.ask("set_holdings", holdings={"MSFT": 3, "TWTR": 0})
        assert (changed["unpriced"], changed["stale"]) == ({}, False)
        assert changed["total_value"] == 3 * price("MSFT")


async def test_other_names_are_bought_and_sold_beside_it(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, TWTR_ENDS, max_bar_age_days=30) as (app, bars, _):
        client, _ = await delisted(app, bars, GOOGL=2)
        await client.ask("trade", ticker="MSFT", shares=4)
        changed = await client.ask("trade", ticker="AAPL", shares=-10)
        assert changed["holdings"] == {"TWTR": 5, "GOOGL": 2, "MSFT": 4}
        assert (changed["unpriced"], changed["stale"]) == ({"TWTR": TWTR_ENDS}, True)
        # Added up in document order, as the script does.
        total = 5 * price("TWTR", TWTR_ENDS) + 2 * price("GOOGL") + 4 * price("MSFT")
        assert changed["total_value"] == canonical(total) == (await app.document())["total_value"]


async def test_the_last_price_that_was_quoted_counts_more_than_the_last_close(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    live = {"AAPL": 70.0, "MSFT": 200.0, "GOOGL": 300.0}
    async with market(tmp_path, live=json.dumps(live)) as (app, _, prices):
        client = await app.connect()
        await client.ask("set_holdings", holdings={"AAPL": 10, "MSFT": 1})
        put(prices, '{"AAPL": 71.5, "MSFT": null}')
        await settle(app)
        portfolio = await client.ask("get_portfolio")
        assert portfolio["total_value"] == 10 * 71.5 + 200.0
        assert portfolio["unpriced"] == {"MSFT": LAST_DAY}
        # It may come back, so waiting helps.
        error = await client.ask("analyze", ticker="AAPL")
        assert (error["code"], error["retryable"]) == ("bad_price", True)
        assert error["detail"] == "no price for MSFT at this tick; ask again after the next one"
        error = await client.ask("trade", ticker="MSFT", shares=1)
        assert (error["code"], error["retryable"]) == ("bad_price", True)
        put(prices, '{"AAPL": 71.5, "MSFT": 201.0}')
        await settle(app)
        portfolio = await client.ask("get_portfolio")
        assert (portfolio["total_value"], portfolio["unpriced"]) == (10 * 71.5 + 201.0, {})


async def test_a_column_that_has_gone_is_valued_at_its_last_price(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with market(tmp_path) as (app, bars, _):
        client = await app.connect()
        subscriber = await app.connect(events=True)
        await subscriber.receive()
        await client.ask("set_holdings", holdings={"AAPL": 10, "GOOGL": 1})
        without = [
            ",".join(cell for at, cell in enumerate(line.split(",")) if at != 3)
            for line in until(LAST_DAY).splitlines()
        ]
        put(bars, "\n".join(without) + "\n")
        await settle(app)
        update = (await subscriber.until("portfolio_update"))[-1]
        assert (update["unpriced"], update["stale"]) == ({"GOOGL": None}, True)
        assert update["total_value"] == 10 * price("AAPL") + price("GOOGL")
        error = await client.ask("analyze", ticker="AAPL")
        assert (error["code"], error["retryable"]) == ("bad_price", False)
        assert error["detail"] == "sell or remove GOOGL: no price source knows it"
        assert (await client.ask("trade", ticker="MSFT", shares=1))["unpriced"] == {"GOOGL": None}
        assert (await client.ask("trade", ticker="GOOGL", shares=1))["code"] == "unknown_ticker"
        assert (await client.ask("trade", ticker="GOOGL", shares=-1))["unpriced"] == {}


async def test_an_unknown_name_freezes_the_value_and_is_reported(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with market(tmp_path) as (app, _, __):
        client = await app.connect()
        await client.ask("set_holdings", holdings={"AAPL": 10})
        store = app.store
        tick = app.server.services.book.current
        at = "2026-11-18T11:06:40.000Z"
        # As a server with other prices left it.
        await store.trade(
            "s", "GONE", 2, tick=tick, at=at, price_lookup=lambda names: dict.fromkeys(names, 9.0)
        )
        subscriber = await app.connect(events=True)
        welcome = await subscriber.receive()
        assert (welcome["unpriced"], welcome["stale"]) == ({"GONE": None}, True)
        await settle(app)
        update = await subscriber.receive()
        assert update["total_value"] == welcome["total_value"]
        assert (update["unpriced"], update["tick_id"]) == ({"GONE": None}, welcome["valued"]["tick_id"])
        error = await client.ask("trade", ticker="MSFT", shares=1)
        assert (error["code"], error["retryable"]) == ("bad_price", False)
        assert error["detail"] == "sell or remove GONE: no price source knows it"
        assert (await client.ask("trade", ticker="GONE", shares=-2))["holdings"] == {"AAPL": 10}


async def test_a_stranger_is_unknown_however_it_is_named(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path) as (app, _, __):
        client = await app.connect()
        before = await client.ask("get_portfolio")
        for ask in (
            {"action": "trade", "ticker": "ZZZ", "shares": 1},
            {"action": "set_holdings", "holdings": {"AAPL": 1, "ZZZ": 1}},
            {"action": "set_targets", "weights": {"AAPL": 1, "ZZZ": 1}},
            {"action": "set_targets", "budgets": {"AAPL": 1, "ZZZ": 1}},
        ):
            error = await client.ask(**ask)
            assert (error["code"], error["retryable"], error["tickers"]) == ("unknown_ticker", False, ["ZZZ"])
        assert await client.ask("get_portfolio") == before


# --- freshness ----------------------------------------------------------------------------------------------


async def test_fresh_prices_are_ready(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, live='{"AAPL": 70, "MSFT": 1, "GOOGL": 1}') as (app, _, __):
        status, body = await app.ready()
        assert (status, body["reasons"], body["last_bar"]) == (200, [], LAST_DAY)
        client = await app.connect()
        result = await client.ask("analyze", ticker="AAPL")
        assert result["last_bar"] == LAST_DAY
        assert "stale" not in result


async def test_default_holdings_without_a_price_are_not_ready(
    mock_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with market(tmp_path, default_holdings={"AAPL": 1, "TWTR": 1}) as (app, _, __):
        said = f"PORTFOLIO_DEFAULT_HOLDINGS: there is no price for TWTR (last close {TWTR_ENDS})"
        assert said in log_text(caplog)
        status, body = await app.ready()
        assert (status, body["reasons"]) == (503, [said])


@pytest.mark.parametrize(
    "way_out",
    [
        {"action": "trade", "ticker": "TWTR", "shares": -1},
        {"action": "set_holdings", "holdings": {"AAPL": 1}},
    ],
)
async def test_a_new_session_of_default_holdings_without_a_price_has_a_way_out(
    mock_clock: MockClock, tmp_path: Path, way_out: dict[str, Any]
) -> None:
    """Refused, it could neither sell the name nor be given other holdings."""
    async with market(tmp_path, default_holdings={"AAPL": 1, "TWTR": 1}) as (app, _, __):
        subscriber = await app.connect(events=True)
        state = await subscriber.receive()
        assert (state["stale"], state["unpriced"]) == (True, {"TWTR": TWTR_ENDS})
        client = await app.connect()
        error = await client.ask("analyze", ticker="AAPL")
        assert (error["code"], error["retryable"], error["detail"]) == ("bad_price", False, DO)
        changed = await client.ask(**way_out)
        assert (changed["holdings"], changed["stale"], changed["unpriced"]) == ({"AAPL": 1}, False, {})
        assert changed["total_value"] < state["total_value"]


async def test_a_live_file_without_one_usable_price_is_not_ready(
    mock_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = (CASES / "live_no_usable_price.json").read_text()
    async with market(tmp_path, live=live) as (app, _, prices):
        assert events(caplog, "not_ready")[0] == ("not_ready", {"reason": "no name has a usable price"})
        status, body = await app.ready()
        assert (status, body["stale"]) == (503, True)
        assert body["reasons"][0] == "no name has a usable price"
        put(prices, '{"AAPL": 70}')
        await settle(app)
        assert (await app.ready())[0] == 200
        client = await app.connect(events=True)
        await client.receive()
        put(prices, live)
        await settle(app)
        update = await client.receive()
        assert (update["stale"], update["unpriced"]) == (True, {"AAPL": LAST_DAY})
        assert update["total_value"] == 700.0
        assert (await app.ready())[0] == 503


async def test_bars_nobody_writes_any_more_are_stale(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, "2026-01-20") as (app, bars, _):
        reason = "the newest closed bar is of 2026-01-20, more than 7 days ago"
        status, body = await app.ready()
        assert (status, body["reasons"], body["stale"]) == (503, [reason], True)
        client = await app.connect(events=True)
        welcome = await client.receive()
        assert (welcome["last_bar"], welcome["stale"]) == ("2026-01-20", True)
        await client.send("analyze", ticker="AAPL")
        result = (await client.until("analysis_result"))[-1]
        assert (result["last_bar"], result["stale"]) == ("2026-01-20", True)
        await settle(app)
        update = (await client.until("portfolio_update"))[-1]
        assert (update["last_bar"], update["stale"], update["unpriced"]) == ("2026-01-20", True, {})
        put(bars, until(LAST_DAY))
        await settle(app)
        assert (await client.receive())["stale"] is False
        assert (await app.ready())[0] == 200


@pytest.mark.parametrize(("day", "stale"), [("2026-11-11", False), ("2026-11-10", True)])
async def test_a_bar_is_fresh_for_seven_days(
    mock_clock: MockClock, tmp_path: Path, day: str, *, stale: bool
) -> None:
    async with market(tmp_path, day) as (app, _, __):
        assert (await app.ready())[1]["stale"] is stale
    async with market(tmp_path, day, max_bar_age_days=8) as (app, _, __):
        assert (await app.ready())[0] == 200


@pytest.mark.parametrize(("age", "stale"), [(300.0, False), (301.0, True)])
async def test_a_live_file_nobody_writes_any_more_is_stale(
    mock_clock: MockClock, tmp_path: Path, age: float, *, stale: bool
) -> None:
    live = '{"AAPL": 70}'
    async with market(tmp_path, live=live) as (app, _, prices):
        # Virtual time stands still here: the file is made older instead.
        put(prices, live, written_at=app.server.services.now() - age)
        await settle(app)
        status, body = await app.ready()
        assert body["stale"] is stale
        assert status == (503 if stale else 200)
        if stale:
            assert body["reasons"] == ["the live prices were last written more than 300 s ago"]
        client = await app.connect()
        assert (await client.ask("get_portfolio"))["stale"] is stale


async def test_a_name_whose_bars_are_old_is_stale_beside_one_whose_are_not(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    live = '{"AAPL": 70, "TWTR": 400}'
    async with market(tmp_path, live=live) as (app, _, __):
        assert (await app.ready())[0] == 200
        client = await app.connect()
        assert (await client.ask("get_portfolio"))["stale"] is False
        changed = await client.ask("set_holdings", holdings={"AAPL": 1, "TWTR": 1})
        assert (changed["stale"], changed["unpriced"]) == (True, {})
        await client.send("analyze", ticker="AAPL")
        assert all(frame.get("stale", True) is True for frame in await client.take(5))


@pytest.mark.parametrize(("late", "status"), [(99.0, 200), (101.0, 503)])
async def test_a_market_without_ticks_is_not_ready(mock_clock: MockClock, late: float, status: int) -> None:
    async with open_app() as app:
        now = app.server.services.now() + late
        app.server.services.now = lambda: now
        found, body = await app.ready()
        assert found == status
        assert body["reasons"] == ([] if status == 200 else [LATE])


async def test_simulated_prices_are_fresh_for_ever(mock_clock: MockClock) -> None:
    async with open_app() as app:
        book = app.server.services.book
        book._now = book._ticks._now = lambda: START + 1_000 * DAY
        await app.server.updater.tick()
        assert (await app.ready())[0] == 200
        client = await app.connect()
        assert (await client.ask("get_portfolio"))["stale"] is False
