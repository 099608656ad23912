"""Names missing from the live prices: they count at their last close, and that is reported everywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from trio.testing import MockClock

from portfolio_trio.canonical import canonical
from portfolio_trio.redis import EmbeddedServer
from tests.server.test_unpriced import DELISTED, LAST_DAY, market, price, put, settle, until
from tests.support.app import METRICS, App, open_app
from tests.support.clock import virtual_wall_time
from tests.support.logs import log_text

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

# Time stands still: a file is read in a thread, which virtual time that jumps would not wait for.
pytestmark = pytest.mark.trio

ALL = json.dumps({"AAPL": 70.0, "MSFT": 200.0, "GOOGL": 300.0})
ONE = json.dumps({"AAPL": 71.0})
AT_CLOSE = {"MSFT": LAST_DAY}


async def test_the_sockets_are_told_which_prices_are_closes(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, live=ALL) as (app, _, prices):
        client, subscriber = await app.connect(), await app.connect(events=True)
        assert (await subscriber.receive())["stale_prices"] == {}
        bought = await client.ask("set_holdings", holdings={"AAPL": 10, "MSFT": 2})
        assert (bought["stale_prices"], bought["stale"]) == ({}, False)
        put(prices, ONE)
        await settle(app)
        update = (await subscriber.until("portfolio_update"))[-1]
        assert (update["stale_prices"], update["stale"], update["unpriced"]) == (AT_CLOSE, True, {})
        assert update["values"] == {"AAPL": 710.0, "MSFT": canonical(2 * price("MSFT"))}
        assert update["total_value"] == canonical(sum(update["values"].values()))
        state = await client.ask("get_portfolio")
        assert (state["stale_prices"], state["stale"]) == (AT_CLOSE, True)
        assert state["total_value"] == update["total_value"] == (await app.document())["total_value"]
        put(prices, ALL)
        await settle(app)
        update = (await subscriber.until("portfolio_update"))[-1]
        assert (update["stale_prices"], update["stale"]) == ({}, False)


async def test_it_is_traded_and_analysed_and_the_results_are_stale(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with market(tmp_path, live=ONE) as (app, _, __):
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        assert not any("stale" in frame for frame in await client.take(len(METRICS)))
        traded = await client.ask("trade", ticker="MSFT", shares=3)
        assert (traded["holdings"], traded["stale_prices"]) == ({"AAPL": 10, "MSFT": 3}, AT_CLOSE)
        assert traded["total_value"] == canonical(710.0 + 3 * price("MSFT"))
        await client.send("analyze", ticker="MSFT", receipt=True)
        results = await client.take(len(METRICS))
        assert [frame["stale"] for frame in results] == [True] * len(METRICS)
        assert results[0]["receipt"]["prices"] == {"AAPL": 71.0, "MSFT": price("MSFT")}
        assert (await client.ask("get_risk"))["stale"] is True
        sold = await client.ask("trade", ticker="MSFT", shares=-3)
        assert (sold["stale_prices"], sold["stale"]) == ({}, False)


async def test_what_has_ended_is_unpriced_as_before(mock_clock: MockClock, tmp_path: Path) -> None:
    async with market(tmp_path, live=ONE, max_bar_age_days=60) as (app, _, __):
        client = await app.connect()
        error = await client.ask("trade", ticker="TWTR", shares=1)
        assert (error["code"], error["retryable"]) == ("bad_price", False)


async def test_default_holdings_at_their_last_close_are_not_ready(
    mock_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with market(tmp_path, live=ONE, default_holdings={"AAPL": 1, "MSFT": 1}) as (app, _, prices):
        said = f"PORTFOLIO_DEFAULT_HOLDINGS: missing from the live prices: MSFT (last close {LAST_DAY})"
        assert said in log_text(caplog)
        status, body = await app.ready()
        assert (status, body["reasons"], body["stale"]) == (503, [said], False)
        put(prices, ALL)
        await settle(app)
        assert (await app.ready())[0] == 200


async def test_every_worker_says_it_of_the_tick_and_not_of_its_own_file(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    bars, live = tmp_path / "bars.csv", tmp_path / "live.json"
    put(bars, until(LAST_DAY, DELISTED))
    put(live, ONE)
    shared = EmbeddedServer(virtual_wall_time)

    def opened(seed: int) -> AbstractAsyncContextManager[App]:
        return open_app(
            embedded=shared,
            seed=seed,
            prices=f"csv:{bars}",
            live_prices=str(live),
            default_holdings={"AAPL": 10, "MSFT": 2},
        )

    async with opened(0) as one:
        put(live, ALL)
        async with opened(1) as two:
            for app in (one, two):
                client = await app.connect()
                state = await client.ask("get_portfolio")
                assert (state["stale_prices"], state["stale"]) == (AT_CLOSE, True)
