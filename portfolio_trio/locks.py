"""What tasks wait in, for what each connection has: it costs next to nothing while nobody waits.

Trio's own locks and parking lots are made for few: an idle one is a quarter of a kilobyte, and taking a free
lock lets everybody else go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType


class Waiters:
    """Tasks that wait for something to have changed, and look then."""

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None

    async def park(self) -> None:
        """Wait until the next `wake`."""
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def wake(self) -> None:
        """Let all go on that wait now."""
        if self._lot is not None:
            self._lot.unpark_all()
            self._lot = None


class Turn:
    """``async with turn``: one task at a time, in the order in which they came.

    Where it is free this is no checkpoint: for blocks with a checkpoint of their own, which a pass of the
    scheduler in front would only delay. It hands itself on, so that nobody passes those who wait.
    """

    __slots__ = ("_lot", "_taken")

    def __init__(self) -> None:
        self._taken = False
        self._lot: trio.lowlevel.ParkingLot | None = None

    @property
    def taken(self) -> bool:
        """Whether it is somebody's."""
        return self._taken

    async def __aenter__(self) -> None:
        if not self._taken:
            self._taken = True
            return
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        # Whoever gives it back leaves it taken, for the one that wakes.
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
