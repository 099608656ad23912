"""The frames that wait to be sent to one socket: bounded, in order, without those of cancelled runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from portfolio_trio.locks import Waiters

if TYPE_CHECKING:
    from portfolio_trio.hub.run_state import Run


# Bytes passed to the transport at a time, which copies them: the rest waits uncopied, and can still be
# dropped.
BATCH_BYTES: Final = 65_536
# RFC 6455, section 5.2: the length of a frame's head depends on that of the payload.
_SHORT, _MEDIUM = 126, 65_536


class _Waiting(NamedTuple):
    text: str
    run: Run | None
    size: int


def frame_size(text: str) -> int:
    """The number of bytes of the text as a frame on the wire."""
    size = len(text) if text.isascii() else len(text.encode())
    return size + (2 if size < _SHORT else 4 if size < _MEDIUM else 10)


class Outbox:
    """A queue of frames between the tasks of a session and its sender.

    Putting never waits, and wakes no task: the caller makes sure that waiting frames are taken and sent. If a
    socket falls behind by more than ``max_bytes``, counted as frames on the wire including those in flight,
    its whole queue is dropped at once and it must be closed (``overflowed``): nothing waits for a slow
    client, and its memory is freed. Frames of a run can be dropped while they wait.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # A list, not a deque: all of it is taken at once, and an empty list takes a tenth of the memory.
        self._waiting: list[_Waiting] = []
        self._latest: _Waiting | None = None
        self._in_flight: list[_Waiting] | None = None
        self._in_flight_bytes = 0
        self._written = Waiters()
        self.overflowed = False

    def put(self, text: str, run: Run | None = None) -> None:
        """Queue one frame; it belongs to ``run`` if one is given."""
        if self.overflowed:
            return
        size = frame_size(text)
        self._waiting.append(_Waiting(text, run, size))
        self._bytes += size
        if self.held_bytes > self._max_bytes:
            self.overflowed = True
            self._waiting.clear()
            self._bytes = 0
            self._latest = None
            self._written.wake()

    def put_latest(self, text: str) -> None:
        """Queue one frame, replacing the latest one that still waits."""
        if self.overflowed:
            return
        if self._latest is not None:
            self._waiting = [item for item in self._waiting if item is not self._latest]
            self._bytes -= self._latest.size
        # At its position among the others: later events never overtake a value.
        self._latest = _Waiting(text, None, frame_size(text))
        self._waiting.append(self._latest)
        self._bytes += self._latest.size

    @property
    def in_flight(self) -> bool:
        """Whether frames were taken that have not been sent yet."""
        return self._in_flight is not None

    @property
    def is_one_batch(self) -> bool:
        """Whether one `take` would take everything, and nothing is in flight."""
        return not self.overflowed and self._in_flight is None and self._bytes <= BATCH_BYTES

    @property
    def held_bytes(self) -> int:
        """The bytes that wait or are in flight, as frames on the wire."""
        return self._bytes + self._in_flight_bytes

    def drop(self, run: Run) -> int:
        """Drop the waiting frames of ``run``; return their number."""
        kept = [item for item in self._waiting if item.run is not run]
        dropped = len(self._waiting) - len(kept)
        if dropped:
            self._waiting = kept
            self._bytes = sum(item.size for item in kept)
            self._written.wake()
        return dropped

    def take(self) -> list[str]:
        """Take the next waiting frames, if any; call ``written`` when they are sent, then call again."""
        batch = self._next_batch()
        if batch:
            self._in_flight = batch
            if self._latest is not None and any(item is self._latest for item in batch):
                self._latest = None
        return [item.text for item in batch]

    def _next_batch(self) -> list[_Waiting]:
        if self._bytes <= BATCH_BYTES:
            batch, self._waiting = self._waiting, []
            self._bytes, self._in_flight_bytes = 0, self._bytes
            return batch
        count = size = 0
        for item in self._waiting:
            if count and size + item.size > BATCH_BYTES:
                break
            count, size = count + 1, size + item.size
        batch = self._waiting[:count]
        del self._waiting[:count]
        self._bytes, self._in_flight_bytes = self._bytes - size, size
        return batch

    def written(self) -> None:
        """The taken frames have been sent."""
        self._in_flight, self._in_flight_bytes = None, 0
        self._written.wake()

    async def empty(self) -> None:
        """Wait until nothing waits or is in flight."""
        while self._in_flight is not None or self._waiting:
            await self._written.park()

    async def flushed(self, run: Run) -> None:
        """Wait until no frame of ``run`` waits or is in flight; never returns after an overflow."""
        while self.overflowed or self._holds(run):
            await self._written.park()

    def _holds(self, run: Run) -> bool:
        if not self._waiting and self._in_flight is None:
            return False
        return any(item.run is run for item in (*self._waiting, *(self._in_flight or ())))
