"""One worker among others: how it joins, follows and takes over, and the messages it receives."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.market import Tick
from portfolio_trio.peers.membership import WORKER_TTL_SECONDS
from portfolio_trio.redis import Subscription
from portfolio_trio.store import (
    SWEPT,
    TICKS,
    NotUpdater,
    OtherSource,
    StoreError,
    StoreUnavailable,
    TickStale,
)
from tests.peers.member import HEARTBEAT, INTERVAL, LEASE, START_ID, Member, opened
from tests.support.logs import events

pytestmark = pytest.mark.trio


# --- taking over --------------------------------------------------------------------------------------------


async def test_a_follower_takes_over_one_interval_after_the_last_tick(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        await trio.sleep(5)
        member.workers.tick_elsewhere(7.0)
        await trio.sleep(10)
        assert (member.leads, member.price) == (False, 7.0)
        member.workers.leads = True
        await trio.sleep_until(5 + INTERVAL - 0.1)
        assert member.moments() == []
        await trio.sleep_until(5 + 2 * INTERVAL + 1)
        assert member.leads
        assert member.moments() == [35, 65]


async def test_a_follower_takes_each_tick_and_shows_it(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        for price in (5.0, 6.0, 7.0):
            tick = member.workers.tick_elsewhere(price)
            await trio.sleep(0.5)
            assert member.book.current == Tick(tick.tick_id, "then", {"AAPL": price})
        # The first one came at joining, when there was no socket yet.
        assert len(member.crowd.ticked_ids) == 4
        assert member.workers.published == []


async def test_a_follower_that_joins_waits_for_the_first_tick(autojump_clock: MockClock) -> None:
    member = Member()
    member.workers.leads = False
    await member.book.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.membership.join)
        await trio.sleep(7)
        assert nursery.child_tasks
        member.workers.tick_elsewhere(9.0, 1)
        await trio.sleep(HEARTBEAT)
        assert not nursery.child_tasks
    assert member.book.current == Tick(1, "then", {"AAPL": 9.0})
    assert member.workers.published == []


async def test_a_follower_that_joins_takes_over_when_the_leader_dies_before_its_first_tick(
    autojump_clock: MockClock,
) -> None:
    member = Member()
    member.workers.leads = False
    await member.book.open()
    with trio.move_on_after(5) as waiting:
        await member.membership.join()
    assert waiting.cancelled_caught
    member.workers.leads = True
    await member.membership.join()
    assert [tick.prices for tick in member.workers.published] == [{"AAPL": 1.0, "MSFT": 2.0}]


async def test_a_newer_tick_by_another_clock_is_taken_at_joining(autojump_clock: MockClock) -> None:
    member = Member()
    await member.book.open()
    far = START_ID + 10**9
    member.workers.tick_elsewhere(9.0, far)
    member.workers.publish_errors = [TickStale(START_ID, far)]
    async with trio.open_nursery() as nursery:
        await member.membership.join()
        assert (member.price, member.book.current.tick_id) == (9.0, far)
        await nursery.start(member.membership.run)
        await trio.sleep(1.5 * INTERVAL)
        # It leads all the same, and its ticks come after that one.
        assert [tick.tick_id for tick in member.workers.published] == [far + 1]
        nursery.cancel_scope.cancel()


async def test_a_lease_that_is_over_before_the_first_tick_is_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    member = Member()
    await member.book.open()
    member.workers.publish_errors = [NotUpdater()]
    await member.membership.join()
    assert len(member.workers.published) == 1
    assert member.workers.heartbeats == [0, HEARTBEAT]


@pytest.mark.parametrize("error", [OtherSource("a", "b"), StoreUnavailable("away", sent=False)])
async def test_joining_fails_where_the_store_does(error: StoreError) -> None:
    member = Member()
    await member.book.open()
    member.workers.heartbeat_error = error
    with pytest.raises(type(error)):
        await member.membership.join()


# --- heartbeats that fail -----------------------------------------------------------------------------------


async def test_other_prices_are_reported_once_and_end_the_leading_but_not_the_server(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as member:
        member.workers.heartbeat_error = OtherSource("scripted", "csv")
        await trio.sleep(INTERVAL)
        assert not member.leads
        error = str(member.workers.heartbeat_error)
        assert events(caplog, level="error") == [("other_prices", {"error": error})]
        member.workers.heartbeat_error = None
        await trio.sleep(2 * HEARTBEAT)
        assert member.leads


async def test_a_store_that_is_away_is_reported_once_each_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(leads=False) as member:
        for _ in range(2):
            member.workers.heartbeat_error = StoreUnavailable("away", sent=False)
            await trio.sleep(INTERVAL)
            member.workers.heartbeat_error = None
            await trio.sleep(INTERVAL)
        assert [event for event, _ in events(caplog)] == ["store_lost", "store_back"] * 2
        # A worse condition is reported as well.
        caplog.clear()
        member.workers.heartbeat_error = StoreUnavailable("away", sent=False)
        await trio.sleep(INTERVAL)
        member.workers.heartbeat_error = OtherSource("scripted", "csv")
        await trio.sleep(INTERVAL)
        member.workers.heartbeat_error = None
        await trio.sleep(INTERVAL)
        said = events(caplog)
        assert [event for event, _ in said] == ["store_lost", "store_back", "other_prices", "same_prices"]
        assert "take their prices from csv" in said[2][1]["error"]


async def test_the_first_election_is_logged_like_any_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened() as member:
        await trio.sleep(5 * HEARTBEAT)
        assert events(caplog) == events(caplog, level="info") == [("leader_began", {})]
        member.workers.heartbeat_error = StoreUnavailable("away", sent=False)
        await trio.sleep(INTERVAL)
        member.workers.heartbeat_error = None
        await trio.sleep(2 * HEARTBEAT)
        assert member.leads
    changes = events(caplog, "leader_began", "leader_ended")
    assert [event for event, _ in changes] == ["leader_began", "leader_ended", "leader_began"]


async def test_a_lease_that_is_over_when_its_answer_comes_is_no_election(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened() as member:
        await trio.sleep(HEARTBEAT / 2)
        member.workers.seconds = 3 * LEASE
        await trio.sleep(LEASE)
        member.workers.seconds = 0.0
        await trio.sleep(3 * LEASE)
        assert member.leads
    assert [event for event, _ in events(caplog)] == ["leader_began", "leader_ended", "leader_began"]


async def test_a_worker_that_counted_as_lost_reads_every_document_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as member:
        await trio.sleep(2 * HEARTBEAT)
        assert member.crowd.missed == 0
        member.workers.known = False
        await trio.sleep(HEARTBEAT)
        assert member.crowd.missed == 1
        assert "considered this one lost" in caplog.text


# --- lost workers -------------------------------------------------------------------------------------------


async def test_lost_workers_are_handled_at_once_and_forgotten_once_all_know(
    autojump_clock: MockClock,
) -> None:
    async with opened() as member:
        await trio.sleep_until(INTERVAL - 1.5 * HEARTBEAT)
        member.workers.lost = ("two",)
        await trio.sleep(HEARTBEAT)
        assert member.crowd.reported_lost == ["two"]
        await trio.sleep_until(INTERVAL + 1)
        # A worker that has not beaten since would never hear of it.
        assert (member.crowd.buried, member.workers.forgotten) == ([()], [])
        await trio.sleep_until(2 * INTERVAL + 1)
        assert (member.crowd.buried[1:], member.workers.forgotten) == ([("two",)], ["two"])
        await trio.sleep_until(3 * INTERVAL + 1)
        assert member.crowd.buried[2:] == [()]
        assert member.membership._lost_at == {}


async def test_a_lost_worker_that_comes_back_is_not_forgotten(autojump_clock: MockClock) -> None:
    async with opened() as member:
        await trio.sleep_until(INTERVAL - 1.5 * WORKER_TTL_SECONDS)
        member.workers.lost = ("two", "three")
        await trio.sleep(WORKER_TTL_SECONDS)
        member.workers.lost = ("two",)
        await trio.sleep_until(INTERVAL + 1)
        assert member.crowd.buried == [("two",)]


async def test_a_follower_that_takes_over_knows_the_lost_workers(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        member.workers.lost = ("two",)
        await trio.sleep(2 * WORKER_TTL_SECONDS)
        member.workers.leads = True
        await trio.sleep(INTERVAL)
        assert member.crowd.buried == [("two",)]


# --- what is heard ------------------------------------------------------------------------------------------


async def test_batches_go_to_the_listener(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        member.workers.say("portfolio-inbox:me", b"one")
        member.workers.say("portfolio-inbox:me", b"two")
        await wait_all_tasks_blocked()
        assert member.crowd.batches == [b"one", b"two"]
        assert member.crowd.missed == 0


async def test_after_a_gap_the_documents_and_the_tick_are_read(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        member.workers.tick_elsewhere(8.0)
        member.workers.heard.miss("the connection was lost and restored")
        await wait_all_tasks_blocked()
        assert (member.crowd.missed, member.price) == (1, 8.0)


async def test_a_heartbeat_shows_a_tick_whose_message_was_lost(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        tick = member.workers.tick_elsewhere(8.0)
        member.workers.heard = Subscription(1)
        await trio.sleep(HEARTBEAT)
        assert member.book.current.tick_id == tick.tick_id


async def test_subscribers_are_told_of_a_sweep_once_its_tick_is_here(autojump_clock: MockClock) -> None:
    async with opened(leads=False) as member:
        tick = member.workers.tick_elsewhere(8.0)
        member.workers.say(SWEPT, b"%d" % tick.tick_id)
        await wait_all_tasks_blocked()
        member.workers.say(TICKS, b"%d" % tick.tick_id)
        await wait_all_tasks_blocked()
        assert member.crowd.swept_ids == [tick.tick_id]
        # An older tick, or an invalid one, is not announced.
        for nonsense in (b"%d" % (tick.tick_id - 1), b"nonsense", b""):
            member.workers.say(SWEPT, nonsense)
            await wait_all_tasks_blocked()
        assert member.crowd.swept_ids == [tick.tick_id]


async def test_a_tick_that_cannot_be_read_is_taken_later(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(leads=False) as member:
        member.workers.read_error = StoreUnavailable("away", sent=False)
        tick = member.workers.tick_elsewhere(8.0)
        member.workers.say(SWEPT, b"%d" % tick.tick_id)
        await trio.sleep(3 * HEARTBEAT)
        assert (member.price, member.crowd.swept_ids) == (5.0, [])
        member.workers.read_error = StoreError("it is no tick: delete it")
        await trio.sleep(HEARTBEAT)
        ((_, fields),) = events(caplog, "tick_unreadable")
        assert "it is no tick" in fields["error"]
        member.workers.read_error = None
        await trio.sleep(HEARTBEAT)
        assert (member.price, member.crowd.swept_ids) == (8.0, [tick.tick_id])


async def test_a_leader_whose_tick_was_taken_though_its_answer_was_lost_follows_itself(
    autojump_clock: MockClock,
) -> None:
    async with opened() as member:
        await trio.sleep(1)
        tick = member.workers.tick_elsewhere(8.0)
        await wait_all_tasks_blocked()
        assert member.book.current.tick_id == tick.tick_id
        await trio.sleep_until(1.5 * INTERVAL)
        assert member.moments() == [0, 30]


async def test_a_tick_says_which_names_have_no_price(autojump_clock: MockClock) -> None:
    async with opened() as member:
        del member.source.prices["MSFT"]
        member.source.prices["MSFT"] = float("nan")
        await trio.sleep_until(INTERVAL + 1)
        tick = member.workers.published[-1]
        assert (tick.prices, tick.unpriced) == ({"AAPL": 1.0}, ("MSFT",))
