"""Locks of Trio, taken without letting everybody else go first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType


class Holding:
    """``async with Holding(lock)`` is ``async with lock``, but no checkpoint where the lock is free.

    For blocks with a checkpoint of their own, which a pass of the scheduler in front would only delay.

    Args:
        lock: Nobody may pass those who wait for it: Trio's locks hand themselves on in turn.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: trio.Lock | trio.StrictFIFOLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
