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
# Attempts to send a batch that nobody receives: its worker is reconnecting, or has died.
UNHEARD_TRIES: Final = 12
# The size of an event in addition to its message; most claims and looks have none.
EVENT_CHARACTERS: Final = 200


class _Box:
    """The queue for one worker.

    Attributes:
        owed: There are events or a batch, or the worker has yet to notice that a batch is missing.
        sending: A task is sending it.
        unreachable: The last batch was given up, because nobody received it.
    """

    __slots__ = (
        "_batch",
        "_events",
        "_numbers",
        "_previous",
        "_size",
        "_unheard",
        "owed",
        "sending",
        "unreachable",
    )

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._previous = 0
        self._events: list[PeerEvent] = []
        self._size = 0
        self._batch: Batch | None = None
        self._unheard = 0
        self.unreachable = False
        self.owed = False
        self.sending = False

    def put(self, peer_event: PeerEvent, max_size: int) -> None:
        self.owed = True
        self._events.append(peer_event)
        self._size += EVENT_CHARACTERS + len(peer_event.frame)
        if self._size > max_size:
            self.lose()

    def lose(self) -> None:
        """Drop the waiting events; the batch that is never written still takes a number."""
        self._previous = next(self._numbers)
        self._clear()

    def forget(self) -> None:
        """Drop everything, the batch in flight included."""
        self.lose()
        self._batch, self._unheard = None, 0

    def take(self, sender: str) -> Batch:
        """The batch that may not have arrived yet, else all waiting events as the next one."""
        if self._batch is None:
            number = next(self._numbers)
            events = tuple(self._events)
            self._batch = Batch(sender=sender, number=number, previous=self._previous, events=events)
            self._previous = number
            self._clear()
        return self._batch

    def settle(self, batch: Batch, *, heard: bool) -> bool:
        """Record that a batch was sent; returns whether that was the last attempt."""
        if batch is not self._batch:
            # It was dropped meanwhile: the next batch will show that.
            return True
        self._unheard = 0 if heard else self._unheard + 1
        if not heard and self._unheard < UNHEARD_TRIES:
            return False
        self.unreachable = not heard
        self._batch, self._unheard = None, 0
        # Events lost meanwhile take a number as well.
        self.owed = bool(self._events) or self._previous != batch.number
        return True

    def _clear(self) -> None:
        self._events, self._size = [], 0


class PeerPublisher:
    """Sends events to the workers that need them.

    Queueing never waits. All events waiting for a worker are sent as one batch. A batch that may not have
    arrived is sent again with the same number, by which the receiver recognises a repetition. If a batch is
    lost all the same, or too many events were waiting, the number of the next one shows it, and the receiver
    reads the documents again. Each worker has a task while something waits for it, so that an unreachable
    worker does not delay the others.

    Args:
        workers: Sends to the other workers.
        max_bytes: Characters that may wait for one worker.
        faults: Contains errors of one batch.
    """

    def __init__(self, workers: Workers, *, max_bytes: int, faults: Faults) -> None:
        self._workers = workers
        self._max_bytes = max_bytes
        self._faults = faults
        self._boxes: dict[str, _Box] = {}
        self._repeated_log = Seldom(log, clock=trio.current_time)
        # Shared by all queues: a new queue for a forgotten worker must not begin with numbers it has seen.
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

    def is_unreachable(self, worker: str) -> bool:
        """Whether the last batch for a worker was given up: it is dead, or not connected to Redis."""
        box = self._boxes.get(worker)
        return box is not None and box.unreachable

    def forget(self, worker: str) -> None:
        """Drop everything that waits for a lost worker."""
        box = self._boxes.get(worker)
        if box is not None and box.sending:
            # It may be alive after all; then it will see that something is missing.
            box.forget()
        elif box is not None:
            del self._boxes[worker]

    async def run(self) -> None:
        """Send until cancelled."""
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
            # An error of one batch must not affect the next.
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
