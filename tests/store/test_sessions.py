from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portfolio_trio.store import MissingPrices, PortfolioStore, SessionMissing, TooManyHoldings, Valued
from tests.store.engines import AT, HOLDINGS, LATER, MANY, PRICES, TICK, TTL, Engine, FakeTick, stored_results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

KEY = "portfolio:{s}"


async def test_open_creates_the_whole_document(engine: Engine) -> None:
    async with engine.opened() as it:
        portfolio = await it.store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)
        total = sum(HOLDINGS[name] * PRICES[name] for name in HOLDINGS)
        assert (portfolio.created, portfolio.version, portfolio.total_value) == (True, 1, total)
        assert await it.store.get_document("s") == {
            "session_id": "s",
            "holdings": HOLDINGS,
            "version": 1,
            "total_value": total,
            "valued": {"tick_id": 1, "as_of": TICK.as_of},
            "run_counter": 0,
            "current_analysis": None,
            "targets": None,
            "run_ends": [],
            "analysis_results": [],
            "result_sizes": [],
            "results_bytes": 0,
            "last_activity": AT,
            "attached": [],
            "incarnation": portfolio.incarnation,
        }
        assert len(portfolio.incarnation) == 16
        assert 0 < await it.client.ttl(KEY) <= TTL


async def test_a_ttl_of_zero_keeps_a_session_for_ever(engine: Engine) -> None:
    async with engine.opened() as it:
        ever = PortfolioStore(it.client, ttl_seconds=0)
        await ever.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)
        assert await it.client.ttl(KEY) == -1
        run = await ever.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        await ever.record_results(
            "s", run_id=run.run_id, version=run.version, results=["{}"], at=AT, finish=True
        )
        await ever.set_holdings("s", {"AAPL": 1}, tick=TICK, at=AT)
        await ever.trade("s", "AAPL", 1, tick=TICK, at=AT)
        assert await it.client.ttl(KEY) == -1
        # The setting was another one before, and is again.
        await it.store.get_portfolio("s", at=LATER)
        assert 0 < await it.client.ttl(KEY) <= TTL
        await ever.get_portfolio("s", at=LATER)
        assert await it.client.ttl(KEY) == -1


async def test_open_again_refreshes_and_changes_nothing_else(engine: Engine) -> None:
    async with engine.opened() as it:
        created = await it.store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)
        before = await it.store.get_document("s")
        await it.client.expire(KEY, 50)
        opened = await it.store.open_session("s", holdings={"TSLA": 1}, tick=FakeTick(9), at=LATER)
        assert not opened.created
        assert (opened.holdings, opened.version, opened.total_value, opened.valued) == (
            created.holdings,
            created.version,
            created.total_value,
            Valued(1, TICK.as_of),
        )
        assert await it.store.get_document("s") == {**before, "last_activity": LATER}
        assert await it.client.ttl(KEY) > 50


async def test_reopening_needs_no_prices_and_creating_does(engine: Engine) -> None:
    async with engine.opened() as it:
        bare = FakeTick(2, prices={"AAPL": float("nan")})
        with pytest.raises(MissingPrices) as caught:
            await it.store.open_session("s", holdings=HOLDINGS, tick=bare, at=AT)
        assert caught.value.tickers == tuple(HOLDINGS)
        assert await it.client.exists(KEY) == 0
        await it.create()
        assert (await it.store.open_session("s", holdings=HOLDINGS, tick=bare, at=AT)).version == 1


async def test_a_new_session_may_hold_nothing_or_lines_of_zero(engine: Engine) -> None:
    async with engine.opened() as it:
        empty = await it.store.open_session("empty", holdings={}, tick=TICK, at=AT)
        zero = await it.store.open_session("zero", holdings={"NOPRICE": 0}, tick=TICK, at=AT)
        assert (empty.total_value, zero.total_value) == (0, 0)
        assert (await it.store.get_document("empty"))["holdings"] == {}
        assert (await it.store.get_portfolio("zero", at=AT)).holdings == {"NOPRICE": 0}


async def test_any_session_id_names_its_own_document(engine: Engine) -> None:
    async with engine.opened() as it:
        for session_id in ('quote"s', "br{ac}es}", "sp ace", "ünï", "back\\slash", "[x]*?"):
            await it.create(session_id)
            assert (await it.store.get_document(session_id))["session_id"] == session_id
            assert (await it.store.get_portfolio(session_id, at=AT)).holdings == HOLDINGS
        assert (await it.store.revalue_all(FakeTick(2))).revalued == 6


async def test_limits_and_wrong_arguments_reach_no_server(engine: Engine) -> None:
    async with engine.opened(max_holdings=2) as it:
        with pytest.raises(TooManyHoldings):
            await it.store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)
        for holdings in ({"aapl": 1}, {"": 1}, {'A"': 1}, {"AAPL": float("nan")}, {"AAPL": float("inf")}):
            with pytest.raises(ValueError, match=r"is not a ticker|is not a JSON number"):
                await it.store.open_session("s", holdings=holdings, tick=TICK, at=AT)
        for at in ("2026-11-22T10:00:00+00:00", "yesterday", "2026-11-22T10:00:00Z\n", ""):
            with pytest.raises(ValueError, match="is not a time"):
                await it.store.open_session("s", holdings={"AAPL": 1}, tick=TICK, at=at)
        assert await it.client.exists(KEY) == 0


async def test_what_is_not_there_is_missing_for_every_call(engine: Engine) -> None:
    async with engine.opened() as it:
        store = it.store
        for call in (
            store.get_portfolio("s", at=AT),
            store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1),
            store.record_results("s", run_id=1, version=1, results=["{}"], at=AT),
            store.finish_analysis("s", run_id=1),
            store.set_holdings("s", {}, tick=TICK, at=AT),
            store.trade("s", "AAPL", 1, tick=TICK, at=AT),
            stored_results(store, "s"),
            store.get_document("s"),
        ):
            with pytest.raises(SessionMissing):
                await call
        assert [outcome.outcome for outcome in await store.revalue(["s"], tick=TICK)] == ["missing"]
        assert await it.client.dbsize() == 0


async def test_a_session_expires_after_a_day_without_requests() -> None:
    now = 1_800_000_000.0
    async with Engine("embedded", "embedded://").opened(wall_clock=lambda: now) as it:
        await it.create()
        now += TTL - 1
        await it.store.get_portfolio("s", at=AT)
        now += TTL - 1
        # The market keeps no session alive.
        assert (await it.store.revalue_all(FakeTick(2))).revalued == 1
        now += 1.5
        with pytest.raises(SessionMissing):
            await it.store.get_portfolio("s", at=AT)
        assert (await it.store.revalue_all(FakeTick(3))).counts == {}
        assert (await it.store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)).created


async def test_results_are_given_by_ticker_and_newest_last(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        assert await stored_results(it.store, "s") == []
        await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        texts = [f'{{"ticker":"{ticker}","n":{n}}}' for n, ticker in enumerate(("A", "B", "A", "B", "A"))]
        await it.store.record_results("s", run_id=1, version=1, results=texts, at=AT)

        async def numbers(store: PortfolioStore, ticker: str | None, limit: int = MANY) -> list[object]:
            return [found["n"] for found in await stored_results(store, "s", ticker=ticker, limit=limit)]

        assert await numbers(it.store, None) == [0, 1, 2, 3, 4]
        assert await numbers(it.store, "A") == [0, 2, 4]
        assert await numbers(it.store, None, 2) == [3, 4]
        assert await numbers(it.store, "B", 1) == [3]
        assert await numbers(it.store, "A", 0) == []
        assert await numbers(it.store, "C", 9) == []


async def test_a_session_that_was_made_anew_is_another_document(engine: Engine) -> None:
    async with engine.opened() as it:
        store = it.store
        old = (await store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT, attach=True)).incarnation
        assert (await store.get_portfolio("s", at=AT, incarnation=old)).incarnation == old
        start = await store.start_analysis(
            "s", ticker="AAPL", started_at=AT, tick_id=1, incarnation=old, token="t"
        )
        await it.client.delete(KEY)
        created = await store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT, attach=True)
        new = created.incarnation
        assert (created.created, created.version, new != old) == (True, 1, True)
        again = await store.start_analysis(
            "s", ticker="AAPL", started_at=AT, tick_id=1, incarnation=new, token="u"
        )
        # The same number, the same version, and none of its business.
        assert (again.run_id, again.version) == (start.run_id, start.version) == (1, 1)
        before = await store.get_document("s")
        recorded: dict[str, Any] = {
            "run_id": 1,
            "version": 1,
            "results": ['{"run_id":1}'],
            "at": AT,
            "recorded": 0,
        }
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.record_results("s", **recorded, incarnation=old),
            lambda: store.finish_analysis("s", run_id=1, incarnation=old),
            lambda: store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, incarnation=old),
            lambda: store.set_holdings("s", HOLDINGS, tick=TICK, at=AT, incarnation=old),
            lambda: store.trade("s", "AAPL", 1, tick=TICK, at=AT, incarnation=old),
            lambda: store.get_portfolio("s", at=AT, incarnation=old),
        ]
        for call in calls:
            with pytest.raises(SessionMissing):
                await call()
        assert await store.get_document("s") == before
        await store.record_results("s", **recorded, incarnation=new, finish=True)


async def test_a_run_whose_number_nobody_knows_is_found_by_its_token(engine: Engine) -> None:
    async with engine.opened() as it:
        store = it.store
        await store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT)
        starts = [
            await store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="t")
            for _ in range(2)
        ]
        # Sent twice, it starts once.
        assert [(start.run_id, start.replaced) for start in starts] == [(1, 0), (1, 0)]
        assert not (await store.finish_analysis("s", token="u")).cleared
        end = await store.finish_analysis("s", token="t")
        assert (end.cleared, end.run_id, end.ticker) == (True, 1, "AAPL")
        assert not (await store.finish_analysis("s", token="t")).cleared
        assert (await store.get_document("s"))["current_analysis"] is None
        newer = await store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="v")
        newest = await store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="w")
        assert newest.replaced == newer.run_id == 2
        assert not (await store.finish_analysis("s", token="v")).cleared
