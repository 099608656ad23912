"""What waits to be sent to one socket: bounded, in order, and free of what nobody should see any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

if TYPE_CHECKING:
    from portfolio_trio.slot import Run


class _Waiting(NamedTuple):
    text: str
    run: Run | None


class Outbox:
    """A queue of frames between the tasks of a session and its one writer.

    Putting never waits, and wakes nobody: who puts sees to it that a writer runs. A socket that falls behind
    by more than ``max_bytes`` characters loses the whole queue, at once, and is to be closed
    (``overflowed``): nobody waits for a slow client, and what it holds is freed. Frames of a run can be
    dropped while they wait.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # A list and not a deque: all of it is taken at once, and an empty one costs a tenth.
        self._waiting: list[_Waiting] = []
        self._latest: str | None = None
        self._in_flight: tuple[Run | None, ...] | None = None
        self._written = trio.lowlevel.ParkingLot()
        self.overflowed = False

    def put(self, text: str, run: Run | None = None) -> None:
        """Queue one frame; it belongs to ``run`` if one is given."""
        if self.overflowed:
            return
        self._waiting.append(_Waiting(text, run))
        self._bytes += len(text)
        if self._bytes > self._max_bytes:
            self.overflowed = True
            self._waiting.clear()
            self._bytes = 0
            self._latest = None
            self._written.unpark_all()

    def put_latest(self, text: str) -> None:
        """Queue one frame in place of the latest one that still waits."""
        self._latest = text

    def drop(self, run: Run) -> int:
        """Forget what of ``run`` still waits; return how many frames that were."""
        kept = [item for item in self._waiting if item.run is not run]
        dropped = len(self._waiting) - len(kept)
        if dropped:
            self._waiting = kept
            self._bytes = sum(len(item.text) for item in kept)
            self._written.unpark_all()
        return dropped

    def take(self) -> list[str]:
        """Everything that waits, possibly nothing; call ``written`` when it has left."""
        texts = [item.text for item in self._waiting]
        if self._latest is not None:
            texts.append(self._latest)
            self._latest = None
        if texts:
            self._in_flight = tuple(item.run for item in self._waiting)
            self._waiting.clear()
            self._bytes = 0
        return texts

    def written(self) -> None:
        """What was taken has left."""
        self._in_flight = None
        self._written.unpark_all()

    async def empty(self) -> None:
        """Wait until nothing waits or is on its way."""
        while self._in_flight is not None or self._waiting or self._latest:
            await self._written.park()

    async def flushed(self, run: Run) -> None:
        """Wait until no frame of ``run`` waits or is on its way; after an overflow, for ever."""
        while (
            self.overflowed
            or run in (self._in_flight or ())
            or any(item.run is run for item in self._waiting)
        ):
            await self._written.park()
