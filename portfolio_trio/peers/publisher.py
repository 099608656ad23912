"""Batches to the other workers: bounded, in order, and never silently incomplete."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.hub.events import Batch
from portfolio_trio.log_throttle import Seldom
from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.events import PeerEvent
    from portfolio_trio.store import Workers

log: Final = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.25
# Tries of a batch that nobody hears: its worker connects anew, or has gone without a word.
UNHEARD_TRIES: Final = 12
# What an event counts beside its message, as most claims and looks have none.
EVENT_CHARACTERS: Final = 200


class _Box:
    """What waits for one worker.

    Attributes:
        owed: There are events or a batch, or the worker has yet to see that one batch is missing.
        sending: A task sees to it.
    """

    __slots__ = ("_batch", "_events", "_numbers", "_previous", "_size", "_unheard", "owed", "sending")

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._previous = 0
        self._events: list[PeerEvent] = []
        self._size = 0
        self._batch: Batch | None = None
        self._unheard = 0
        self.owed = False
        self.sending = False

    def put(self, peer_event: PeerEvent, max_size: int) -> None:
        self.owed = True
        self._events.append(peer_event)
        self._size += EVENT_CHARACTERS + len(peer_event.frame)
        if self._size > max_size:
            self.lose()

    def lose(self) -> None:
        """Drop what waits; the batch that is never written has a number, too."""
        self._previous = next(self._numbers)
        self._clear()

    def forget(self) -> None:
        """Drop all, the batch that may be on its way, too."""
        self.lose()
        self._batch, self._unheard = None, 0

    def take(self, sender: str) -> Batch:
        """The batch that has not arrived yet, as far as is known, or all that waits as the next one."""
        if self._batch is None:
            number = next(self._numbers)
            events = tuple(self._events)
            self._batch = Batch(sender=sender, number=number, previous=self._previous, events=events)
            self._previous = number
            self._clear()
        return self._batch

    def settle(self, batch: Batch, *, heard: bool) -> bool:
        """A batch was sent; whether that was the last time."""
        if batch is not self._batch:
            # Forgotten meanwhile: what comes next shows it.
            return True
        self._unheard = 0 if heard else self._unheard + 1
        if not heard and self._unheard < UNHEARD_TRIES:
            return False
        self._batch, self._unheard = None, 0
        # What was lost meanwhile has a number, too.
        self.owed = bool(self._events) or self._previous != batch.number
        return True

    def _clear(self) -> None:
        self._events, self._size = [], 0


class PeerPublisher:
    """Sends what happens here to the workers that want to hear of it.

    Telling never waits. What has gathered for a worker leaves as one batch. One that may not have arrived is
    sent again, under its number, by which the receiver knows a repetition. Where one is lost all the same,
    or too much had gathered, the next one shows it by its number, and the receiver reads the documents anew.
    Each worker has a task while something waits for it, so that one that cannot be reached holds up no other.

    Args:
        workers: The way to the other workers.
        max_bytes: Characters that may wait for one worker.
        faults: Contains what goes wrong with one batch.
    """

    def __init__(self, workers: Workers, *, max_bytes: int, faults: Faults) -> None:
        self._workers = workers
        self._max_bytes = max_bytes
        self._faults = faults
        self._boxes: dict[str, _Box] = {}
        self._repeated_log = Seldom(log, clock=trio.current_time)
        # Of all boxes: one that was forgotten does not begin with numbers that its worker has seen.
        self._numbers = count(1)
        self._due: list[tuple[str, _Box]] = []
        self._news = trio.lowlevel.ParkingLot()

    @property
    def me(self) -> str:
        """The name of this worker."""
        return self._workers.me

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        """Queue an event for some workers."""
        for worker in others:
            box = self._boxes.get(worker)
            if box is None:
                box = self._boxes[worker] = _Box(self._numbers)
            box.put(peer_event, self._max_bytes)
            if not box.sending:
                box.sending = True
                self._due.append((worker, box))
        self._news.unpark_all()

    def forget(self, worker: str) -> None:
        """A worker is lost: nothing waits for it any more."""
        box = self._boxes.get(worker)
        if box is not None and box.sending:
            # It may live after all, and then sees that something is missing.
            box.forget()
        elif box is not None:
            del self._boxes[worker]

    async def run(self) -> None:
        """Send for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                while not self._due:
                    await self._news.park()
                due, self._due = self._due, []
                for worker, box in due:
                    nursery.start_soon(self._deliver, worker, box)

    async def _deliver(self, worker: str, box: _Box) -> None:
        """Send batches to one worker, one at a time, until nothing waits for it."""
        while box.owed:
            arrived = False
            # The boundary between one batch and the next, whomever they are for.
            with self._faults.contained("a batch", instead=box.forget):
                arrived = await self._send(worker, box)
            if not arrived:
                await trio.sleep(RETRY_SECONDS)
        box.sending = False

    async def _send(self, worker: str, box: _Box) -> bool:
        batch = box.take(self._workers.me)
        try:
            heard = await self._workers.send_batch(worker, batch.model_dump_json())
        except StoreError as error:
            self._repeated_log.info(
                "a batch to another worker is sent again",
                extra={"event": "batch_repeated", "peer": worker, "error": str(error)},
                alike=worker,
            )
            return False
        return box.settle(batch, heard=heard)
