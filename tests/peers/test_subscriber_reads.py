"""Where something is missing: documents read anew, sessions left, and what the dead leave behind."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.stage import HOLD_SECONDS
from portfolio_trio.peers.subscriber import MAX_RETRY_SECONDS, READS_AT_ONCE, RETRY_SECONDS
from portfolio_trio.store import Ending
from tests.peers.fakes import current, note, opened

pytestmark = pytest.mark.trio

STATE = "portfolio 1"


# --- reading ------------------------------------------------------------------------------------------------


async def test_a_look_reads_the_one_document() -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, other):
        world.letter(note("look"))
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert (viewer.seen, other.seen) == ([STATE], [])


async def test_a_gap_leads_to_a_read_of_every_document_and_the_letter_counts() -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, other):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert world.store.calls == []
        world.store.change("s", current_analysis=current(1))
        world.letter(note("analysis_result", 1), skip=1)
        await wait_all_tasks_blocked()
        assert sorted(world.store.calls) == [("attach", "s"), ("attach", "t")]
        assert sorted(viewer.seen[1:]) == ["<analysis_result 1>", STATE]
        assert other.seen == [STATE]
        world.letter()
        await wait_all_tasks_blocked()
        assert len(world.store.calls) == 2


@pytest.mark.parametrize("text", [b"", b"nonsense", b'{"sender":"two","number":1,"previous":0,"notes":[{}]}'])
async def test_a_letter_that_cannot_be_read_leads_to_a_read(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.relay.receive(text)
        await wait_all_tasks_blocked()
        assert viewer.seen == [STATE]
    assert "cannot be read" in caplog.text


async def test_documents_are_read_until_redis_is_back(autojump_clock: MockClock) -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, other):
        world.store.away = True
        world.relay.miss()
        await trio.sleep(60)
        tries = world.store.counted("attach")
        # After 0, 0.5, 1.5, 3.5, 7.5, then every 8 seconds.
        assert tries == 2 * (5 + 6)
        assert viewer.seen == other.seen == []
        world.store.away = False
        await trio.sleep(MAX_RETRY_SECONDS)
        assert viewer.seen == other.seen == [STATE]
        await trio.sleep(60)
        assert world.store.counted("attach") == tries + 2


async def test_one_session_that_cannot_be_read_shows_the_others_nothing_twice(
    autojump_clock: MockClock,
) -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, healthy):
        world.store.unreadable = {"s"}
        world.relay.miss()
        await trio.sleep(60)
        assert healthy.seen == [STATE]
        assert world.store.calls.count(("attach", "t")) == 1
        assert world.store.calls.count(("attach", "s")) == 11
        # A letter that is missing reads all of them again, at once.
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert healthy.seen == [STATE, STATE]
        world.store.unreadable = set()
        await trio.sleep(1.1 * RETRY_SECONDS)
        assert viewer.seen == [STATE]


async def test_a_session_that_cannot_be_read_is_not_asked_for_without_sockets(
    autojump_clock: MockClock,
) -> None:
    async with opened("s") as world:
        async with world.seat("s"):
            world.store.unreadable = {"s"}
            world.relay.miss()
            await wait_all_tasks_blocked()
        await trio.sleep(60)
        assert world.store.calls == [("attach", "s")]


async def test_a_store_that_is_away_is_asked_for_a_few_documents_only() -> None:
    names = [f"s{number}" for number in range(3 * READS_AT_ONCE)]
    async with opened(*names) as world, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(world.seat(name))
        world.store.away = True
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == READS_AT_ONCE


async def test_what_is_missed_during_a_reading_is_read_after_it() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.store.gate = trio.Event()
        world.relay.miss()
        await wait_all_tasks_blocked()
        world.relay.miss()
        world.relay.miss()
        world.store.gate.set()
        await wait_all_tasks_blocked()
        assert viewer.seen == [STATE, STATE]


async def test_few_documents_are_on_their_way_at_a_time() -> None:
    names = [f"s{number}" for number in range(2 * READS_AT_ONCE + 1)]
    async with opened(*names) as world, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(world.seat(name))
        world.store.gate = trio.Event()
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == READS_AT_ONCE
        world.store.gate.set()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == len(names)


async def test_a_session_that_is_gone_stops_no_reading() -> None:
    async with opened("s", "t") as world, world.seat("s") as (_, viewer), world.seat("t") as (_, other):
        del world.store.documents["s"]
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert (viewer.seen, other.seen) == ([], [STATE])
        assert world.store.counted("attach") == 2


async def test_a_socket_that_has_not_been_greeted_is_left_to_its_greeting() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        room.attached = False
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert (world.store.calls, viewer.seen) == ([], [])


async def test_many_ends_that_nobody_tells_are_waited_for_once(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        for run_id in range(1, 6):
            world.letter(note("claim", run_id), note("analysis_started", run_id))
        await wait_all_tasks_blocked()
        world.store.change("s", run_counter=5)
        await trio.sleep(1.1 * HOLD_SECONDS)
        told = [each for run_id in range(1, 5) for each in (run_id, run_id)]
        assert [int("".join(filter(str.isdigit, each))) for each in viewer.seen[:-1]] == told
        # The last one: nothing waits for its end, so it may well be on its way.
        assert viewer.seen[-1] == "<analysis_started 5>"


async def test_a_reading_shows_what_no_letter_has_told(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        # Its end was lost, and an edit.
        world.store.change("s", version=2, run_counter=1, others=("two", "three"))
        world.relay.miss()
        await trio.sleep(1.1 * HOLD_SECONDS)
        assert viewer.seen == [
            "<analysis_started 1>",
            "analysis_cancelled 1 portfolio_changed",
            "portfolio 2",
        ]
        assert (viewer.dropped, set(viewer.renewed)) == ([1], {2})
        assert (room.running, room.abroad.others) == (None, ("two", "three"))
        # A letter that comes late tells nothing new.
        world.letter(note("portfolio", version=2), note("analysis_completed", 1))
        await wait_all_tasks_blocked()
        assert len(viewer.seen) == 3


async def test_a_reading_ends_a_run_here_that_was_superseded() -> None:
    async with opened("s") as world, world.seat("s") as (room, viewer):
        viewer.run_id = 1
        world.store.change("s", current_analysis=current(2))
        world.relay.miss()
        await wait_all_tasks_blocked()
        assert viewer.seen == ["superseded by 2", STATE]
        assert room.running == 2


# --- who wants to hear --------------------------------------------------------------------------------------


async def test_notes_of_a_session_without_sockets_strike_this_worker_off_once() -> None:
    async with opened("s", "t") as world:
        world.store.gate = trio.Event()
        for number in range(1, 100):
            world.letter(note("analysis_result", number))
        world.letter(note("look", session_id="t"))
        await wait_all_tasks_blocked()
        assert sorted(world.store.calls) == [("leave", "s"), ("leave", "t")]
        world.store.gate.set()
        await wait_all_tasks_blocked()
        # Named again meanwhile, it is struck off again.
        world.letter(note("analysis_result", 100))
        await wait_all_tasks_blocked()
        assert world.store.counted("leave") == 3


async def test_a_store_that_is_away_is_asked_again_with_the_next_note() -> None:
    async with opened("s") as world:
        world.store.away = True
        world.letter(note("look"))
        await wait_all_tasks_blocked()
        world.store.away = False
        world.store.attached["s"].add("me")
        world.letter(note("look"))
        await wait_all_tasks_blocked()
        assert world.store.attached["s"] == set()


async def test_who_comes_while_this_worker_is_struck_off_is_attached_again() -> None:
    async with opened("s") as world, trio.open_nursery() as nursery:
        async with world.seat("s"):
            pass
        assert world.store.attached["s"] == {"me"}
        world.store.gate = trio.Event()
        nursery.start_soon(world.relay.leave, "s")
        await wait_all_tasks_blocked()
        gate, world.store.gate = world.store.gate, None
        async with world.seat("s") as (_, viewer):
            # Greeted before Redis has struck the worker off.
            gate.set()
            await wait_all_tasks_blocked()
            assert world.store.calls == [("attach", "s")]
            assert world.store.attached["s"] == {"me"}
            assert viewer.seen == [STATE]


async def test_who_came_before_is_not_struck_off() -> None:
    async with opened("s") as world, world.seat("s"):
        await world.relay.leave("s")
        assert world.store.calls == []


# --- the dead -----------------------------------------------------------------------------------------------


async def test_the_runs_of_the_dead_are_over_and_cleared() -> None:
    async with opened("s", "t") as world, world.seat("s") as (room, viewer), world.seat("t") as (_, other):
        world.letter(note("claim", 1), note("analysis_started", 1), note("claim", 7, session_id="t"))
        await wait_all_tasks_blocked()
        viewer.frames.clear()
        world.relay.mourn(["three"])
        await wait_all_tasks_blocked()
        assert (viewer.seen, world.store.finished) == ([], [])
        world.relay.mourn(["two"])
        await wait_all_tasks_blocked()
        assert viewer.seen == [f"analysis_cancelled 1 {EndReason.DISCONNECTED}"]
        # This one had not begun for anybody.
        assert other.seen == [f"analysis_cancelled 7 {EndReason.DISCONNECTED}"]
        assert viewer.dropped == [1]
        assert room.running is None
        assert sorted(world.store.finished) == [("s", 1), ("t", 7)]
        # Told at each beat until somebody has cleaned up.
        world.relay.mourn(["two"])
        await wait_all_tasks_blocked()
        assert (len(viewer.seen), len(world.store.finished)) == (1, 2)


async def test_nothing_waits_for_the_dead_and_their_letters_are_numbered_anew() -> None:
    async with opened("s") as world, world.seat("s"):
        world.letter()
        world.relay.mourn(["two"])
        assert world.post.forgotten == ["two"]
        world._number = 0
        world.letter()
        await wait_all_tasks_blocked()
        assert world.store.calls == []


async def test_a_run_of_the_dead_that_cannot_be_cleared_is_left_to_the_sweep() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        world.store.away = True
        world.relay.mourn(["two"])
        await wait_all_tasks_blocked()
        # It may have ended otherwise before: the document says so, once it can be asked.
        assert viewer.seen[1:] == []
        assert world.store.finished == []
        world.store.away = False
        world.relay.sweep()
        await wait_all_tasks_blocked()
        assert viewer.seen[1:] == ["analysis_cancelled 1 disconnected"]
        assert world.store.finished == [("s", 1)]


async def test_the_end_of_what_the_dead_ran_is_told_at_once_as_the_document_has_it() -> None:
    async with opened("s") as world, world.seat("s") as (_, viewer):
        world.letter(note("claim", 1), note("analysis_started", 1))
        await wait_all_tasks_blocked()
        world.store.change("s", run_ends=(Ending(1, "cancelled", "switched"),))
        world.relay.mourn(["two"])
        await wait_all_tasks_blocked()
        assert viewer.seen[1:] == ["analysis_cancelled 1 switched"]
        assert world.post.told == []
