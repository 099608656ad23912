"""Signals while a server starts, in virtual time."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.supervisor.listeners import StartError, stoppable


@pytest.mark.trio
async def test_a_signal_ends_a_start_that_takes_long(autojump_clock: MockClock) -> None:
    send, signals = trio.open_memory_channel[int](9)
    send.send_nowait(15)
    with pytest.raises(StartError, match="before it served"):
        async with stoppable(signals):
            await trio.sleep(60)
    assert trio.current_time() == 0


@pytest.mark.trio
async def test_once_it_serves_signals_are_its_own(autojump_clock: MockClock) -> None:
    # Each order of tasks that wake at one moment comes up.
    for _ in range(50):
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async with stoppable(signals) as serves:
                await trio.sleep(1)
                await serves()
                with trio.move_on_after(1):
                    await anext(signals)
                os.kill(os.getpid(), signal.SIGUSR1)
                assert await anext(signals) == signal.SIGUSR1


@pytest.mark.trio
async def test_without_a_signal_it_ends_with_its_block(autojump_clock: MockClock) -> None:
    _send, signals = trio.open_memory_channel[int](9)
    async with stoppable(signals):
        await trio.sleep(60)
    with pytest.raises(ExceptionGroup) as caught:
        async with stoppable(signals):
            raise StartError("no prices")
    assert caught.group_contains(StartError, match="no prices")


@pytest.mark.trio
async def test_a_cancelled_block_is_no_stopped_start(autojump_clock: MockClock) -> None:
    _send, signals = trio.open_memory_channel[int](9)
    with trio.move_on_after(1) as scope:
        async with stoppable(signals):
            await trio.sleep_forever()
    assert scope.cancelled_caught
