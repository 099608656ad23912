"""Handling events of other workers: in order, bounded, and nothing of a run outside its turn."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.peers.document_reader import RETRY_SECONDS
from portfolio_trio.peers.run_ends import HOLD_SECONDS, LOOK_SECONDS, WORD_SECONDS
from portfolio_trio.peers.subscriber import EVENTS_PER_SESSION
from portfolio_trio.store import Ending, PortfolioChanged, RunSuperseded
from tests.peers.fakes import current, open_run, opened, peer_event, running, start

pytestmark = pytest.mark.trio

STATE = "portfolio 1"


# --- runs of other workers ----------------------------------------------------------------------------------


async def test_a_run_of_another_worker_is_seen_from_its_start_to_its_end() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        running = [open_run(group)]
        world.batch(
            peer_event("analysis_result", 1),
            peer_event("metric_error", 1),
            peer_event("analysis_completed", 1),
        )
        await wait_all_tasks_blocked()
        assert [*running, open_run(group)] == [1, None]
        assert subscriber.seen == [
            "<analysis_started 1>",
            "<analysis_result 1>",
            "<metric_error 1>",
            "<analysis_completed 1>",
        ]
        # What the other worker has recorded and told needs no read.
        assert world.store.calls == []


async def test_a_claim_ends_the_run_here_before_anything_of_the_new_one_is_seen() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        subscriber.run_id = 1
        world.batch(peer_event("claim", 2), peer_event("analysis_started", 2))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["superseded by 2", "<analysis_started 2>"]


async def test_a_newer_run_is_seen_when_the_one_before_it_has_ended() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(
            peer_event("claim", 2), peer_event("analysis_started", 2), peer_event("analysis_result", 2)
        )
        await wait_all_tasks_blocked()
        # The worker that ran it reports its end, and that batch may come later than those of others.
        assert subscriber.seen == ["<analysis_started 1>"]
        world.batch(
            peer_event("analysis_result", 1),
            peer_event("analysis_completed", 1),
            peer_event("analysis_result", 1),
        )
        await wait_all_tasks_blocked()
        assert subscriber.seen[1:] == [
            "<analysis_result 1>",
            "<analysis_completed 1>",
            "<analysis_started 2>",
            "<analysis_result 2>",
        ]
        assert open_run(group) == 2


async def test_an_end_that_is_not_reported_is_read_from_the_document(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("claim", 2), peer_event("analysis_started", 2))
        # Its last results may be on their way.
        ended = Ending(1, "completed", results=5)
        world.store.change("s", current_analysis=current(2), run_counter=2, run_ends=(ended,))
        await trio.sleep(HOLD_SECONDS * 0.9)
        assert subscriber.seen == ["<analysis_started 1>"]
        await trio.sleep(HOLD_SECONDS * 0.1 + 1.1 * LOOK_SECONDS)
        assert subscriber.seen[1:] == ["analysis_completed 1", "<analysis_started 2>"]
        # It comes after all, too late.
        world.batch(peer_event("analysis_completed", 1))
        await wait_all_tasks_blocked()
        assert len(subscriber.seen) == 3


async def test_a_reported_end_in_the_document_is_read_before_later_ends_replace_it(
    autojump_clock: MockClock,
) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("claim", 2), peer_event("analysis_started", 2))
        ended = Ending(1, "cancelled", "switched", told=True)
        world.store.change("s", current_analysis=current(2), run_counter=2, run_ends=(ended,))
        await trio.sleep(1.1 * LOOK_SECONDS)
        assert subscriber.seen[1:] == ["analysis_cancelled 1 switched", "<analysis_started 2>"]


async def test_a_document_that_cannot_be_read_is_read_as_soon_as_it_can(autojump_clock: MockClock) -> None:
    """A busy session ends more runs in two seconds than its document names."""
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.store.away = True
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("claim", 2), peer_event("analysis_started", 2))
        ended = Ending(1, "cancelled", "switched", told=True)
        world.store.change("s", current_analysis=current(2), run_counter=2, run_ends=(ended,))
        await trio.sleep(LOOK_SECONDS + 0.9 * RETRY_SECONDS)
        assert subscriber.seen == ["<analysis_started 1>"]
        world.store.away = False
        await trio.sleep(0.2 * RETRY_SECONDS)
        assert subscriber.seen[1:] == ["analysis_cancelled 1 switched", "<analysis_started 2>"]


async def test_the_report_of_the_worker_that_ran_it_is_awaited_if_the_document_has_another_end(
    autojump_clock: MockClock,
) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("claim", 2), peer_event("analysis_started", 2))
        ended = Ending(1, "cancelled", "portfolio_changed")
        world.store.change("s", current_analysis=current(2), run_counter=2, run_ends=(ended,))
        await trio.sleep(WORD_SECONDS)
        assert subscriber.seen == ["<analysis_started 1>"]
        await trio.sleep(1.1 * HOLD_SECONDS)
        assert subscriber.seen[1:] == ["analysis_cancelled 1 portfolio_changed", "<analysis_started 2>"]


async def test_each_run_has_its_own_time_to_be_reported(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        for run_id in (1, 2, 3):
            world.batch(peer_event("claim", run_id), peer_event("analysis_started", run_id))
        ends = tuple(Ending(run_id, "cancelled", "portfolio_changed") for run_id in (1, 2))
        world.store.change("s", current_analysis=current(3), run_counter=3, run_ends=ends)
        await trio.sleep(WORD_SECONDS + 1.1 * HOLD_SECONDS)
        assert subscriber.seen[1:] == ["analysis_cancelled 1 portfolio_changed", "<analysis_started 2>"]
        world.batch(peer_event("analysis_cancelled", 2))
        await wait_all_tasks_blocked()
        assert subscriber.seen[3:] == ["<analysis_cancelled 2>", "<analysis_started 3>"]


async def test_one_reading_ends_all_that_the_document_says_is_over() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        for run_id in (1, 2, 3):
            world.batch(peer_event("claim", run_id), peer_event("analysis_started", run_id))
        ends = tuple(Ending(run_id, "cancelled", "switched", told=True) for run_id in (1, 2))
        world.store.change("s", current_analysis=current(3), run_counter=3, run_ends=ends)
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        told = [each for each in subscriber.seen if "cancelled" in each]
        assert told == ["analysis_cancelled 1 switched", "analysis_cancelled 2 switched"]


async def test_events_of_a_run_whose_start_is_missing_lead_to_a_read() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.store.change("s", current_analysis=current(3))
        world.batch(peer_event("analysis_result", 3))
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert subscriber.seen == [STATE]
        assert open_run(group) == 3
        world.batch(peer_event("analysis_completed", 3))
        await wait_all_tasks_blocked()
        assert subscriber.seen == [STATE, "<analysis_completed 3>"]


async def test_what_is_cancelled_is_dropped_and_what_is_completed_is_not() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_cancelled", 1))
        await wait_all_tasks_blocked()
        assert subscriber.dropped == [1]
        world.batch(peer_event("claim", 2), peer_event("analysis_failed", 2), peer_event("claim", 3))
        await wait_all_tasks_blocked()
        assert subscriber.dropped == [1]


async def test_a_run_that_ended_before_it_had_a_number_is_shown() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("analysis_cancelled", None, frame="<never began>"))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["<never began>"]


async def test_events_of_one_session_wait_for_each_other_and_not_for_those_of_others() -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, other),
    ):
        subscriber.run_id, subscriber.busy = 1, trio.Event()
        world.batch(peer_event("claim", 2))
        await wait_all_tasks_blocked()
        world.batch(peer_event("analysis_started", 2), peer_event("claim", 1, session_id="t"))
        world.batch(peer_event("analysis_started", 1, session_id="t"), peer_event("analysis_result", 2))
        await wait_all_tasks_blocked()
        assert subscriber.seen == []
        assert other.seen == ["<analysis_started 1>"]
        subscriber.busy.set()
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["superseded by 2", "<analysis_started 2>", "<analysis_result 2>"]


async def test_a_socket_that_starts_its_own_run_is_not_disturbed_in_the_middle() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        async with group.start_lock:
            world.batch(peer_event("claim", 2))
            await wait_all_tasks_blocked()
            subscriber.run_id = 3
            group.document.claim("AAPL", start(3, replaced=2, others=group.remote.others), "")
        await wait_all_tasks_blocked()
        assert (subscriber.run_id, open_run(group), subscriber.seen) == (3, 3, [])


async def test_too_many_events_lead_to_a_read() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        subscriber.busy = trio.Event()
        world.batch(peer_event("claim", 2))
        await wait_all_tasks_blocked()
        for _ in range(EVENTS_PER_SESSION + 1):
            assert len(world.peer_subscriber._waiting["s"]) <= EVENTS_PER_SESSION
            world.batch(peer_event("analysis_result", 2))
        assert len(world.peer_subscriber._waiting["s"]) == 0
        world.store.change("s", current_analysis=current(2))
        subscriber.busy.set()
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert subscriber.seen == [STATE]


async def test_as_many_events_as_may_wait_are_all_carried_out() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        subscriber.busy = trio.Event()
        world.batch(peer_event("claim", 2))
        await wait_all_tasks_blocked()
        world.batch(peer_event("analysis_started", 2))
        for _ in range(EVENTS_PER_SESSION - 1):
            world.batch(peer_event("analysis_result", 2))
        subscriber.busy.set()
        await wait_all_tasks_blocked()
        assert len(subscriber.seen) == EVENTS_PER_SESSION
        assert world.store.calls == []


async def test_the_last_socket_may_leave_while_events_wait() -> None:
    async with opened("s") as world:
        async with world.subscribe("s") as (_, subscriber):
            subscriber.busy = trio.Event()
            world.batch(
                peer_event("claim", 2), peer_event("analysis_started", 2), peer_event("analysis_result", 2)
            )
            await wait_all_tasks_blocked()
        subscriber.busy.set()
        await wait_all_tasks_blocked()
        # Nothing is carried out in an empty group.
        assert subscriber.seen == []
    assert world.store.calls == []


# --- cancelling and editing ---------------------------------------------------------------------------------


async def test_a_run_here_that_was_cancelled_elsewhere_ends_and_is_cleared() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        subscriber.run_id = 1
        world.batch(peer_event("cancel", 1, frame="<cancelled>"))
        await wait_all_tasks_blocked()
        # Its own runner tells its end.
        assert (subscriber.running, subscriber.cleared, subscriber.seen) == (None, 1, [])


async def test_a_run_of_a_third_worker_that_was_cancelled_is_over_once() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("cancel", 1))
        await wait_all_tasks_blocked()
        # The worker that runs it reports that.
        assert subscriber.seen == ["<analysis_started 1>"]
        world.batch(
            peer_event("analysis_cancelled", 1),
            peer_event("analysis_result", 1),
            peer_event("analysis_cancelled", 1),
        )
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["<analysis_started 1>", "<analysis_cancelled 1>"]
        assert subscriber.dropped == [1, 1]
        assert open_run(group) is None


async def test_an_edit_is_shown_once_and_starts_what_runs_again() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        for _ in range(2):
            world.batch(peer_event("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["portfolio 2"]
        assert subscriber.renewed == [2, 2]
        assert group.remote.version == 2
        assert world.store.calls == []


async def test_an_edit_that_is_older_than_what_was_shown_is_not_shown() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("portfolio", version=3))
        world.batch(peer_event("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["portfolio 3"]


async def test_an_edit_under_a_run_of_another_worker_is_seen_when_that_run_has_ended() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        world.batch(peer_event("portfolio", version=2))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["<analysis_started 1>"]
        assert open_run(group) is None
        world.batch(peer_event("analysis_cancelled", 1), peer_event("analysis_result", 1))
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["<analysis_started 1>", "<analysis_cancelled 1>", "portfolio 2"]


async def test_a_state_names_the_run_that_has_been_seen_to_start_and_no_other() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        state = portfolio_message(world.store.change("s", version=2, current_analysis=current(4, version=2)))
        world.batch(peer_event("portfolio", version=2, frame=state.to_json()))
        world.batch(
            peer_event("claim", 4, version=2),
            peer_event("analysis_started", 4, running=running(4, version=2)),
        )
        world.batch(peer_event("portfolio", version=2, frame=state.to_json()), peer_event("look"))
        await wait_all_tasks_blocked()
        assert [json.loads(frame)["current_analysis"] for frame in subscriber.frames if frame[0] == "{"] == [
            None,
            running(4, version=2).model_dump(),
        ]


async def test_a_claim_is_refused_if_a_newer_run_or_version_is_known() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, _):
        world.batch(peer_event("claim", 5))
        await wait_all_tasks_blocked()
        with pytest.raises(RunSuperseded):
            group.document.claim("AAPL", start(4, replaced=0, others=group.remote.others), "")
        assert (open_run(group), world.publisher.told) == (5, [])
        world.batch(peer_event("portfolio", version=2))
        await wait_all_tasks_blocked()
        with pytest.raises(PortfolioChanged):
            group.document.claim("AAPL", start(6, replaced=5, others=group.remote.others), "")
        # Its number counts all the same: what is older is over everywhere.
        assert [(worker, told.kind, told.run_id) for worker, told in world.publisher.told] == [
            ("two", "claim", 6)
        ]
        group.document.claim("AAPL", start(7, version=2, replaced=6, others=group.remote.others), "")


async def test_what_comes_after_the_end_is_dropped() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
    with_a_run = list(subscriber.seen)
    # The listener may still hold messages when the server ends.
    world.batch(peer_event("analysis_result", 1), peer_event("look", session_id="unknown"))
    world.peer_subscriber.on_workers_lost(["two"])
    assert subscriber.seen == with_a_run == ["<analysis_started 1>"]
