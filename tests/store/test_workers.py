"""What workers on one Redis know of each other, and what a session knows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.redis import Message
from portfolio_trio.store import (
    SWEPT,
    TICKS,
    NotUpdater,
    OtherSource,
    PortfolioStore,
    RunEnd,
    RunNotCurrent,
    SessionMissing,
    SharedTick,
    StoreError,
    TickStale,
    Workers,
    WrongType,
)
from tests.store.engines import AT, HOLDINGS, TICK, Engine, FakeTick, Opened, result
from tests.support.clock import ManualClock

pytestmark = pytest.mark.anyio

TTL, LEASE = 10.0, 5.0
# An engine of our own clock is needed to see a lease end; a real server has its own.
START: Final = 1_800_000_000.0


def tick_of(tick_id: int) -> SharedTick:
    prices, at_close = {"AAPL": 190.5, "MSFT": 7.0}, {"MSFT": "2026-11-18"}
    return SharedTick(tick_id, AT, stale=False, prices=prices, unpriced=("GONE",), stale_prices=at_close)


def worker(it: Opened, name: str, source: str = "simulated") -> Workers:
    return Workers(it.client, name, source=source, ttl=TTL, lease=LEASE)


def store_of(it: Opened, name: str) -> PortfolioStore:
    return PortfolioStore(it.client, worker=name)


# --- who lives, who leads -----------------------------------------------------------------------------------


async def test_the_first_leads_and_keeps_the_lease(engine: Engine) -> None:
    async with engine.opened() as it:
        one, two = worker(it, "one"), worker(it, "two")
        first = await one.heartbeat()
        assert (first.leads, first.known, first.tick_id, first.lost) == (True, False, None, ())
        assert not (await two.heartbeat()).leads
        again = await one.heartbeat()
        assert (again.leads, again.known) == (True, True)


async def test_a_worker_that_retires_gives_up_its_lease_at_once_and_is_cleaned_up_after(
    engine: Engine,
) -> None:
    async with engine.opened() as it:
        one, two, three = (worker(it, name) for name in ("one", "two", "three"))
        await one.heartbeat()
        await two.heartbeat()
        await two.retire()
        assert not (await three.heartbeat()).leads
        await one.retire()
        taken = await three.heartbeat()
        assert (taken.leads, sorted(taken.lost)) == (True, ["one", "two"])


async def test_a_lost_leader_is_replaced_when_its_lease_ends() -> None:
    clock = ManualClock()
    async with Engine("embedded", "embedded://").opened(wall_clock=clock) as it:
        one, two = worker(it, "one"), worker(it, "two")
        await one.heartbeat()
        clock.time += LEASE - 0.001
        assert not (await two.heartbeat()).leads
        clock.time += 0.001
        assert (await two.heartbeat()).leads
        # The old one is alive still and has lost the lease, not its life.
        late = await one.heartbeat()
        assert (late.leads, late.known) == (False, True)


async def test_lost_workers_are_named_until_they_are_forgotten() -> None:
    clock = ManualClock()
    async with Engine("embedded", "embedded://").opened(wall_clock=clock) as it:
        one, two = worker(it, "one"), worker(it, "two")
        await one.heartbeat()
        clock.time += TTL
        assert (await two.heartbeat()).lost == ("one",)
        assert (await two.heartbeat()).lost == ("one",)
        await two.forget(["one"])
        assert (await two.heartbeat()).lost == ()
        assert not (await one.heartbeat()).known


async def test_other_prices_on_the_same_redis_are_refused_while_anybody_lives() -> None:
    clock = ManualClock()
    async with Engine("embedded", "embedded://").opened(wall_clock=clock) as it:
        await worker(it, "one").heartbeat()
        with pytest.raises(OtherSource, match=r"simulated, not from csv"):
            await worker(it, "two", source="csv").heartbeat()
        clock.time += TTL
        assert (await worker(it, "two", source="csv").heartbeat()).leads


# --- ticks --------------------------------------------------------------------------------------------------


async def test_a_tick_reaches_everybody(engine: Engine) -> None:
    async with engine.opened() as it:
        one, two = worker(it, "one"), worker(it, "two")
        await one.heartbeat()
        assert await two.read_tick() is None
        async with two.listen() as heard:
            await one.publish_tick(tick_of(7))
            await one.announce_sweep(7)
            assert await one.send_batch("two", "a batch")
            # Whether anybody listens is not known on a cluster.
            assert await one.send_batch("three", "another's") is not it.client.many_keys
            with anyio.fail_after(10):
                messages = [await anext(heard) for _ in range(3)]
        assert messages == [
            Message(TICKS.encode(), b"7"),
            Message(SWEPT.encode(), b"7"),
            Message(b"portfolio-inbox:two", b"a batch"),
        ]
        assert await two.read_tick() == tick_of(7)
        assert (await two.heartbeat()).tick_id == 7


async def test_only_the_leader_publishes_and_never_an_older_tick(engine: Engine) -> None:
    async with engine.opened() as it:
        one, two = worker(it, "one"), worker(it, "two")
        with pytest.raises(NotUpdater):
            await one.publish_tick(tick_of(1))
        await one.heartbeat()
        await one.publish_tick(tick_of(7))
        with pytest.raises(NotUpdater):
            await two.publish_tick(tick_of(8))
        for late in (6, 7):
            with pytest.raises(TickStale):
                await one.publish_tick(tick_of(late))
        assert await two.read_tick() == tick_of(7)


async def test_a_leader_whose_lease_has_ended_is_refused() -> None:
    clock = ManualClock()
    async with Engine("embedded", "embedded://").opened(wall_clock=clock) as it:
        one, two = worker(it, "one"), worker(it, "two")
        await one.heartbeat()
        clock.time += LEASE
        with pytest.raises(NotUpdater):
            await one.publish_tick(tick_of(7))
        await two.heartbeat()
        await two.publish_tick(tick_of(8))
        with pytest.raises(NotUpdater):
            await one.publish_tick(tick_of(9))
        assert await one.read_tick() == tick_of(8)


async def test_what_is_no_tick_is_named(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.client.hset("portfolio-tick:{market}", "tick", "nonsense")
        with pytest.raises(StoreError, match="does not hold a tick"):
            await worker(it, "one").read_tick()


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("heartbeat"), st.integers(0, 2)),
        st.tuples(st.just("publish"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 2.5, 4.9, 5.0, 11.0])),
    ),
    max_size=40,
)


@given(STEPS)
def test_there_is_one_leader_at_a_time_and_ticks_only_rise(steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with Engine("embedded", "embedded://").opened(wall_clock=clock) as it:
            workers = [worker(it, f"w{number}") for number in range(3)]
            leader, until, newest = None, 0.0, 0
            for number, (kind, value) in enumerate(steps, start=1):
                if kind == "wait":
                    clock.time += value
                elif kind == "heartbeat":
                    leads = (await workers[value].heartbeat()).leads
                    assert leads == (leader == value or clock.time >= until)
                    if leads:
                        leader, until = value, clock.time + LEASE
                else:
                    may = leader == value and clock.time < until
                    try:
                        await workers[value].publish_tick(tick_of(number))
                    except NotUpdater:
                        assert not may
                    else:
                        assert may
                        newest = number
                shared = await workers[0].read_tick()
                assert (0 if shared is None else shared.tick_id) == newest

    anyio.run(main, backend="trio")


# --- what a session knows -----------------------------------------------------------------------------------


async def test_who_is_attached_is_told_to_all_others(engine: Engine) -> None:
    async with engine.opened() as it:
        one, two, tool = store_of(it, "one"), store_of(it, "two"), store_of(it, "tool")
        opened = [
            await store.open_session("s", holdings=HOLDINGS, tick=TICK, at=AT, attach=True)
            for store in (one, two, one)
        ]
        assert [portfolio.others for portfolio in opened] == [(), ("one",), ("two",)]
        assert (await it.store.get_document("s"))["attached"] == ["one", "two"]
        assert (await tool.get_portfolio("s", at=AT)).others == ("one", "two")
        start = await one.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        assert start.others == ("two",)
        told = await one.record_results(
            "s", run_id=1, version=1, results=[result(1)], at=AT, finish=True, recorded=0
        )
        assert told == ("two",)
        repeated = await one.record_results(
            "s", run_id=1, version=1, results=[result(1)], at=AT, finish=True, recorded=0
        )
        assert repeated == ("two",)
        changed = await two.set_holdings("s", HOLDINGS, tick=TICK, at=AT)
        assert changed.others == ("one",)
        traded = await tool.trade("s", "AAPL", 1, tick=TICK, at=AT)
        assert traded.others == ("one", "two")
        await two.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        assert (await one.get_portfolio("s", at=AT)).current_analysis.worker == "two"  # type: ignore[union-attr] # it runs
        assert await one.finish_analysis("s", run_id=2) == RunEnd(
            cleared=True, others=("two",), run_id=2, ticker="AAPL"
        )
        await two.leave_session("s")
        await two.leave_session("s")
        assert (await one.attach("s")).others == ()
        await one.leave_session("s")
        assert (await it.store.get_document("s"))["attached"] == []


async def test_a_document_from_before_workers_were_known_is_attached_to(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.execute_command("JSON.DEL", "portfolio:{s}", "$.attached")
        await store_of(it, "one").leave_session("s")
        assert (await store_of(it, "one").attach("s")).others == ()
        assert (await store_of(it, "two").attach("s")).others == ("one",)


async def test_attaching_and_leaving_are_no_activity(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.expire("portfolio:{s}", 50)
        one = store_of(it, "one")
        await one.attach("s")
        assert (await it.store.get_document("s"))["last_activity"] == AT
        await one.leave_session("s")
        assert await it.client.ttl("portfolio:{s}") <= 50


async def test_nobody_attaches_to_what_is_not_there_or_no_session(engine: Engine) -> None:
    async with engine.opened() as it:
        one = store_of(it, "one")
        await one.leave_session("s")
        with pytest.raises(SessionMissing):
            await one.attach("s")
        await it.client.set("portfolio:{s}", "precious")
        for call in (one.attach, one.leave_session):
            with pytest.raises(WrongType):
                await call("s")
        assert await it.client.get("portfolio:{s}") == b"precious"


Prepare = Callable[[Opened], Any]


async def test_a_sweep_clears_what_lost_workers_have_left(engine: Engine) -> None:
    async with engine.opened() as it:
        one, two = store_of(it, "one"), store_of(it, "two")
        for name in ("s", "t", "u"):
            for store in (one, two):
                await store.open_session(name, holdings=HOLDINGS, tick=TICK, at=AT, attach=True)
        await one.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        await two.start_analysis("t", ticker="AAPL", started_at=AT, tick_id=1)
        # A document that has the tick already is cleared all the same.
        await one.start_analysis("u", ticker="AAPL", started_at=AT, tick_id=1)
        await it.store.revalue(["u"], tick=FakeTick(2))
        report = await two.revalue_all(FakeTick(2), lost=("one", "nobody"))
        assert (report.revalued, report.counts.get("stale"), report.errors) == (2, 1, 0)
        documents = {name: await it.store.get_document(name) for name in ("s", "t", "u")}
        assert [documents[name]["current_analysis"] is None for name in ("s", "t", "u")] == [
            True,
            False,
            True,
        ]
        assert all(document["attached"] == ["two"] for document in documents.values())
        with pytest.raises(RunNotCurrent):
            await one.record_results("s", run_id=1, version=1, results=[result(1)], at=AT)
