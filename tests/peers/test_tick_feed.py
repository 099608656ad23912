"""The effect of a tick on the sockets of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.canonical import canonical
from portfolio_trio.hub.local_runs import LocalRuns
from portfolio_trio.market import SimulatedSource
from portfolio_trio.peers.tick_feed import READS_AT_ONCE, SLICE, TickFeed
from portfolio_trio.right_of_way import PATIENCE_SECONDS
from portfolio_trio.settings import Delay
from portfolio_trio.store import Portfolio, PortfolioStore, StoreUnavailable
from tests.support.app import HOLDINGS, App, open_app, results

pytestmark = pytest.mark.trio


async def jump(app: App, monkeypatch: pytest.MonkeyPatch, factor: float, ticker: str = "AAPL") -> None:
    """One tick in which one name moves by a factor and nothing else does."""

    async def quote(_self: SimulatedSource, previous: dict[str, float]) -> dict[str, float]:
        return {**previous, ticker: previous[ticker] * factor}

    monkeypatch.setattr(SimulatedSource, "quote", quote)
    await app.server.updater.tick()


async def test_subscribers_get_the_value_at_each_tick(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        subscriber, plain = await app.connect(events=True), await app.connect()
        assert (await subscriber.receive())["type"] == "portfolio"
        await trio.sleep(30.5)
        update = await subscriber.receive()
        tick = app.server.services.book.current
        assert update["type"] == "portfolio_update"
        assert (update["tick_id"], update["as_of"], update["stale"]) == (tick.tick_id, tick.as_of, False)
        assert update["values"] == {name: n * tick.prices[name] for name, n in HOLDINGS.items()}
        assert update["total_value"] == pytest.approx(sum(update["values"].values()))
        assert update["total_value"] == (await app.document())["total_value"]
        assert await plain.silence(1) == []


async def test_a_session_that_has_expired_gets_no_value_but_that_news(autojump_clock: MockClock) -> None:
    async with open_app(session_ttl_seconds=40) as app:
        subscriber = await app.connect(events=True)
        await subscriber.receive()
        value, news = await subscriber.silence(200)
        assert value["type"] == "portfolio_update"
        assert (news["type"], news["code"]) == ("error", "session_expired")


async def test_a_source_that_fails_shows_in_the_update(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_self: SimulatedSource, previous: dict[str, float]) -> dict[str, float]:
        raise OSError(f"{len(previous)} prices and the feed is down")

    async with open_app() as app:
        subscriber = await app.connect(events=True)
        as_of = (await subscriber.receive())["valued"]["as_of"]
        monkeypatch.setattr(SimulatedSource, "quote", fails)
        await app.server.updater.tick()
        update = await subscriber.receive()
        assert (update["stale"], update["as_of"]) == (True, as_of)
        await subscriber.send("analyze", ticker="AAPL")
        frames = [f for f in await subscriber.until("analysis_completed") if f["type"] == "analysis_result"]
        assert [(f["stale"], f["as_of"]) for f in frames] == [(True, as_of)] * 5


@pytest.mark.parametrize(("factor", "restarts"), [(1.005, 0), (0.995, 0), (1.05, 1), (0.9, 1)])
async def test_a_run_starts_again_when_a_tick_moves_its_portfolio_too_far(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, factor: float, restarts: int
) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 5)) as app:
        client, subscriber = await app.connect(), await app.connect(events=True)
        await client.send("analyze", ticker="AAPL", id=1)
        first = (await subscriber.until("analysis_started"))[-1]
        await subscriber.until("analysis_result")
        now = trio.current_time()
        await jump(app, monkeypatch, factor)
        events = await subscriber.until("analysis_completed")
        last = events[-1]["run_id"]
        assert last == first["run_id"] + restarts
        if restarts:
            cancelled = next(f for f in events if f["type"] == "analysis_cancelled")
            assert cancelled["reason"] == "portfolio_changed"
            again = next(f for f in events if f["type"] == "analysis_started")
            assert again["tick_id"] == app.server.services.book.current.tick_id > first["tick_id"]
            assert trio.current_time() - now >= 2
        seen = await client.silence(0.1)
        assert len([f for f in seen if f["run_id"] == last and f["id"] == 1]) == 5
        assert results(events)[-1][0] == "AAPL"


async def test_the_tolerance_is_a_setting(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 5), freshness_tolerance=0.5) as app:
        subscriber = await app.connect(events=True)
        await subscriber.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        await jump(app, monkeypatch, 1.3)
        events = await subscriber.until("analysis_completed")
        assert "analysis_cancelled" not in [f["type"] for f in events]


async def test_long_and_short_that_cancel_out_are_measured_by_gross_value(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 5)) as app:
        prices = app.server.services.book.current.prices
        subscriber = await app.connect(events=True)
        flat = {"AAPL": 100, "MSFT": -100 * prices["AAPL"] / prices["MSFT"]}
        await subscriber.send("set_holdings", holdings=flat)
        await subscriber.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        await jump(app, monkeypatch, 1.015)
        events = await subscriber.until("analysis_completed")
        assert "analysis_cancelled" not in [f["type"] for f in events]


def values_of(app: App, holdings: Mapping[str, float]) -> dict[str, float]:
    prices = app.server.services.book.current.prices
    return {name: canonical(shares * prices[name]) for name, shares in holdings.items()}


async def test_the_values_are_there_from_the_first_message(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        subscriber, plain = await app.connect(events=True), await app.connect()
        first = await subscriber.receive()
        assert first["values"] == values_of(app, HOLDINGS)
        assert first["total_value"] == canonical(sum(first["values"].values()))
        assert (await plain.ask("get_portfolio"))["values"] == first["values"]
        held = {**HOLDINGS, "JPM": 2}
        assert (await plain.ask("trade", ticker="JPM", shares=2))["values"] == values_of(app, held)
        assert (await subscriber.receive())["values"] == values_of(app, held)
        await trio.sleep(31)
        update = (await subscriber.until("portfolio_update"))[-1]
        state = await plain.ask("get_portfolio")
        assert state["values"] == update["values"] == values_of(app, held)
        assert state["valued"]["tick_id"] == update["tick_id"]


async def test_values_of_another_tick_than_the_total_are_left_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unswept(_store: PortfolioStore, *_args: object, **_options: object) -> NoReturn:
        raise StoreUnavailable("away", sent=False)

    async with open_app() as app:
        client = await app.connect()
        before = await client.ask("get_portfolio")
        monkeypatch.setattr(PortfolioStore, "revalue_all", unswept)
        await app.server.updater.tick()
        state = await client.ask("get_portfolio")
        assert state == {name: each for name, each in before.items() if name != "values"}
        assert state["valued"]["tick_id"] < app.server.services.book.current.tick_id


async def test_what_is_kept_of_a_session_has_no_values(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect(events=True)
        await client.receive()
        await client.ask("trade", ticker="AAPL", shares=1)
        await trio.sleep(31)
        (group,) = app.server.services.hub.groups
        kept = group.sequencer.newest
        assert kept is not None
        assert (kept.version, kept.message().values) == (2, None)


READ_SECONDS = 0.01


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many reads of documents were under way when each began; a read takes its time."""
    peek, under_way, seen = PortfolioStore.peek_portfolio, 0, list[int]()

    async def slowly(store: PortfolioStore, session_id: str) -> Portfolio:
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        await trio.sleep(READ_SECONDS)
        under_way -= 1
        return await peek(store, session_id)

    monkeypatch.setattr(PortfolioStore, "peek_portfolio", slowly)
    return seen


async def test_few_sessions_are_updated_at_the_same_time(autojump_clock: MockClock, reads: list[int]) -> None:
    async with open_app() as app:
        clients = [await app.connect(f"s{number}", events=True) for number in range(4 * READS_AT_ONCE + 1)]
        for client in clients:
            await client.receive()
        await app.server.updater.tick()
        assert (len(reads), max(reads)) == (len(clients), READS_AT_ONCE)
        tick_id = app.server.services.book.current.tick_id
        for client in clients:
            update = await client.receive()
            assert (update["type"], update["tick_id"]) == ("portfolio_update", tick_id)


async def test_updates_let_requests_pass(autojump_clock: MockClock, reads: list[int]) -> None:
    rounds = 3
    async with open_app() as app:
        for number in range(rounds * READS_AT_ONCE):
            await (await app.connect(f"s{number}", events=True)).receive()
        began = trio.current_time()
        with app.server.services.right_of_way:
            await app.server.updater.tick()
        assert trio.current_time() - began == pytest.approx(rounds * (PATIENCE_SECONDS + READ_SECONDS))


async def test_other_tasks_run_while_many_sessions_are_told_of_a_tick(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = 4
    seen: list[str] = []
    monkeypatch.setattr(LocalRuns, "reprice", lambda *_: seen.append("t"))

    async def be_another_task() -> None:
        while True:
            seen.append("-")
            await trio.lowlevel.checkpoint()

    async with open_app() as app:
        services = app.server.services
        feed = TickFeed(
            services.hub,
            services.store,
            services.book,
            services.faults,
            services.peer_subscriber,
            right_of_way=services.right_of_way,
        )
        for number in range(slices * SLICE):
            await app.connect(f"s{number}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_another_task)
            await feed.ticked(services.book.current)
            nursery.cancel_scope.cancel()
        # The tasks of one pass run in any order: the other one may be last in a pass and first in the next.
        assert "".join(seen).strip("-").count("-") >= slices - 2
        began = trio.current_time()
        with services.right_of_way:
            await feed.ticked(services.book.current)
        assert trio.current_time() - began == pytest.approx(slices * PATIENCE_SECONDS)
