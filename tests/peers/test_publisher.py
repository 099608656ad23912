"""The post: telling never waits, and what is lost shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.faults import Faults
from portfolio_trio.hub.events import Arrivals, Letter, Note
from portfolio_trio.peers.publisher import NOTE_CHARACTERS, RETRY_SECONDS, UNHEARD_TRIES, Post
from portfolio_trio.store import StoreUnavailable

pytestmark = pytest.mark.trio

ROOMY = 1_000_000


@dataclass
class Wire:
    """Carries letters, slowly or not at all."""

    me: str = "me"
    sent: list[tuple[str, Letter]] = field(default_factory=list)
    gates: dict[str, trio.Event] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    unheard: dict[str, int] = field(default_factory=dict)
    attempts: list[tuple[float, str]] = field(default_factory=list)

    async def post(self, worker: str, letter: str) -> bool:
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
        self.sent.append((worker, Letter.model_validate_json(letter)))
        return True

    def to(self, worker: str) -> list[Letter]:
        return [letter for name, letter in self.sent if name == worker]

    def follows(self, worker: str) -> list[bool]:
        """Of each letter whether the one before it has come, too."""
        arrivals = Arrivals()
        return [arrivals.follows(letter) for letter in self.to(worker)]

    def frames(self, worker: str) -> list[list[str]]:
        return [[note.frame for note in letter.notes] for letter in self.to(worker)]


def note(frame: str) -> Note:
    return Note(session_id="s", kind="analysis_result", run_id=1, frame=frame)


def open_post(wire: Wire, max_bytes: int = ROOMY) -> Post:
    return Post(wire, max_bytes=max_bytes, faults=Faults())  # type: ignore[arg-type] # posts letters, which is all that is wanted


async def test_what_gathers_leaves_as_one_letter_in_its_order(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    post.tell(["two", "three"], note("b"))
    assert wire.sent == []
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a", "b"]]
    assert wire.frames("three") == [["b"]]
    assert {letter.sender for _, letter in wire.sent} == {post.me} == {"me"}


async def test_what_is_told_while_a_letter_is_on_its_way_is_the_next_one(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await wait_all_tasks_blocked()
    post.tell(["two"], note("b"))
    await wait_all_tasks_blocked()
    post.tell(["two"], note("c"))
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"], ["b", "c"]]
    assert wire.follows("two") == [True, True]


async def test_what_was_told_before_the_post_ran_is_sent(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire)
    post.tell(["two"], note("a"))
    nursery.start_soon(post.run)
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"]]


async def test_one_that_takes_nothing_holds_up_nobody_else(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(gates={"deaf": trio.Event()}, failures={"gone": 100, "away": 100})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["deaf", "gone", "away"], note("a"))
    await trio.sleep(0.1)
    for text in ("b", "c", "d"):
        told = trio.current_time()
        post.tell(["deaf", "gone", "two", "away"], note(text))
        await wait_all_tasks_blocked()
        # Virtual time has stood still.
        assert (wire.frames("two")[-1], trio.current_time()) == ([text], told)
        await trio.sleep(0.1)


async def test_a_letter_that_fails_is_sent_again_under_its_number(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(failures={"two": 3})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await trio.sleep(2.5 * RETRY_SECONDS)
    post.tell(["two"], note("b"))
    await trio.sleep(10)
    assert wire.follows("two") == [True, True]
    assert wire.frames("two") == [["a"], ["b"]]
    moments = [RETRY_SECONDS * k for k in range(4)]
    assert [moment for moment, _ in wire.attempts] == [*moments, moments[-1]]


async def test_a_letter_waits_for_one_who_does_not_listen_yet(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(unheard={"two": UNHEARD_TRIES - 1})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await trio.sleep(10)
    assert (wire.follows("two"), wire.frames("two")) == ([True], [["a"]])


async def test_a_letter_that_nobody_hears_is_given_up_and_shows_in_the_next_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(unheard={"two": UNHEARD_TRIES})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await trio.sleep(10)
    assert len(wire.attempts) == UNHEARD_TRIES
    post.tell(["two"], note("b"))
    await wait_all_tasks_blocked()
    assert (wire.follows("two"), wire.frames("two")) == ([False], [["b"]])


async def test_too_much_is_dropped_and_shows(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    post = open_post(wire, max_bytes=10 * (NOTE_CHARACTERS + 100))
    nursery.start_soon(post.run)
    post.tell(["two"], note("first"))
    await wait_all_tasks_blocked()
    for _ in range(10):
        post.tell(["two"], note("x" * 100))
    post.tell(["two"], note("the straw"))
    post.tell(["two"], note("after"))
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    assert wire.follows("two") == [True, False]
    assert wire.frames("two") == [["first"], ["after"]]


async def test_what_just_fits_is_sent_whole(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire, max_bytes=2 * (NOTE_CHARACTERS + 100))
    post.tell(["two"], note("x" * 100))
    post.tell(["two"], note("y" * 100))
    nursery.start_soon(post.run)
    await wait_all_tasks_blocked()
    assert wire.follows("two") == [True]
    assert len(wire.to("two")[0].notes) == 2


async def test_notes_without_a_message_are_bounded_too(nursery: trio.Nursery) -> None:
    wire = Wire(gates={"two": trio.Event()})
    post = open_post(wire, max_bytes=100 * NOTE_CHARACTERS)
    nursery.start_soon(post.run)
    for _ in range(1_000):
        post.tell(["two"], Note(session_id="s", kind="claim", run_id=1, version=1, ticker="AAPL"))
        await wait_all_tasks_blocked()
    wire.gates["two"].set()
    await wait_all_tasks_blocked()
    first, last = wire.to("two")
    assert len(first.notes) == 1
    assert len(last.notes) <= 100
    assert wire.follows("two") == [True, False]


async def test_one_note_that_is_too_large_shows_as_a_gap(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire, max_bytes=1_000)
    nursery.start_soon(post.run)
    post.tell(["two"], note("x" * 1_000))
    await wait_all_tasks_blocked()
    assert (wire.follows("two"), wire.frames("two")) == ([False], [[]])


async def test_the_dead_are_forgotten(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two", "three"], note("a"))
    await wait_all_tasks_blocked()
    post.forget("two")
    post.forget("nobody")
    assert list(post._boxes) == ["three"]
    post.tell(["two", "three"], note("b"))
    await wait_all_tasks_blocked()
    # A gap to one who lives after all.
    assert (wire.follows("two"), wire.follows("three")) == ([True, False], [True, True])


async def test_a_box_that_was_forgotten_repeats_no_number(nursery: trio.Nursery) -> None:
    wire = Wire()
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await wait_all_tasks_blocked()
    post.forget("two")
    # It lives after all.
    post.tell(["two"], note("b"))
    await wait_all_tasks_blocked()
    assert wire.frames("two") == [["a"], ["b"]]
    assert wire.follows("two") == [True, False]


async def test_nothing_waits_for_the_dead_and_one_that_comes_back_sees_a_gap(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire(failures={"two": 2})
    post = open_post(wire)
    nursery.start_soon(post.run)
    post.tell(["two"], note("a"))
    await wait_all_tasks_blocked()
    post.tell(["two"], note("b"))
    post.forget("two")
    post.tell(["two"], note("c"))
    await trio.sleep(10)
    assert wire.follows("two") == [False]
    assert [text for frames in wire.frames("two") for text in frames] in ([], ["c"])
    post.forget("two")
    assert not post._boxes
