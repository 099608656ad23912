"""When something is missing: documents read again, sessions left, and the remains of lost workers."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.peers.document_reader import MAX_RETRY_SECONDS, READS_AT_ONCE, RETRY_SECONDS
from portfolio_trio.peers.run_ends import HOLD_SECONDS, WORD_SECONDS
from portfolio_trio.store import Ending, FellBack
from tests.peers.fakes import current, open_run, opened, peer_event, start

pytestmark = pytest.mark.trio

STATE = "portfolio 1"


# --- reading ------------------------------------------------------------------------------------------------


async def test_a_look_reads_the_one_document() -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, other),
    ):
        world.batch(peer_event("look"))
        await wait_all_tasks_blocked()
        assert world.store.calls == [("attach", "s")]
        assert (subscriber.seen, other.seen) == ([STATE], [])


async def test_a_gap_leads_to_a_read_of_every_document_and_the_batch_counts() -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, other),
    ):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        assert world.store.calls == []
        world.store.change("s", current_analysis=current(1))
        world.batch(peer_event("analysis_result", 1), skip=1)
        await wait_all_tasks_blocked()
        assert sorted(world.store.calls) == [("attach", "s"), ("attach", "t")]
        assert sorted(subscriber.seen[1:]) == ["<analysis_result 1>", STATE]
        assert other.seen == [STATE]
        world.batch()
        await wait_all_tasks_blocked()
        assert len(world.store.calls) == 2


@pytest.mark.parametrize(
    "text", [b"", b"nonsense", b'{"sender":"two","number":1,"previous":0,"events":[{}]}']
)
async def test_a_batch_that_cannot_be_read_leads_to_a_read(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.peer_subscriber.receive(text)
        await wait_all_tasks_blocked()
        assert subscriber.seen == [STATE]
    assert "cannot be read" in caplog.text


async def test_documents_are_read_until_redis_is_back(autojump_clock: MockClock) -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, other),
    ):
        world.store.away = True
        world.peer_subscriber.miss()
        await trio.sleep(60)
        tries = world.store.counted("attach")
        # After 0, 0.5, 1.5, 3.5, 7.5, then every 8 seconds.
        assert tries == 2 * (5 + 6)
        assert subscriber.seen == other.seen == []
        world.store.away = False
        await trio.sleep(MAX_RETRY_SECONDS)
        assert subscriber.seen == other.seen == [STATE]
        await trio.sleep(60)
        assert world.store.counted("attach") == tries + 2


async def test_one_session_that_cannot_be_read_shows_the_others_nothing_twice(
    autojump_clock: MockClock,
) -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, healthy),
    ):
        world.store.unreadable = {"s"}
        world.peer_subscriber.miss()
        await trio.sleep(60)
        assert healthy.seen == [STATE]
        assert world.store.calls.count(("attach", "t")) == 1
        assert world.store.calls.count(("attach", "s")) == 11
        # A batch that is missing reads all of them again, at once.
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert healthy.seen == [STATE, STATE]
        world.store.unreadable = set()
        await trio.sleep(1.1 * RETRY_SECONDS)
        assert subscriber.seen == [STATE]


async def test_a_session_that_cannot_be_read_is_not_asked_for_without_sockets(
    autojump_clock: MockClock,
) -> None:
    async with opened("s") as world:
        async with world.subscribe("s"):
            world.store.unreadable = {"s"}
            world.peer_subscriber.miss()
            await wait_all_tasks_blocked()
        await trio.sleep(60)
        assert world.store.calls == [("attach", "s")]


async def test_a_store_that_is_away_is_asked_for_a_few_documents_only() -> None:
    names = [f"s{number}" for number in range(3 * READS_AT_ONCE)]
    async with opened(*names) as world, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(world.subscribe(name))
        world.store.away = True
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == READS_AT_ONCE


async def test_what_is_missed_during_a_reading_is_read_after_it() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.store.gate = trio.Event()
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        world.peer_subscriber.miss()
        world.peer_subscriber.miss()
        world.store.gate.set()
        await wait_all_tasks_blocked()
        assert subscriber.seen == [STATE, STATE]


async def test_few_documents_are_read_concurrently() -> None:
    names = [f"s{number}" for number in range(2 * READS_AT_ONCE + 1)]
    async with opened(*names) as world, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(world.subscribe(name))
        world.store.gate = trio.Event()
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == READS_AT_ONCE
        world.store.gate.set()
        await wait_all_tasks_blocked()
        assert world.store.counted("attach") == len(names)


async def test_a_session_that_is_gone_stops_no_reading() -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (_, subscriber),
        world.subscribe("t") as (_, other),
    ):
        del world.store.documents["s"]
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert (subscriber.seen, other.seen) == ([], [STATE])
        assert world.store.counted("attach") == 2


async def test_a_socket_that_has_not_subscribed_is_left_to_its_first_state() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        group.document.attached = False
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert (world.store.calls, subscriber.seen) == ([], [])


async def test_many_ends_that_are_not_reported_are_awaited_once(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        for run_id in range(1, 6):
            world.batch(peer_event("claim", run_id), peer_event("analysis_started", run_id))
        await wait_all_tasks_blocked()
        ends = tuple(Ending(run_id, "cancelled", "superseded", told=True) for run_id in range(1, 5))
        world.store.change("s", run_counter=5, run_ends=ends)
        await trio.sleep(1.1 * HOLD_SECONDS)
        told = [each for run_id in range(1, 5) for each in (run_id, run_id)]
        assert [int("".join(filter(str.isdigit, each))) for each in subscriber.seen[:-1]] == told
        # The last one: nothing waits for its end, so it may still be in flight.
        assert subscriber.seen[-1] == "<analysis_started 5>"


async def test_a_read_shows_what_no_batch_contained(autojump_clock: MockClock) -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        # Its end was lost, and an edit.
        world.store.change("s", version=2, run_counter=1, others=("two", "three"))
        world.peer_subscriber.miss()
        await trio.sleep(WORD_SECONDS + 1.1 * HOLD_SECONDS)
        assert subscriber.seen == [
            "<analysis_started 1>",
            "analysis_cancelled 1 portfolio_changed",
            "portfolio 2",
        ]
        assert (subscriber.dropped, set(subscriber.renewed)) == ([1], {2})
        assert (open_run(group), group.remote.others) == (None, ("two", "three"))
        # A batch that comes late tells nothing new.
        world.batch(peer_event("portfolio", version=2), peer_event("analysis_completed", 1))
        await wait_all_tasks_blocked()
        assert len(subscriber.seen) == 3


async def test_a_reading_ends_a_run_here_that_was_superseded() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        subscriber.run_id = 1
        world.store.change("s", current_analysis=current(2))
        world.peer_subscriber.miss()
        await wait_all_tasks_blocked()
        assert subscriber.seen == ["superseded by 2", STATE]
        assert open_run(group) == 2


# --- attached workers --------------------------------------------------------------------------------------


async def test_events_of_a_session_without_sockets_detach_this_worker_once() -> None:
    async with opened("s", "t") as world:
        world.store.gate = trio.Event()
        for number in range(1, 100):
            world.batch(peer_event("analysis_result", number))
        world.batch(peer_event("look", session_id="t"))
        await wait_all_tasks_blocked()
        assert sorted(world.store.calls) == [("leave", "s"), ("leave", "t")]
        world.store.gate.set()
        await wait_all_tasks_blocked()
        # Named again meanwhile, it is struck off again.
        world.batch(peer_event("analysis_result", 100))
        await wait_all_tasks_blocked()
        assert world.store.counted("leave") == 3


async def test_a_store_that_is_away_is_asked_again_with_the_next_event() -> None:
    async with opened("s") as world:
        world.store.away = True
        world.batch(peer_event("look"))
        await wait_all_tasks_blocked()
        world.store.away = False
        world.store.attached["s"].add("me")
        world.batch(peer_event("look"))
        await wait_all_tasks_blocked()
        assert world.store.attached["s"] == set()


async def test_a_socket_that_opens_during_the_detaching_attaches_the_worker_again() -> None:
    async with opened("s") as world, trio.open_nursery() as nursery:
        async with world.subscribe("s"):
            pass
        assert world.store.attached["s"] == {"me"}
        world.store.gate = trio.Event()
        nursery.start_soon(world.peer_subscriber.leave, "s")
        await wait_all_tasks_blocked()
        gate, world.store.gate = world.store.gate, None
        async with world.subscribe("s") as (_, subscriber):
            # Greeted before Redis has struck the worker off.
            gate.set()
            await wait_all_tasks_blocked()
            assert world.store.calls == [("attach", "s")]
            assert world.store.attached["s"] == {"me"}
            assert subscriber.seen == [STATE]


async def test_a_socket_that_opened_before_prevents_the_detaching() -> None:
    async with opened("s") as world, world.subscribe("s"):
        await world.peer_subscriber.leave("s")
        assert world.store.calls == []


# --- lost workers -------------------------------------------------------------------------------------------


async def test_the_runs_of_lost_workers_are_over_and_cleared() -> None:
    async with (
        opened("s", "t") as world,
        world.subscribe("s") as (group, subscriber),
        world.subscribe("t") as (_, other),
    ):
        world.batch(
            peer_event("claim", 1), peer_event("analysis_started", 1), peer_event("claim", 7, session_id="t")
        )
        await wait_all_tasks_blocked()
        subscriber.frames.clear()
        world.peer_subscriber.on_workers_lost(["three"])
        await wait_all_tasks_blocked()
        assert (subscriber.seen, world.store.finished) == ([], [])
        world.peer_subscriber.on_workers_lost(["two"])
        await wait_all_tasks_blocked()
        assert subscriber.seen == [f"analysis_cancelled 1 {EndReason.DISCONNECTED}"]
        # This one had not begun for anybody.
        assert other.seen == [f"analysis_cancelled 7 {EndReason.DISCONNECTED}"]
        assert subscriber.dropped == [1]
        assert open_run(group) is None
        assert sorted(world.store.finished) == [("s", 1), ("t", 7)]
        # Told at each heartbeat until somebody has cleaned up.
        world.peer_subscriber.on_workers_lost(["two"])
        await wait_all_tasks_blocked()
        assert (len(subscriber.seen), len(world.store.finished)) == (1, 2)


async def test_nothing_waits_for_lost_workers_and_their_batches_are_numbered_anew() -> None:
    async with opened("s") as world, world.subscribe("s"):
        world.batch()
        world.peer_subscriber.on_workers_lost(["two"])
        assert world.publisher.forgotten == ["two"]
        world._number = 0
        world.batch()
        await wait_all_tasks_blocked()
        assert world.store.calls == []


async def test_a_run_of_lost_workers_that_cannot_be_cleared_is_left_to_the_sweep() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        world.store.away = True
        world.peer_subscriber.on_workers_lost(["two"])
        await wait_all_tasks_blocked()
        # It may have ended otherwise before: the document says how, once it can be read.
        assert subscriber.seen[1:] == []
        assert world.store.finished == []
        world.store.away = False
        world.peer_subscriber.sweep()
        await wait_all_tasks_blocked()
        assert subscriber.seen[1:] == ["analysis_cancelled 1 disconnected"]
        assert world.store.finished == [("s", 1)]


async def test_the_end_of_what_lost_workers_ran_is_told_at_once_as_the_document_has_it() -> None:
    async with opened("s") as world, world.subscribe("s") as (_, subscriber):
        world.batch(peer_event("claim", 1), peer_event("analysis_started", 1))
        await wait_all_tasks_blocked()
        world.store.change("s", run_ends=(Ending(1, "cancelled", "switched"),))
        world.peer_subscriber.on_workers_lost(["two"])
        await wait_all_tasks_blocked()
        assert subscriber.seen[1:] == ["analysis_cancelled 1 switched"]
        assert world.publisher.told == []


# --- numbers that a document which fell back hands out twice ------------------------------------------------


async def test_a_run_whose_number_another_one_has_is_of_a_document_that_fell_back() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, _):
        world.batch(peer_event("claim", 1))
        await wait_all_tasks_blocked()
        with pytest.raises(FellBack):
            group.document.claim("AAPL", start(1), group.incarnation)


async def test_events_of_another_run_with_the_number_of_a_local_one_are_not_shown() -> None:
    async with opened("s") as world, world.subscribe("s") as (group, subscriber):
        group.document.claim("AAPL", start(1), group.incarnation)
        subscriber.run_id = 1
        world.batch(
            peer_event("claim", 1), peer_event("analysis_started", 1), peer_event("analysis_completed", 1)
        )
        await wait_all_tasks_blocked()
        assert subscriber.seen == []
