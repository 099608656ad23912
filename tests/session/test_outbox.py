"""The queue between a session's tasks and its writer."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.hub.run_state import Run
from portfolio_trio.session.outbox import Outbox, frame_size


def test_frames_leave_together_and_in_order() -> None:
    outbox = Outbox(1000)
    outbox.put("a")
    outbox.put("b", Run("AAPL"))
    outbox.put("c")
    assert outbox.take() == ["a", "b", "c"]


def test_where_nothing_waits_there_is_nothing_to_take() -> None:
    outbox, run = Outbox(1000), Run("AAPL")
    assert outbox.take() == []
    outbox.put("a", run)
    outbox.drop(run)
    assert outbox.take() == []


def test_dropping_a_run_forgets_its_frames_and_no_other() -> None:
    outbox, old, new = Outbox(1000), Run("AAPL"), Run("MSFT")
    for text, run in (("a", old), ("b", new), ("c", old), ("d", None)):
        outbox.put(text, run)
    assert outbox.drop(old) == 2
    assert outbox.take() == ["b", "d"]


def test_the_latest_value_replaces_the_one_before() -> None:
    outbox = Outbox(1000)
    outbox.put_latest("1")
    outbox.put("a")
    outbox.put_latest("2")
    assert outbox.take() == ["a", "2"]


def test_an_overflow_frees_the_queue() -> None:
    outbox, run = Outbox(10), Run("AAPL")
    # With their heads these are 6 and 5 bytes on the wire.
    outbox.put("1234", run)
    assert outbox.held_bytes == 6
    outbox.put("123")
    assert outbox.overflowed
    assert outbox.take() == []


@pytest.mark.trio
async def test_what_was_dropped_by_an_overflow_never_counts_as_flushed(autojump_clock: MockClock) -> None:
    outbox, run = Outbox(10), Run("AAPL")
    outbox.put("12345678901", run)
    with trio.move_on_after(5) as waited:
        await outbox.flushed(run)
    assert waited.cancelled_caught


@pytest.mark.trio
async def test_flushed_means_written_and_not_merely_taken(nursery: trio.Nursery) -> None:
    outbox, run = Outbox(1000), Run("AAPL")
    outbox.put("a", run)
    flushed = trio.Event()

    async def wait() -> None:
        await outbox.flushed(run)
        flushed.set()

    nursery.start_soon(wait)
    outbox.take()
    await wait_all_tasks_blocked()
    assert not flushed.is_set()
    outbox.written()
    await wait_all_tasks_blocked()
    assert flushed.is_set()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=30))
def test_what_waits_is_bounded_and_freed_by_dropping(frames: list[tuple[int, int]]) -> None:
    outbox, runs = Outbox(200), [Run("A"), Run("B"), Run("C")]
    waiting: list[tuple[int, int]] = []
    for owner, size in frames:
        outbox.put("x" * size, runs[owner])
        waiting.append((owner, size))
        # Each with the two bytes of its head.
        if sum(size + 2 for _, size in waiting) > 200:
            assert outbox.overflowed
            return
        if size > 35:
            assert outbox.drop(runs[owner]) == sum(o == owner for o, _ in waiting)
            waiting = [(o, s) for o, s in waiting if o != owner]
    assert not outbox.overflowed


@pytest.mark.parametrize(
    ("text", "size"), [("a" * 125, 127), ("a" * 126, 130), ("é" * 70, 144), ("a" * 65_536, 65_546)]
)
def test_a_frame_counts_as_it_is_on_the_wire(text: str, size: int) -> None:
    assert frame_size(text) == size
    outbox = Outbox(size)
    outbox.put(text)
    assert (outbox.overflowed, outbox.held_bytes) == (False, size)
    outbox = Outbox(size - 1)
    outbox.put(text)
    assert outbox.overflowed


def test_frames_being_sent_count_until_they_are_sent() -> None:
    outbox = Outbox(1_000)
    outbox.put("a" * 596)
    assert outbox.take() != []
    assert outbox.held_bytes == 600
    outbox.put("b" * 396)
    assert outbox.held_bytes == 1_000
    outbox.put("c")
    assert outbox.overflowed
    outbox = Outbox(1_000)
    outbox.put("a" * 596)
    outbox.take()
    outbox.written()
    outbox.put("b" * 596)
    assert (outbox.overflowed, outbox.held_bytes) == (False, 600)


def test_a_latest_value_counts_and_is_gone_with_the_rest() -> None:
    outbox = Outbox(1_000)
    outbox.put_latest("a" * 596)
    outbox.put("b" * 396)
    assert outbox.held_bytes == 1_000
    outbox.put("c")
    outbox.put_latest("d")
    assert (outbox.overflowed, outbox.take(), outbox.held_bytes) == (True, [], 0)


def test_the_transport_gets_little_at_a_time_and_what_waits_can_be_dropped() -> None:
    outbox, run = Outbox(10_000_000), Run("AAPL")
    texts = [str(number) * 20_000 for number in range(10)]
    for text in texts:
        outbox.put(text, run)
    outbox.put_latest("last")
    first = outbox.take()
    assert first == texts[:3]
    outbox.written()
    assert outbox.drop(run) == 7
    assert outbox.take() == ["last"]
    outbox.put("x" * 1_000_000)
    outbox.put("y")
    assert [len(text) for text in outbox.take()] == [1_000_000]
    assert outbox.take() == ["y"]
