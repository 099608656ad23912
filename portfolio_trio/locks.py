"""Wait queues and locks for per-connection objects: they cost almost nothing while no task waits.

Trio's own locks and parking lots are meant for small numbers: an idle one takes a quarter of a kilobyte, and
acquiring a free lock is a checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType


class Waiters:
    """Tasks that wait for a change, and check their condition again when woken."""

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None

    async def park(self) -> None:
        """Wait until the next `wake`."""
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def wake(self) -> None:
        """Wake all tasks that wait now."""
        if self._lot is not None:
            self._lot.unpark_all()
            self._lot = None


class Turn:
    """``async with turn``: one task at a time, in the order in which they came.

    If it is free, entering is not a checkpoint: it is for blocks that have a checkpoint themselves, which
    another pass of the scheduler would only delay. It is fair: it is passed on in order, so no task overtakes
    those that wait.
    """

    __slots__ = ("_lot", "_taken")

    def __init__(self) -> None:
        self._taken = False
        self._lot: trio.lowlevel.ParkingLot | None = None

    @property
    def taken(self) -> bool:
        """Whether a task holds it."""
        return self._taken

    async def __aenter__(self) -> None:
        if not self._taken:
            self._taken = True
            return
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        # The releasing task leaves it taken, for the one that wakes.
        await self._lot.park()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lot:
            self._lot.unpark()
        else:
            self._taken, self._lot = False, None
