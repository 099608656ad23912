"""Locks that are not a checkpoint when they are free."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from portfolio_trio.locks import Turn, Waiters

pytestmark = pytest.mark.trio


async def test_a_free_lock_is_no_checkpoint() -> None:
    lock = Turn()
    with assert_no_checkpoints():
        async with lock:
            assert lock.taken
    assert not lock.taken


async def test_a_lock_that_is_held_is_waited_for() -> None:
    lock = Turn()
    order: list[str] = []

    async def hold(name: str) -> None:
        with assert_checkpoints():
            async with lock:
                order.append(name)
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with lock:
            for name in ("first", "second", "third"):
                nursery.start_soon(hold, name)
                await wait_all_tasks_blocked()
            assert not order
        # It already belongs to the longest waiter: no task gets in between.
        assert lock.taken
    assert order == ["first", "second", "third"]


async def test_it_is_given_back_after_a_failure_and_after_a_cancellation() -> None:
    lock = Turn()
    with pytest.raises(ValueError, match="inside"):
        async with lock:
            raise ValueError("inside")
    with trio.move_on_after(0):
        async with lock:
            await trio.lowlevel.checkpoint()
    assert not lock.taken


async def test_who_is_cancelled_while_waiting_does_not_hold_it() -> None:
    lock = Turn()

    async def wait() -> None:
        with trio.move_on_after(0) as scope:
            async with lock:
                pytest.fail("nobody has given it back")
        assert scope.cancelled_caught

    async with lock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
        assert lock.taken
    assert not lock.taken


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    lock = Turn()
    order: list[str] = []

    async def hold(name: str, scope: trio.CancelScope) -> None:
        with scope:
            async with lock:
                order.append(name)

    first, second = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery, lock:
        nursery.start_soon(hold, "first", first)
        await wait_all_tasks_blocked()
        nursery.start_soon(hold, "second", second)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
    assert order == ["second"]
    assert not lock.taken


async def test_who_has_been_given_the_turn_and_is_cancelled_gives_it_on() -> None:
    lock = Turn()
    scope = trio.CancelScope()

    async def hold() -> None:
        with scope:
            async with lock:
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with lock:
            nursery.start_soon(hold)
            await wait_all_tasks_blocked()
        scope.cancel()
    assert not lock.taken


async def test_all_who_wait_are_woken_and_nobody_who_comes_later() -> None:
    waiters, woken = Waiters(), []

    async def wait(name: str) -> None:
        await waiters.park()
        woken.append(name)

    waiters.wake()
    async with trio.open_nursery() as nursery:
        for name in ("first", "second"):
            nursery.start_soon(wait, name)
        await wait_all_tasks_blocked()
        assert not woken
        waiters.wake()
        nursery.start_soon(wait, "late")
        await wait_all_tasks_blocked()
        assert sorted(woken) == ["first", "second"]
        waiters.wake()
    assert len(woken) == 3
