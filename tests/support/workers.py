"""Scripted workers without processes: they live, serve and end in virtual time."""

from __future__ import annotations

import errno
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio


@dataclass(frozen=True)
class Life:
    """What one process of a worker does; seconds are counted from its start.

    Attributes:
        launch_seconds: What the system needs to start it.
        refused: The system has no room for it.
        serves_after: When it accepts connections; infinity: never.
        ends_after: When it ends by itself.
        status: With which status it then ends.
        drain_seconds: What it needs to end after a SIGTERM; infinity: it is deaf to all but SIGKILL.
    """

    launch_seconds: float = 0.0
    refused: bool = False
    serves_after: float = 1.0
    ends_after: float = math.inf
    status: int = 1
    drain_seconds: float = 0.0


class FakeWorker:
    """One life, lived."""

    def __init__(self, number: int, life: Life, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.born = trio.current_time()
        self.signals: list[tuple[float, signal.Signals]] = []
        self.closed = False
        self._drain_seconds = life.drain_seconds
        self._serves_at = self.born + life.serves_after
        self._status = life.status
        self._changed = trio.Event()
        self.ends_at = self.born + life.ends_after

    @property
    def served_at(self) -> float:
        """When it began to serve; infinity: it ended before."""
        return self._serves_at if self._serves_at <= self.ends_at else math.inf

    @property
    def ended(self) -> bool:
        return trio.current_time() >= self.ends_at

    async def serves(self) -> bool:
        while trio.current_time() < min(self._serves_at, self.ends_at):
            await self._change_or(min(self._serves_at, self.ends_at))
        return self._serves_at <= trio.current_time()

    async def counted(self) -> bytes | None:
        return None if self.ended else b"[]"

    async def wait(self) -> int:
        while not self.ended:
            await self._change_or(self.ends_at)
        return self._status

    def send(self, number: signal.Signals) -> None:
        if self.ended:
            return
        now = trio.current_time()
        again = any(kind is number for _, kind in self.signals)
        self.signals.append((now, number))
        if number is signal.SIGKILL:
            self._end_at(now, -signal.SIGKILL)
        elif math.isinf(self._drain_seconds):
            pass
        elif now < self._serves_at:
            self._end_at(now, -signal.SIGTERM)
        else:
            self._end_at(now if again else now + self._drain_seconds, 0)

    async def aclose(self) -> None:
        self.send(signal.SIGKILL)
        self.closed = True
        await trio.lowlevel.checkpoint()

    def _end_at(self, moment: float, status: int) -> None:
        if moment <= self.ends_at:
            self.ends_at, self._status = moment, status
            self._changed.set()
            self._changed = trio.Event()

    async def _change_or(self, moment: float) -> None:
        with trio.move_on_at(moment):
            await self._changed.wait()


class Crew:
    """Launches workers: each number has its lives one after the other, then steady ones."""

    def __init__(
        self, lives: Mapping[int, Sequence[Life]] | None = None, *, then: Life | None = None
    ) -> None:
        self.asked: list[tuple[float, int]] = []
        self.launched: list[FakeWorker] = []
        self._lives = {number: list(each) for number, each in (lives or {}).items()}
        self._then = then or Life()

    async def __call__(self, number: int) -> FakeWorker:
        self.asked.append((trio.current_time(), number))
        coming = self._lives.get(number)
        life = coming.pop(0) if coming else self._then
        await trio.sleep(life.launch_seconds)
        if life.refused:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        worker = FakeWorker(number, life, pid=1000 + len(self.launched))
        self.launched.append(worker)
        return worker

    @property
    def alive(self) -> list[FakeWorker]:
        return [worker for worker in self.launched if not worker.ended]
