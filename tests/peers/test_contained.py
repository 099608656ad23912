"""A fault of this program in one note, beat, message, tick or letter costs that one, and the loop goes on."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from typing_extensions import override

from portfolio_trio.faults import Faults
from portfolio_trio.hub.remote_run import Abroad
from portfolio_trio.hub.run_state import Run
from portfolio_trio.peers.publisher import RETRY_SECONDS, Post
from tests.peers.fakes import note, opened
from tests.peers.member import BEAT, INTERVAL
from tests.peers.member import opened as opened_member
from tests.peers.test_publisher import Wire
from tests.peers.test_publisher import note as letter_note

pytestmark = pytest.mark.trio


class Stumbles:
    """Fails as a fault of ours would, so many times, and then does what it stands for."""

    def __init__(self, method: Any, times: int = 1) -> None:
        self._method = method
        self._times = times

    def __call__(self, *args: Any, **more: Any) -> Any:
        if self._times:
            self._times -= 1
            raise LookupError("a fault of ours")
        return self._method(*args, **more)


class StumblingAbroad(Abroad):
    """Cannot say that a run is over."""

    __slots__ = ()

    @override
    def end(self) -> Run | None:
        raise LookupError("a fault of ours")


# --- the relay ----------------------------------------------------------------------------------------------


async def test_a_note_that_cannot_be_carried_out_ends_its_session_and_no_other() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.seat("s") as (room, one),
        world.seat("t") as (_, two),
    ):
        room.show_note = Stumbles(room.show_note)  # type: ignore[method-assign] # a fault of ours
        world.letter(note("claim", 1), note("analysis_started", 1), note("analysis_result", 1))
        world.letter(note("claim", 1, session_id="t"), note("analysis_started", 1, session_id="t"))
        await wait_all_tasks_blocked()
        assert (one.failed, one.seen) == (1, [])
        assert (two.failed, two.seen) == (0, ["<analysis_started 1>"])


async def test_a_viewer_that_fails_at_a_note_is_ended_alone() -> None:
    async with opened("s", faults=1) as world, world.seat("s") as (_, one), world.seat("s") as (_, two):
        one.fault = LookupError("a fault of ours")
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>"]


async def test_a_session_that_cannot_be_read_for_a_fault_does_not_end_the_reading_of_all() -> None:
    async with opened("s", "t", faults=1) as world, world.seat("s") as (_, one), world.seat("t") as (_, two):
        world.store.attach = Stumbles(world.store.attach)  # type: ignore[method-assign] # as above
        world.relay.miss()
        await wait_all_tasks_blocked()
        # Which of them came first, Trio chose.
        assert sorted([one.failed, two.failed]) == [0, 1]
        assert sorted([one.seen, two.seen]) == [[], ["portfolio 1"]]


async def test_a_session_that_cannot_be_left_for_a_fault_does_not_end_the_relay() -> None:
    async with opened("s", "gone", faults=1) as world, world.seat("s") as (_, viewer):
        world.store.leave_session = Stumbles(world.store.leave_session)  # type: ignore[method-assign] # as above
        world.letter(note("look", session_id="gone"))
        await wait_all_tasks_blocked()
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["<analysis_started 1>"]
        assert not world.relay._leaving


async def test_the_dead_of_one_session_that_fails_are_mourned_in_the_others() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.seat("s") as (room, one),
        world.seat("t") as (_, two),
    ):
        for name in ("s", "t"):
            world.letter(note("claim", 1, session_id=name), note("analysis_started", 1, session_id=name))
        await wait_all_tasks_blocked()
        room.abroad.__class__ = StumblingAbroad
        world.relay.mourn(["two"])
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>", "analysis_cancelled 1 disconnected"]


async def test_a_session_that_cannot_be_read_anew_for_a_fault_does_not_end_the_relay() -> None:
    async with (
        opened("s", "t", faults=1) as world,
        world.seat("s") as (room, one),
        world.seat("t") as (_, two),
    ):
        world.store.attach = Stumbles(world.store.attach)  # type: ignore[method-assign] # as above
        world.relay.reread(room)
        await wait_all_tasks_blocked()
        world.letter(note("claim", 1, session_id="t"), note("analysis_started", 1, session_id="t"))
        await wait_all_tasks_blocked()
        assert (one.failed, two.failed) == (1, 0)
        assert two.seen == ["<analysis_started 1>"]


# --- membership ---------------------------------------------------------------------------------------------


async def test_a_beat_that_fails_is_followed_by_the_next(autojump_clock: MockClock) -> None:
    async with opened_member(leads=True) as member:
        member.workers.beat = Stumbles(member.workers.beat)  # type: ignore[method-assign] # as above
        await trio.sleep(3 * BEAT + 0.1)
        assert member.faults.counts == {"a beat": 1}
        assert member.leads
        assert len(member.workers.beats) >= 3


async def test_a_letter_that_fails_is_followed_by_the_next_and_the_documents_are_read(
    autojump_clock: MockClock,
) -> None:
    async with opened_member(leads=True) as member:
        member.crowd.receive = Stumbles(member.crowd.receive)  # type: ignore[method-assign] # as above
        member.workers.say("inbox", b"one")
        member.workers.say("inbox", b"two")
        await wait_all_tasks_blocked()
        assert member.faults.counts == {"a message": 1}
        assert (member.crowd.letters, member.crowd.missed) == ([b"two"], 1)


async def test_a_tick_that_cannot_be_followed_is_followed_by_the_next(autojump_clock: MockClock) -> None:
    async with opened_member(leads=False) as member:
        member.crowd.ticked = Stumbles(member.crowd.ticked)  # type: ignore[method-assign] # as above
        member.workers.tick_elsewhere(5.0)
        await trio.sleep(0.5)
        member.workers.tick_elsewhere(6.0)
        await trio.sleep(0.5)
        assert member.faults.counts == {"a followed tick": 1}
        assert member.price == 6.0
        assert len(member.crowd.ticked_ids) == 2


async def test_a_leader_that_fails_leads_again_with_the_next_beat(autojump_clock: MockClock) -> None:
    async with opened_member(leads=True) as member:
        member.membership._updater.tick = Stumbles(member.membership._updater.tick)  # type: ignore[method-assign] # as above
        await trio.sleep(2.5 * INTERVAL)
        assert member.faults.counts == {"the lead": 1}
        assert member.leads
        assert len(member.crowd.sweeps) >= 1


# --- the post -----------------------------------------------------------------------------------------------


async def test_a_letter_that_fails_shows_as_a_gap_and_holds_up_nobody(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire, faults = Wire(), Faults()
    wire.post = Stumbles(wire.post)  # type: ignore[method-assign] # as above
    post = Post(wire, max_bytes=1_000, faults=faults)  # type: ignore[arg-type] # posts letters
    nursery.start_soon(post.run)
    post.tell(["two"], letter_note("a"))
    await wait_all_tasks_blocked()
    post.tell(["two"], letter_note("b"))
    post.tell(["three"], letter_note("c"))
    await trio.sleep(RETRY_SECONDS + 0.1)
    assert faults.counts == {"a letter": 1}
    assert (wire.frames("two"), wire.follows("two")) == ([["b"]], [False])
    assert wire.frames("three") == [["c"]]
