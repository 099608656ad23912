"""Decisions by the typed client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.client import RequestFailed, RunCancelled, RunFailed
from tests.support.app import METRICS, open_app
from tests.support.client import enter

if TYPE_CHECKING:
    from trio.testing import MockClock

pytestmark = pytest.mark.trio


async def test_every_decision_has_its_method(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=3_600) as app, enter(app) as portfolio:
        risk = await portfolio.risk(correlations=True)
        assert risk.matrix is not None
        assert [row.ticker for row in risk.holdings] == ["AAPL", "GOOGL", "MSFT"]
        tried = await portfolio.what_if({"AAPL": -10})
        assert tried.best_hedge is not None
        assert tried.change.value == pytest.approx(-10 * risk.holdings[0].price)
        state = await portfolio.set_targets(weights={"AAPL": 1, "MSFT": 1}, band=0.1)
        assert state.targets is not None
        assert state.targets.weights == {"AAPL": 0.5, "MSFT": 0.5}
        assert portfolio.state.version == 2
        plan = await portfolio.plan("weights", cash=100.0, whole_shares=True, receipt=True)
        assert plan.receipt is not None
        assert plan.receipt.targets == state.targets
        for line in plan.lines:
            state = await portfolio.trade(line.ticker, line.shares)
        assert state.outside == {}
        history = await portfolio.history(10)
        assert len(history.values) == 10
        await portfolio.trade("TSLA", -1)
        with pytest.raises(RequestFailed, match="not_long_only"):
            await portfolio.plan("weights", only_buy=True)


async def test_each_tick_gives_a_whole_run(autojump_clock: MockClock) -> None:
    async with (
        open_app(market_update_interval_seconds=5, freshness_tolerance=1.0) as app,
        enter(app) as portfolio,
    ):
        seen = []
        async with portfolio.follow("aapl") as runs:
            async for run in runs:
                assert set(run.outcomes) == set(METRICS)
                seen.append(run.started.tick_id)
                if len(seen) == 4:
                    break
        assert seen == sorted(set(seen))
        await trio.sleep(20)
        assert (await app.document())["run_counter"] == 4


async def test_a_slow_loop_gets_the_newest_run(autojump_clock: MockClock) -> None:
    async with (
        open_app(market_update_interval_seconds=5, freshness_tolerance=1.0) as app,
        enter(app) as portfolio,
        portfolio.follow("AAPL") as runs,
    ):
        first = await anext(runs)
        await trio.sleep(22)
        assert (await anext(runs)).started.run_id == first.started.run_id + 4


async def test_it_says_why_no_run_comes_any_more(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=5, freshness_tolerance=1.0) as app:
        async with enter(app) as portfolio, enter(app) as other, portfolio.follow("AAPL") as runs:
            await anext(runs)
            await other.cancel()
            with pytest.raises(RunCancelled, match="cancelled"):
                await anext(runs)
        async with enter(app) as portfolio, enter(app) as other, portfolio.follow("AAPL") as runs:
            await anext(runs)
            async with other.analyze("MSFT"):
                with pytest.raises(RunCancelled, match="superseded"):
                    await anext(runs)
        async with enter(app) as portfolio, portfolio.follow("NONE") as runs:
            with pytest.raises(RunFailed, match="not_held"):
                await anext(runs)
