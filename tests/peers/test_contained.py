"""A bug in one event, heartbeat, message, tick or batch affects only that one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from typing_extensions import override

from portfolio_trio.faults import Faults
from portfolio_trio.hub.events import PeerEvent
from portfolio_trio.hub.remote_events import RemoteEvents
from portfolio_trio.hub.remote_run import RemoteState
from portfolio_trio.hub.run_state import Run
from portfolio_trio.peers.publisher import RETRY_SECONDS, PeerPublisher
from tests.peers.fakes import opened, peer_event
from tests.peers.member import HEARTBEAT, INTERVAL
from tests.peers.member import opened as opened_member
from tests.peers.test_publisher import Wire
from tests.peers.test_publisher import peer_event as numbered_event

pytestmark = pytest.mark.trio


class Fails:
    """Fails like a bug a number of times, and then does what it replaces."""

    def __init__(self, method: Any, times: int = 1) -> None:
        self._method = method
        self._times = times

    def __call__(self, *args: Any, **more: Any) -> Any:
        if self._times:
            self._times -= 1
            raise LookupError("a fault of ours")
        return self._method(*args, **more)


class FailingOnce(RemoteEvents):
    """Cannot show one event."""

    __slots__ = ()

    @override
    def show(self, peer_event: PeerEvent) -> None:
        self.__class__ = RemoteEvents  # type: ignore[assignment] # it has no other state
        raise LookupError("a fault of ours")


class FailingRemote(RemoteState):
    """Cannot say that a run is over."""

    __slots__ = ()

    @override
    def end(self) -> Run | None:
        raise LookupError("a fault of ours")


# --- the peer subscriber ------------------------------------------------------------------------------------


async def test_an_event_that_cannot_be_carried_out_ends_its_session_and_no_other() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.subscribe("s") as (group, one),
        world.subscribe("t") as (_, two),
    ):
        group.remote_events.__class__ = FailingOnce
        world.batch(
            peer_event("claim", 1), peer_event("analysis_started", 1), peer_event("analysis_result", 1)
        )
        world.batch(peer_event("claim", 1, session_id="t"), peer_event("analysis_started", 1, session_id="t"))
        await wait_all_tasks_blocked()
        assert (one.failed, one.seen) == (1, [])
        assert (two.failed, two.seen) == (0, ["<analysis_started 1>"])


async def test_a_subscriber_that_fails_at_an_event_is_ended_alone() -> None:
    async with (
        opened("s", faults=1) as world,
        world.subscribe("s") as (_, one),
        world.subscribe("s") as (_, two),
    ):
        one.fault = LookupError("a fault of ours")
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>"]


async def test_a_session_that_cannot_be_read_for_a_fault_does_not_end_the_reading_of_all() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.subscribe("s") as (_, one),
        world.subscribe("t") as (_, two),
    ):
        world.store.attach = Fails(world.store.attach)  # type: ignore[method-assign] # as above
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        # Which of them came first, Trio chose.
        assert sorted([one.failed, two.failed]) == [0, 1]
        assert sorted([one.seen, two.seen]) == [[], ["portfolio 1"]]


async def test_a_session_that_cannot_be_left_for_a_fault_does_not_end_the_peer_subscriber() -> None:
    async with opened("s", "gone", faults=1) as world, world.subscribe("s") as (_, subscriber):
        world.store.leave_session = Fails(world.store.leave_session)  # type: ignore[method-assign] # as above
        world.batch(peer_event("look", session_id="gone"))
        await wait_all_tasks_blocked()
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["<analysis_started 1>"]
        assert not world.peer_subscriber._leaving


async def test_lost_workers_of_one_session_that_fails_are_handled_in_the_others() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.subscribe("s") as (group, one),
        world.subscribe("t") as (_, two),
    ):
        for name in ("s", "t"):
            world.batch(
                peer_event("claim", 1, session_id=name), peer_event("analysis_started", 1, session_id=name)
            )
        await wait_all_tasks_blocked()
        group.remote.__class__ = FailingRemote
        world.peer_subscriber.on_workers_lost(["two"])
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>", "analysis_cancelled 1 disconnected"]


async def test_a_session_that_cannot_be_read_anew_for_a_fault_does_not_end_the_peer_subscriber() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.subscribe("s") as (group, one),
        world.subscribe("t") as (_, two),
    ):
        world.store.attach = Fails(world.store.attach)  # type: ignore[method-assign] # as above
        world.peer_subscriber.reread(group)
        await wait_all_tasks_blocked()
        world.batch(peer_event("claim", 1, session_id="t"), peer_event("analysis_started", 1, session_id="t"))
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>"]


# --- membership ---------------------------------------------------------------------------------------------


async def test_a_heartbeat_that_fails_is_followed_by_the_next(autojump_clock: MockClock) -> None:
    async with opened_member(leads=True) as member:
        member.workers.heartbeat = Fails(member.workers.heartbeat)  # type: ignore[method-assign] # as above
        await trio.sleep(3 * HEARTBEAT + 0.1)
        assert member.faults.counts == {"a heartbeat": 1}
        assert member.leads
        assert len(member.workers.heartbeats) >= 3


async def test_a_batch_that_fails_is_followed_by_the_next_and_the_documents_are_read(
    autojump_clock: MockClock,
) -> None:
    async with opened_member(leads=True) as member:
        member.crowd.receive = Fails(member.crowd.receive)  # type: ignore[method-assign] # as above
        member.workers.say("inbox", b"one")
        member.workers.say("inbox", b"two")
        await wait_all_tasks_blocked()
        assert member.faults.counts == {"a message": 1}
        assert (member.crowd.batches, member.crowd.missed) == ([b"two"], 1)


async def test_a_tick_that_cannot_be_followed_is_followed_by_the_next(autojump_clock: MockClock) -> None:
    async with opened_member(leads=False) as member:
        member.crowd.ticked = Fails(member.crowd.ticked)  # type: ignore[method-assign] # as above
        member.workers.tick_elsewhere(5.0)
        await trio.sleep(0.5)
        member.workers.tick_elsewhere(6.0)
        await trio.sleep(0.5)
        assert member.faults.counts == {"a followed tick": 1}
        assert member.price == 6.0
        assert len(member.crowd.ticked_ids) == 2


async def test_a_leader_that_fails_leads_again_with_the_next_heartbeat(autojump_clock: MockClock) -> None:
    async with opened_member(leads=True) as member:
        member.membership._updater.tick = Fails(member.membership._updater.tick)  # type: ignore[method-assign] # as above
        await trio.sleep(2.5 * INTERVAL)
        assert member.faults.counts == {"the lead": 1}
        assert member.leads
        assert len(member.crowd.sweeps) >= 1


# --- the publisher ------------------------------------------------------------------------------------------


async def test_a_batch_that_fails_shows_as_a_gap_and_holds_up_nobody(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire, faults = Wire(), Faults()
    wire.send_batch = Fails(wire.send_batch)  # type: ignore[method-assign] # as above
    publisher = PeerPublisher(wire, max_bytes=1_000, faults=faults)  # type: ignore[arg-type] # posts batches
    nursery.start_soon(publisher.run)
    publisher.send(["two"], numbered_event("a"))
    await wait_all_tasks_blocked()
    publisher.send(["two"], numbered_event("b"))
    publisher.send(["three"], numbered_event("c"))
    await trio.sleep(RETRY_SECONDS + 0.1)
    assert faults.counts == {"a batch": 1}
    assert (wire.frames("two"), wire.follows("two")) == ([["b"]], [False])
    assert wire.frames("three") == [["c"]]
