"""Locks that are no checkpoint where they are free."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from portfolio_trio.locks import Holding

pytestmark = pytest.mark.trio


async def test_a_free_lock_is_no_checkpoint() -> None:
    lock = trio.Lock()
    with assert_no_checkpoints():
        async with Holding(lock):
            assert lock.locked()
    assert not lock.locked()


async def test_a_lock_that_is_held_is_waited_for() -> None:
    lock = trio.Lock()
    order: list[str] = []

    async def hold(name: str) -> None:
        with assert_checkpoints():
            async with Holding(lock):
                order.append(name)
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with Holding(lock):
            for name in ("first", "second", "third"):
                nursery.start_soon(hold, name)
                await wait_all_tasks_blocked()
            assert not order
        # It belongs to the one who waits longest already: nobody gets in between.
        with pytest.raises(trio.WouldBlock):
            lock.acquire_nowait()
    assert order == ["first", "second", "third"]


async def test_it_is_given_back_after_a_failure_and_after_a_cancellation() -> None:
    lock = trio.StrictFIFOLock()
    with pytest.raises(ValueError, match="inside"):
        async with Holding(lock):
            raise ValueError("inside")
    with trio.move_on_after(0):
        async with Holding(lock):
            await trio.lowlevel.checkpoint()
    assert not lock.locked()


async def test_who_is_cancelled_while_waiting_does_not_hold_it() -> None:
    lock = trio.Lock()

    async def wait() -> None:
        with trio.move_on_after(0) as scope:
            async with Holding(lock):
                pytest.fail("nobody has given it back")
        assert scope.cancelled_caught

    async with Holding(lock):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
        assert lock.locked()
    assert not lock.locked()
