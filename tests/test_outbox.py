"""The queue between a session's tasks and its writer."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.outbox import Outbox
from portfolio_trio.slot import Run


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
    outbox.put("12345678", run)
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
        if sum(size for _, size in waiting) > 200:
            assert outbox.overflowed
            return
        if size > 35:
            assert outbox.drop(runs[owner]) == sum(o == owner for o, _ in waiting)
            waiting = [(o, s) for o, s in waiting if o != owner]
    assert not outbox.overflowed
