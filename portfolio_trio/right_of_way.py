"""Requests before work that starts by itself: after a tick there is much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE_SECONDS: Final = 0.002
"""The longest that a part of that work waits: several round trips to a near Redis."""


class RightOfWay:
    """``with right_of_way``: a request is carried out; meanwhile other work waits, for a while.

    A request takes several passes of the scheduler. Each is as long as everything that runs in it, so other
    work in them would delay the request several times.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._lot = trio.lowlevel.ParkingLot()

    def __enter__(self) -> None:
        self._requests += 1

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._requests -= 1
        if not self._requests and self._lot:
            self._lot.unpark_all()

    async def give_way(self) -> None:
        """Wait until no request is being carried out, but not for long: requests may come without a pause."""
        if self._requests:
            with trio.move_on_after(PATIENCE_SECONDS):
                await self._lot.park()
