"""Letters to the other workers: bounded, in order, and never silently incomplete."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.peers.letters import Letter
from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portfolio_trio.peers.letters import Note
    from portfolio_trio.store import Workers

log: Final = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.25


class _Box:
    """What waits for one worker."""

    __slots__ = ("notes", "number", "size")

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.size = 0
        self.number = 0

    def clear(self) -> None:
        self.notes, self.size = [], 0


class Post:
    """Sends what happens here to the workers that want to hear of it.

    Telling never waits. What has gathered for a worker leaves as one letter. Where a letter is lost, or too
    much had gathered, the next one shows it by its number, and the receiver reads the documents anew.

    Args:
        workers: The way to the other workers.
        max_bytes: Characters of messages that may wait for one worker.
    """

    def __init__(self, workers: Workers, *, max_bytes: int) -> None:
        self._workers = workers
        self._max_bytes = max_bytes
        self._boxes: dict[str, _Box] = {}
        self._due: dict[str, None] = {}
        self._news = trio.lowlevel.ParkingLot()

    @property
    def me(self) -> str:
        """The name of this worker."""
        return self._workers.me

    def tell(self, others: Iterable[str], note: Note) -> None:
        """Queue a note for some workers."""
        for worker in others:
            box = self._boxes.setdefault(worker, _Box())
            box.notes.append(note)
            box.size += len(note.frame)
            if box.size > self._max_bytes:
                # The number of a letter that is never written.
                box.number += 1
                box.clear()
            self._due[worker] = None
        self._news.unpark_all()

    def forget(self, worker: str) -> None:
        """A worker has died."""
        self._boxes.pop(worker, None)
        self._due.pop(worker, None)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            while not self._due:
                await self._news.park()
            worker = next(iter(self._due))
            del self._due[worker]
            await self._send(worker, self._boxes[worker])

    async def _send(self, worker: str, box: _Box) -> None:
        box.number += 1
        letter = Letter(sender=self._workers.me, number=box.number, notes=tuple(box.notes))
        box.clear()
        try:
            await self._workers.post(worker, letter.model_dump_json())
        except StoreError as error:
            log.info("a letter to worker %s may be lost: %s", worker, error)
            if worker in self._boxes:
                # Empty or not, the next one shows by its number that this one is missing.
                self._due[worker] = None
            await trio.sleep(RETRY_SECONDS)
