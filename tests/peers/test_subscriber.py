"""What other workers tell, carried out: in order, bounded, and nothing of a run outside its turn."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.hub.stage import HOLD_SECONDS
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.peers.subscriber import NOTES_PER_SESSION
from portfolio_trio.store import PortfolioChanged, RunSuperseded
from tests.peers.fakes import current, note, opened, running

pytestmark = pytest.mark.trio

STATE = "portfolio 1"


# --- runs of other workers ----------------------------------------------------------------------------------


async def test_a_run_of_another_worker_is_seen_from_its_start_to_its_end() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        running = [room.running]
        world.letter(note("analysis_result", 1), note("metric_error", 1), note("analysis_completed", 1))
        await wait_all_tasks_blocked()
        assert [*running, room.running] == [1, None]
        assert viewer.seen == [
            "<analysis_started 1>",
            "<analysis_result 1>",
            "<metric_error 1>",
            "<analysis_completed 1>",
        ]
        # What the other worker has recorded and told needs no read.
        assert world.store.calls == []


async def test_a_claim_ends_the_run_here_before_anything_of_the_new_one_is_seen() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        viewer.run_id = 1
        world.letter(note("claim", 2), note("analysis_started", 2))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["superseded by 2", "<analysis_started 2>"]


async def test_a_newer_run_is_seen_when_the_one_before_it_has_ended() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        world.letter(note("claim", 2), note("analysis_started", 2), note("analysis_result", 2))
        await wait_all_tasks_blocked()
        # How it ended is told by whoever ran it, and that letter may come later than those of others.
        assert viewer.seen == ["<analysis_started 1>"]
        world.letter(note("analysis_result", 1), note("analysis_completed", 1), note("analysis_result", 1))
        await wait_all_tasks_blocked()
        assert viewer.seen[1:] == [
            "<analysis_result 1>",
            "<analysis_completed 1>",
            "<analysis_started 2>",
            "<analysis_result 2>",
        ]
        assert room.running == 2


async def test_an_end_that_nobody_tells_is_looked_up(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        world.letter(note("claim", 2), note("analysis_started", 2))
        world.store.change("s", current_analysis=current(2), run_counter=2)
        await trio.sleep(HOLD_SECONDS * 0.9)
        assert viewer.seen == ["<analysis_started 1>"]
        await trio.sleep(HOLD_SECONDS * 0.2)
        assert viewer.seen[1:] == ["analysis_cancelled 1 superseded", "<analysis_started 2>"]
        # It comes after all, too late.
        world.letter(note("analysis_completed", 1))
        await wait_all_tasks_blocked()
        assert len(viewer.seen) == 3


async def test_news_of_a_run_whose_beginning_is_missing_lead_to_a_read() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.store.change("s", current_analysis=current(3))
        world.letter(note("analysis_result", 3))
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert viewer.seen == [STATE]
        assert room.running == 3
        world.letter(note("analysis_completed", 3))
        await wait_all_tasks_blocked()
        assert viewer.seen == [STATE, "<analysis_completed 3>"]


async def test_what_is_cancelled_is_dropped_and_what_is_completed_is_not() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("claim", 1), note("analysis_cancelled", 1))
        await wait_all_tasks_blocked()
        assert viewer.dropped == [1]
        world.letter(note("claim", 2), note("analysis_failed", 2), note("claim", 3))
        await wait_all_tasks_blocked()
        assert viewer.dropped == [1]


async def test_a_run_that_ended_before_it_had_a_number_is_shown() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("analysis_cancelled", None, frame="<never began>"))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["<never began>"]


async def test_notes_of_one_session_wait_for_each_other_and_not_for_those_of_others() -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, other):
        viewer.run_id, viewer.busy = 1, trio.Event()
        world.letter(note("claim", 2))
        await wait_all_tasks_blocked()
        world.letter(note("analysis_started", 2), note("claim", 1, session_id="t"))
        world.letter(note("analysis_started", 1, session_id="t"), note("analysis_result", 2))
        await wait_all_tasks_blocked()
        assert viewer.seen == []
        assert other.seen == ["<analysis_started 1>"]
        viewer.busy.set()
        await wait_all_tasks_blocked()
        assert viewer.seen == ["superseded by 2", "<analysis_started 2>", "<analysis_result 2>"]


async def test_a_socket_that_starts_its_own_run_is_not_disturbed_in_the_middle() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        async with room.turn:
            world.letter(note("claim", 2))
            await wait_all_tasks_blocked()
            viewer.run_id = 3
            room.claim(running(3), 2, "")
        await wait_all_tasks_blocked()
        assert (viewer.run_id, room.running, viewer.seen) == (3, 3, [])


async def test_too_many_notes_lead_to_a_read() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        viewer.busy = trio.Event()
        world.letter(note("claim", 2))
        await wait_all_tasks_blocked()
        for _ in range(NOTES_PER_SESSION + 1):
            assert len(world.relay._waiting["s"]) <= NOTES_PER_SESSION
            world.letter(note("analysis_result", 2))
        assert len(world.relay._waiting["s"]) == 0
        world.store.change("s", current_analysis=current(2))
        viewer.busy.set()
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert viewer.seen == [STATE]


async def test_as_many_notes_as_may_wait_are_all_carried_out() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        viewer.busy = trio.Event()
        world.letter(note("claim", 2))
        await wait_all_tasks_blocked()
        world.letter(note("analysis_started", 2))
        for _ in range(NOTES_PER_SESSION - 1):
            world.letter(note("analysis_result", 2))
        viewer.busy.set()
        await wait_all_tasks_blocked()
        assert len(viewer.seen) == NOTES_PER_SESSION
        assert world.store.calls == []


async def test_the_last_socket_may_leave_while_notes_wait() -> None:
    async with opened("s") as world:
        async with world.seat("s") as (_, viewer):
            viewer.busy = trio.Event()
            world.letter(note("claim", 2), note("analysis_started", 2), note("analysis_result", 2))
            await wait_all_tasks_blocked()
        viewer.busy.set()
        await wait_all_tasks_blocked()
        # Nothing is carried out in an empty room.
        assert viewer.seen == []
    assert world.store.calls == []


# --- cancelling and editing ---------------------------------------------------------------------------------


async def test_a_run_here_that_was_cancelled_elsewhere_ends_and_is_cleared() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        viewer.run_id = 1
        world.letter(note("cancel", 1, frame="<cancelled>"))
        await wait_all_tasks_blocked()
        # Its own runner tells its end.
        assert (viewer.running, viewer.cleared, viewer.seen) == (None, 1, [])


async def test_a_run_of_a_third_worker_that_was_cancelled_is_over_once() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        world.letter(note("cancel", 1))
        await wait_all_tasks_blocked()
        # The worker that runs it says so.
        assert viewer.seen == ["<analysis_started 1>"]
        world.letter(note("analysis_cancelled", 1), note("analysis_result", 1), note("analysis_cancelled", 1))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["<analysis_started 1>", "<analysis_cancelled 1>"]
        assert viewer.dropped == [1, 1]
        assert room.running is None


async def test_an_edit_is_shown_once_and_starts_what_runs_again() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        for _ in range(2):
            world.letter(note("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["portfolio 2"]
        assert viewer.renewed == [2, 2]
        assert room.abroad.version == 2
        assert world.store.calls == []


async def test_an_edit_that_is_older_than_what_was_shown_is_not_shown() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("portfolio", version=3))
        world.letter(note("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["portfolio 3"]


async def test_an_edit_under_a_run_of_another_worker_is_seen_when_that_run_has_ended() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        world.letter(note("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["<analysis_started 1>"]
        assert room.running is None
        world.letter(note("analysis_cancelled", 1), note("analysis_result", 1))
        await wait_all_tasks_blocked()
        assert viewer.seen == ["<analysis_started 1>", "<analysis_cancelled 1>", "portfolio 2"]


async def test_a_state_names_the_run_that_has_been_seen_to_start_and_no_other() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        state = portfolio_message(world.store.change("s", version=2, current_analysis=current(4, version=2)))
        world.letter(note("portfolio", version=2, frame=state.to_json()))
        world.letter(note("claim", 4, version=2), note("analysis_started", 4, running=running(4, version=2)))
        world.letter(note("portfolio", version=2, frame=state.to_json()), note("look"))
        await wait_all_tasks_blocked()
        assert [json.loads(frame)["current_analysis"] for frame in viewer.frames if frame[0] == "{"] == [
            None,
            running(4, version=2).model_dump(),
        ]


async def test_a_claim_here_is_refused_by_newer_news() -> None:
    async with opened("s") as world, world.seat("s") as (room, _):
        world.letter(note("claim", 5))
        await wait_all_tasks_blocked()
        with pytest.raises(RunSuperseded):
            room.claim(running(4), 0, "")
        assert (room.running, world.post.told) == (5, [])
        world.letter(note("portfolio", version=2))
        await wait_all_tasks_blocked()
        with pytest.raises(PortfolioChanged):
            room.claim(running(6), 5, "")
        # Its number counts all the same: what is older is over everywhere.
        assert [(worker, told.kind, told.run_id) for worker, told in world.post.told] == [("two", "claim", 6)]
        room.claim(running(7, version=2), 6, "")


async def test_what_comes_after_the_end_is_dropped() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
    with_a_run = list(viewer.seen)
    # The listener may still hold messages when the server ends.
    world.letter(note("analysis_result", 1), note("look", session_id="unknown"))
    world.relay.mourn(["two"])
    assert viewer.seen == with_a_run == ["<analysis_started 1>"]
