"""The publisher: sending never waits, and losses are detected."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.faults import Faults
from portfolio_trio.hub.events import Batch, PeerEvent, SequenceTracker
from portfolio_trio.peers.publisher import EVENT_CHARACTERS, RETRY_SECONDS, UNHEARD_TRIES, PeerPublisher
from portfolio_trio.store import StoreUnavailable

pytestmark = pytest.mark.trio

ROOMY = 1_000_000


@dataclass
class Wire:
    """Carries batches, slowly or not at all."""

    me: str = "me"
    sent: list[tuple[str, Batch]] = field(default_factory=list)
    gates: dict[str, trio.Event] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    unheard: dict[str, int] = field(default_factory=dict)
    attempts: list[tuple[float, str]] = field(default_factory=list)

    async def send_batch(self, worker: str, batch: str) -> bool:
        self.attempts.append((trio.current_time(), worker))
        await trio.lowlevel.checkpoint()
        if worker in self.gates:
            await self.gates[worker].wait()
        if self.failures.get(worker, 0) > 0:
            self.failures[worker] -= 1
            raise StoreUnavailable("gone", sent=True)
        if self.unheard.get(worker, 0) > 0:
            self.unheard[worker] -= 1
            return False
        self.sent.append((worker, Batch.model_validate_json(batch)))
        return True

    def to(self, worker: str) -> list[Batch]:
        return [batch for name, batch in self.sent if name == worker]

    def follows(self, worker: str) -> list[bool]:
        """Of each batch whether the one before it has come, too."""
        tracker = SequenceTracker()
        return [tracker.follows(batch) for batch in self.to(worker)]

    def frames(self, worker: str) -> list[list[str]]:
        return [[peer_event.frame for peer_event in batch.events] for batch in self.to(worker)]


def peer_event(frame: str) -> PeerEvent:
    return PeerEvent(session_id="s", kind="analysis_result", run_id=1, frame=frame)


def open_publisher(wire: Wire, max_bytes: int = ROOMY) -> PeerPublisher:
    return PeerPublisher(wire, max_bytes=max_bytes, faults=Faults())  # type: ignore[arg-type] # posts batches, which is all that is wanted


async def test_waiting_events_leave_as_one_batch_in_order(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    publisher.send(["two", "three"], peer_event("b"))
    assert wire.sent == []
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a", "b"]]
    assert wire.frames("three") == [["b"]]
    assert {batch.sender for _, batch in wire.sent} == {publisher.me} == {"me"}


async def test_events_during_a_send_form_the_next_batch(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await wait_all_tasks_blocked()
    publisher.send(["two"], peer_event("b"))
    await wait_all_tasks_blocked()
    publisher.send(["two"], peer_event("c"))
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"], ["b", "c"]]
    assert wire.follows("two") == [True, True]


async def test_events_queued_before_the_publisher_ran_are_sent(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire)
    publisher.send(["two"], peer_event("a"))
    nursery.start_soon(publisher.run)
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"]]


async def test_a_worker_that_accepts_nothing_delays_no_other(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(gates={"deaf": trio.Event()}, failures={"gone": 100, "away": 100})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["deaf", "gone", "away"], peer_event("a"))
    await trio.sleep(0.1)
    for text in ("b", "c", "d"):
        told = trio.current_time()
        publisher.send(["deaf", "gone", "two", "away"], peer_event(text))
        await wait_all_tasks_blocked()
        # Virtual time has stood still.
        assert (wire.frames("two")[-1], trio.current_time()) == ([text], told)
        await trio.sleep(0.1)


async def test_a_batch_that_fails_is_sent_again_under_its_number(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(failures={"two": 3})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await trio.sleep(2.5 * RETRY_SECONDS)
    publisher.send(["two"], peer_event("b"))
    await trio.sleep(10)
    assert wire.follows("two") == [True, True]
    assert wire.frames("two") == [["a"], ["b"]]
    moments = [RETRY_SECONDS * k for k in range(4)]
    assert [moment for moment, _ in wire.attempts] == [*moments, moments[-1]]


async def test_a_batch_waits_for_a_worker_that_does_not_listen_yet(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(unheard={"two": UNHEARD_TRIES - 1})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await trio.sleep(10)
    assert (wire.follows("two"), wire.frames("two")) == ([True], [["a"]])


async def test_a_batch_that_nobody_receives_is_dropped_and_leaves_a_gap(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(unheard={"two": UNHEARD_TRIES})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await trio.sleep(10)
    assert len(wire.attempts) == UNHEARD_TRIES
    publisher.send(["two"], peer_event("b"))
    await wait_all_tasks_blocked()
    assert (wire.follows("two"), wire.frames("two")) == ([False], [["b"]])


async def test_what_exceeds_the_limit_is_dropped_and_leaves_a_gap(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    publisher = open_publisher(wire, max_bytes=10 * (EVENT_CHARACTERS + 100))
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("first"))
    await wait_all_tasks_blocked()
    for _ in range(10):
        publisher.send(["two"], peer_event("x" * 100))
    publisher.send(["two"], peer_event("the straw"))
    publisher.send(["two"], peer_event("after"))
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    assert wire.follows("two") == [True, False]
    assert wire.frames("two") == [["first"], ["after"]]


async def test_what_just_fits_is_sent_whole(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire, max_bytes=2 * (EVENT_CHARACTERS + 100))
    publisher.send(["two"], peer_event("x" * 100))
    publisher.send(["two"], peer_event("y" * 100))
    nursery.start_soon(publisher.run)
    await wait_all_tasks_blocked()
    assert wire.follows("two") == [True]
    assert len(wire.to("two")[0].events) == 2


async def test_events_without_a_message_are_bounded_too(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    publisher = open_publisher(wire, max_bytes=100 * EVENT_CHARACTERS)
    nursery.start_soon(publisher.run)
    for _ in range(1_000):
        publisher.send(["two"], PeerEvent(session_id="s", kind="claim", run_id=1, version=1, ticker="AAPL"))
        await wait_all_tasks_blocked()
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    first, last = wire.to("two")
    assert len(first.events) == 1
    assert len(last.events) <= 100
    assert wire.follows("two") == [True, False]


async def test_an_event_that_is_too_large_leaves_a_gap(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire, max_bytes=1_000)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("x" * 1_000))
    await wait_all_tasks_blocked()
    assert (wire.follows("two"), wire.frames("two")) == ([False], [[]])


async def test_lost_workers_are_forgotten(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two", "three"], peer_event("a"))
    await wait_all_tasks_blocked()
    publisher.forget("two")
    publisher.forget("nobody")
    assert list(publisher._boxes) == ["three"]
    publisher.send(["two", "three"], peer_event("b"))
    await wait_all_tasks_blocked()
    # A gap to one who lives after all.
    assert (wire.follows("two"), wire.follows("three")) == ([True, False], [True, True])


async def test_the_queue_of_a_worker_that_was_forgotten_repeats_no_number(nursery: trio.Nursery) -> None:
    wire = Wire()
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await wait_all_tasks_blocked()
    publisher.forget("two")
    # It lives after all.
    publisher.send(["two"], peer_event("b"))
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"], ["b"]]
    assert wire.follows("two") == [True, False]


async def test_nothing_waits_for_lost_workers_and_one_that_comes_back_sees_a_gap(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(failures={"two": 2})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await wait_all_tasks_blocked()
    publisher.send(["two"], peer_event("b"))
    publisher.forget("two")
    publisher.send(["two"], peer_event("c"))
    await trio.sleep(10)
    assert wire.follows("two") == [False]
    assert [text for frames in wire.frames("two") for text in frames] in ([], ["c"])
    publisher.forget("two")
    assert not publisher._boxes


async def test_a_worker_is_unreachable_from_a_batch_that_was_given_up_to_one_that_arrives(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(unheard={"two": UNHEARD_TRIES})
    publisher = open_publisher(wire)
    nursery.start_soon(publisher.run)
    publisher.send(["two"], peer_event("a"))
    await trio.sleep((UNHEARD_TRIES - 1.5) * RETRY_SECONDS)
    assert not publisher.is_unreachable("two")
    await trio.sleep(RETRY_SECONDS)
    assert publisher.is_unreachable("two")
    assert not publisher.is_unreachable("three")
    publisher.send(["two"], peer_event("b"))
    await trio.sleep(2 * RETRY_SECONDS)
    assert not publisher.is_unreachable("two")
