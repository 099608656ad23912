"""The writing side of one connection: sends immediately, or in a task while something waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.http import Disconnected
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.protocol.codes import CloseCode
from portfolio_trio.protocol.messages import SUBPROTOCOL, MetricFailure
from portfolio_trio.session.outbox import Outbox
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.http import WebSocketTransport
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.protocol.messages import Message
    from portfolio_trio.protocol.results import ComputedResult
    from portfolio_trio.settings import Settings
    from portfolio_trio.telemetry import Telemetry

LAST_WORDS_SECONDS: Final = 2.0


class _Together:
    """The block of `SocketWriter.together`; one based on a generator would cost twice as much."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SocketWriter) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        self._writer.gather()

    def __exit__(self, *_: object) -> None:
        self._writer.send_gathered()


class Connection(Protocol):
    """The connection, as its writer uses it."""

    @property
    def ended(self) -> bool:
        """Nothing more is queued and no more tasks are started."""

    def end(self, code: CloseCode, reason: str, why: EndReason) -> None:
        """End the connection, unless it has ended."""

    def lose(self) -> None:
        """End the connection: the peer is gone."""


class SocketWriter:
    """Queues frames and makes sure that they are sent; queueing never waits.

    Args:
        transport: The socket.
        settings: The limits: how much may wait, and for how long.
        connection: Ended if the client is too slow, or is gone.
        telemetry: Counts sent and dropped frames.

    Attributes:
        receives_events: The client uses the subprotocol and gets the session's events.
    """

    def __init__(
        self,
        transport: WebSocketTransport,
        settings: Settings,
        connection: Connection,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._telemetry = telemetry
        self._transport = transport
        self._send_seconds = settings.send_seconds
        self._connection = connection
        self._outbox = Outbox(settings.max_queue_bytes)
        self._writing = False
        self._gathering = False
        self.receives_events = transport.subprotocol == SUBPROTOCOL
        self._nursery: trio.Nursery

    def open(self, nursery: trio.Nursery) -> None:
        """Set the connection's nursery, in which the writing task will run."""
        self._nursery = nursery

    def enqueue(self, frame: str, run: Run | None = None) -> None:
        """Queue an event of the session, if the client uses the subprotocol."""
        if self.receives_events:
            self._put((frame,), run)

    def enqueue_latest(self, frame: str) -> None:
        """Queue an event, replacing the latest one that still waits, if the client gets events."""
        if self.receives_events and not self._connection.ended:
            self._outbox.put_latest(frame)
            self._send_soon()

    def answer(self, *messages: Message | ComputedResult, run: Run | None = None) -> None:
        """Queue answers; a client without the subprotocol knows only results and errors."""
        self._put([self._for_client(message).to_json() for message in messages], run)

    def _for_client(self, message: Message | ComputedResult) -> Message | ComputedResult:
        if isinstance(message, MetricFailure) and not self.receives_events:
            return message.as_error()
        return message

    def drop(self, run: Run) -> None:
        """Drop the frames of ``run`` that still wait to be sent."""
        dropped = self._outbox.drop(run)
        if dropped:
            self._telemetry.results_dropped(dropped, run.reason or "elsewhere")

    async def flushed(self, run: Run) -> None:
        """Wait until all queued frames of the run have been sent."""
        await self._outbox.flushed(run)

    def together(self) -> _Together:
        """Frames queued in the block are sent together, at its end."""
        return _Together(self)

    def gather(self) -> None:
        """Send nothing from here on until `send_gathered`."""
        self._gathering = True

    def send_gathered(self) -> None:
        """Send what was queued since `gather`."""
        self._gathering = False
        if not self._connection.ended:
            self._send_soon()

    @property
    def leaves_at_once(self) -> bool:
        """Whether everything that waits here is sent next: then none of it can be dropped any longer."""
        return not (self._writing or self._connection.ended) and self._outbox.is_one_batch

    async def last_words(self) -> None:
        """Wait for a time until everything is sent: after a partial frame no close frame can be sent."""
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self._outbox.empty()

    def _put(self, texts: Sequence[str], run: Run | None) -> None:
        if not self._connection.ended:
            for text in texts:
                self._outbox.put(text, run)
            self._send_soon()

    def _send_soon(self) -> None:
        """Send what waits: immediately, or in the writer task if the socket does not accept all of it.

        An existing writer finds it by itself. The connection has not ended, so its nursery is open.
        """
        if not (self._writing or self._gathering or self._send_now()):
            self._writing = True
            self._nursery.start_soon(self._write)

    def _send_now(self) -> bool:
        """Send what waits, as far as that needs no waiting; return whether nothing is left for the writer."""
        while batch := self._take():
            if not self._transport.send_now(batch):
                return False
            self._outbox.written()
        return not self._outbox.overflowed

    def _take(self) -> list[str]:
        batch = self._outbox.take()
        self._telemetry.messages_sent(batch)
        return batch

    async def _write(self) -> None:
        """Send everything that waits, and end: an idle writer would be a tenth of a connection's cost."""
        if self._outbox.in_flight:
            # The rest of what could not be sent immediately.
            if not await self._send([]):
                return
            self._outbox.written()
        while batch := self._take():
            if not await self._send(batch):
                return
            self._outbox.written()
        self._writing = False
        if self._outbox.overflowed:
            self._connection.end(CloseCode.OVERLOADED, "too much waits to be sent", EndReason.DISCONNECTED)

    async def _send(self, batch: list[str]) -> bool:
        """Send it all; returns whether that succeeded, else the connection is ended."""
        with trio.move_on_after(self._send_seconds):
            try:
                await self._transport.send(batch)
            except Disconnected:
                self._connection.lose()
                return False
            return True
        # A partial frame may have been sent: nothing may follow it on this socket.
        self._transport.abort()
        self._connection.end(CloseCode.OVERLOADED, "nothing was read in time", EndReason.DISCONNECTED)
        return False
