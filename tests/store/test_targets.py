"""The owner's targets are stored beside the holdings."""

from __future__ import annotations

import pytest

from portfolio_trio.store import Ending, PortfolioChanged, SessionMissing, VersionConflict, WrongType
from portfolio_trio.targets import Targets
from tests.store.engines import AT, HOLDINGS, LATER, TICK, Engine

pytestmark = pytest.mark.anyio

TARGETS = Targets(
    weights={"AAPL": 60.0, "TSLA": 20.0, "C": 0.0}, budgets={"AAPL": 1.0, "MSFT": 2.0}, band=0.1
)
KEPT = Targets(
    weights={"AAPL": 0.75, "TSLA": 0.25, "C": 0.0},
    budgets={"AAPL": 0.333333333333333, "MSFT": 0.666666666666667},
    band=0.1,
)


async def test_they_are_kept_as_shares_and_raise_the_version(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.expire("portfolio:{s}", 50)
        before = await it.store.get_portfolio("s", at=AT)
        assert before.targets is None
        changed = await it.store.set_targets("s", TARGETS, at=LATER)
        assert changed.targets == KEPT
        assert (changed.version, changed.holdings) == (2, HOLDINGS)
        assert (changed.total_value, changed.valued) == (before.total_value, before.valued)
        assert changed == await it.store.get_portfolio("s", at=LATER) == await it.store.peek_portfolio("s")
        assert (await it.store.get_document("s"))["last_activity"] == LATER
        assert await it.client.ttl("portfolio:{s}") > 50
        assert (await it.store.set_targets("s", None, at=LATER)).targets is None
        assert (await it.store.get_portfolio("s", at=LATER)).targets is None


async def test_a_change_of_holdings_leaves_them(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.store.set_targets("s", TARGETS, at=AT)
        assert (await it.store.trade("s", "AAPL", -100, tick=TICK, at=AT)).targets == KEPT
        assert (await it.store.set_holdings("s", {"AAPL": 1}, tick=TICK, at=AT)).targets == KEPT
        start = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="t")
        again = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="t")
        assert start.targets == again.targets == KEPT


async def test_a_run_on_older_targets_is_refused_and_ends_as_changed(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        start = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        changed = await it.store.set_targets("s", TARGETS, at=AT)
        assert changed.current_analysis is not None
        with pytest.raises(PortfolioChanged):
            await it.store.record_results(
                "s", run_id=start.run_id, version=start.version, results=[], at=AT, finish=True
            )
        state = await it.store.get_portfolio("s", at=AT)
        assert state.end_of(start.run_id) == Ending(start.run_id, "cancelled", "portfolio_changed")


async def test_an_expected_version_and_the_document_fence_it(engine: Engine) -> None:
    async with engine.opened() as it:
        with pytest.raises(SessionMissing):
            await it.store.set_targets("s", TARGETS, at=AT)
        await it.create()
        before = await it.store.get_document("s")
        with pytest.raises(VersionConflict):
            await it.store.set_targets("s", TARGETS, at=LATER, expected_version=2)
        with pytest.raises(SessionMissing):
            await it.store.set_targets("s", TARGETS, at=LATER, incarnation="another")
        assert await it.store.get_document("s") == before
        assert (await it.store.set_targets("s", TARGETS, at=LATER, expected_version=1)).version == 2


async def test_a_document_of_an_earlier_release_has_none(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.execute_command("JSON.DEL", "portfolio:{s}", "$.targets")
        assert (await it.store.get_portfolio("s", at=AT)).targets is None
        assert (await it.store.peek_portfolio("s")).targets is None
        assert (await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)).targets is None
        assert (await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)).targets is None
        assert (await it.store.set_targets("s", TARGETS, at=AT)).targets == KEPT
        assert (await it.store.get_portfolio("s", at=AT)).targets == KEPT


async def test_targets_that_are_none_make_a_document_of_another_kind(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.execute_command(
            "JSON.SET", "portfolio:{s}", "$.targets", '{"weights":{"A":-1},"band":0}'
        )
        with pytest.raises(WrongType):
            await it.store.get_portfolio("s", at=AT)
