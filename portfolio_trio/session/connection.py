"""One WebSocket connection: its nursery, its reader, its writer, and the runner of its one analysis.

    connection nursery
    ├─ reader    takes requests one after another, answers them, decides
    ├─ writer    there while something waits to be sent that the socket did not take at once
    └─ run       at most one: the scope of the current analysis, its metric tasks inside

The reader never waits for a metric. It waits for a run only after having cancelled it, so that the next
one starts when nothing of the last is left.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.access import Decision, Throttle
from portfolio_trio.http import Disconnected
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.unpriced import refusal
from portfolio_trio.market import MarketFullError
from portfolio_trio.protocol.codes import CloseCode, ErrorCode
from portfolio_trio.protocol.messages import (
    SUBPROTOCOL,
    AnalysisCancelled,
    Error,
    MetricFailure,
)
from portfolio_trio.protocol.requests import Authenticate, RequestError, parse_request, read_id
from portfolio_trio.session.handlers import RequestHandler
from portfolio_trio.session.outbox import Outbox
from portfolio_trio.session.runner import Runner
from portfolio_trio.store import MissingPrices, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portfolio_trio.http import WebSocketTransport
    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.hub import SessionGroup
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.protocol.messages import Message
    from portfolio_trio.protocol.results import ComputedResult
    from portfolio_trio.session.services import Services

# What a connection that has ended may take to clear its run from the document, and to say goodbye.
CLEAN_UP_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 2.0
LAST_WORDS_SECONDS: Final = 2.0


class Session:
    """One socket of one session, from the accepted upgrade to its end.

    Args:
        services: The layers below.
        session_id: Which portfolio.
        transport: The socket.
        count_new: Counts the session where it has to be made; raises `Refused` where it is one too many.
        first: The request that it was opened with.
    """

    def __init__(
        self,
        services: Services,
        session_id: str,
        transport: WebSocketTransport,
        *,
        count_new: Callable[[], None],
        first: Authenticate | None = None,
    ) -> None:
        self._services = services
        self._session_id = session_id
        self._transport = transport
        self._count_new = count_new
        self._first = first
        settings = services.settings
        self._outbox = Outbox(settings.max_queue_bytes)
        self._throttle = Throttle(
            settings.requests_per_second,
            settings.request_burst,
            patience=settings.request_burst,
            clock=trio.current_time,
        )
        # Set once and never taken back: from then on nothing is queued and no task is started.
        self._ended = False
        self._writing = False
        self._gathering = False
        self._close: tuple[CloseCode, str] = (CloseCode.NORMAL, "")
        self._nursery: trio.Nursery
        self._group: SessionGroup
        self._runner: Runner
        self._handler: RequestHandler

    async def run(self) -> None:
        """Serve the socket until the client leaves, is too slow, or the server ends it."""
        try:
            with self._services.hub.join(self._session_id, self) as self._group:
                await self._serve()
            code, reason = self._close
            await self._transport.close(code, reason, timeout=CLOSE_SECONDS)
        finally:
            await self._leave()

    async def _serve(self) -> None:
        keep_alive = self._services.keep_alive
        try:
            async with trio.open_nursery() as self._nursery:
                self._runner = Runner(self._services, self._group, self, self._nursery)
                self._handler = RequestHandler(
                    self._services, self._group, self, self._runner, self._count_new
                )
                keep_alive.watch(self)
                try:
                    await self._read()
                    self.end(CloseCode.NORMAL, "", EndReason.DISCONNECTED)
                finally:
                    # From here on the nursery may close at any checkpoint, and takes no task any more.
                    self._ended = True
        finally:
            keep_alive.forget(self)
            with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
                await self._forget_run()

    def end(self, code: CloseCode, reason: str, why: EndReason) -> None:
        """End the connection: its run is over at once, its tasks end, then the socket is closed.

        The first end counts; one that comes later changes nothing.
        """
        if not self._ended:
            self._ended = True
            self._close = (code, reason)
            self._nursery.cancel_scope.cancel()
            self._runner.decide(why)

    def fail(self) -> None:
        """End the connection with 1011: a fault of ours has left in doubt what the client knows."""
        if not self._ended:
            self._ended = True
            self._close = (CloseCode.INTERNAL, "The server failed.")
            # Its run settles by itself: nothing here may fail once more.
            self._nursery.cancel_scope.cancel()

    def drain(self) -> None:
        """Take no new analysis any more."""
        self._handler.draining = True

    async def idle(self) -> None:
        """Wait until no analysis runs here, nor one elsewhere whose end the client would miss."""
        await self._runner.idle()
        if self.receives_events:
            await self._group.wait_remote_idle()

    async def halt(self) -> None:
        """Cancel what runs, and tell so."""
        await self._runner.stop(EndReason.DRAINING)

    async def close_going_away(self) -> None:
        """Let the last words leave, then end the connection with 1001."""
        if self._ended:
            # Its writer takes nothing more, so nothing would ever have left.
            return
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self._outbox.empty()
        self.end(CloseCode.GOING_AWAY, self._services.goodbye(), EndReason.DRAINING)

    # --- what other sockets and the runner ask of this one ---

    @property
    def receives_events(self) -> bool:
        """Whether the client speaks the subprotocol and gets the session's events."""
        return self._transport.subprotocol == SUBPROTOCOL

    def enqueue(self, event: str, run: Run | None = None) -> None:
        """Queue an event of the session, if the client speaks the subprotocol."""
        if self.receives_events:
            self._put(event, run)

    def answer(self, message: Message | ComputedResult, run: Run | None = None) -> None:
        """Queue an answer; a client without the subprotocol knows no message but results and errors."""
        if isinstance(message, MetricFailure) and not self.receives_events:
            message = message.as_error()
        self._put(message.to_json(), run)

    def enqueue_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits, if the client gets events."""
        if self.receives_events and not self._ended:
            self._outbox.put_latest(event)
            self._send_soon()

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start the run again if these prices move its portfolio too far from its snapshot."""
        self._runner.reprice(prices)

    @property
    def running(self) -> int | None:
        """The number of the run, if it is open and has one."""
        run = self._runner.slot.current
        return run.run_id if run is not None and run.may_send else None

    def expire(self) -> None:
        """The client has been told that its session has expired: its next request opens it anew."""
        self._handler.expire()

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits to be sent."""
        self._outbox.drop(run)

    async def flushed(self, run: Run) -> None:
        """Wait until all of the run that was queued here has left."""
        await self._outbox.flushed(run)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What the block queues here leaves in one send, at its end."""
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
            if not self._ended:
                self._send_soon()

    def restart_run(self) -> None:
        """End the run as ``portfolio_changed`` and start it again, if there is one."""
        self._runner.restart()

    async def stop_run(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """End the run and wait until its task has ended; return its last event, if it was open."""
        return await self._runner.stop(reason, canceller=canceller)

    async def clear_run(self) -> None:
        """Say in the document that this socket's run is over, if it may still stand there."""
        await self._runner.clear()

    async def supersede_run(self, run_id: int, standing: int | None = None) -> None:
        """End the run, if its number is below this one, and wait until its task has ended."""
        await self._runner.supersede(run_id, standing)

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the run, if this is its number or was before it was started again, as `stop_run` does."""
        return await self._runner.cancel(run_id)

    def renew_run(self, version: int, standing: int | None = None) -> None:
        """Start the run again, if it works on an older version of the holdings."""
        self._runner.renew(version, standing)

    # --- keepalive ---

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - its expiry ends the connection, too
        """Wait for a pong; raise ``Disconnected`` if none comes in time."""
        await self._transport.ping(timeout)

    def lose(self) -> None:
        """End the connection: the peer is gone."""
        self.end(CloseCode.NORMAL, "", EndReason.DISCONNECTED)

    # --- the two tasks ---

    def _put(self, text: str, run: Run | None) -> None:
        if not self._ended:
            self._outbox.put(text, run)
            self._send_soon()

    def _send_soon(self) -> None:
        """Send what waits: at once, or by the writer if the socket does not take all of it.

        A writer that is there finds it by itself. The connection has not ended, so its nursery is open.
        """
        if not (self._writing or self._gathering or self._send_now()):
            self._writing = True
            self._nursery.start_soon(self._write)

    def _send_now(self) -> bool:
        """Send what waits, as far as that needs no waiting; whether nothing is left to the writer."""
        while batch := self._outbox.take():
            if not self._transport.send_now(batch):
                return False
            self._outbox.written()
        return not self._outbox.overflowed

    async def _write(self) -> None:
        """Send all that waits, and end: an idle connection has no writer, which would be a tenth of it."""
        if self._outbox.in_flight:
            # The rest of what was to leave at once.
            if not await self._send([]):
                return
            self._outbox.written()
        while batch := self._outbox.take():
            if not await self._send(batch):
                return
            self._outbox.written()
        self._writing = False
        if self._outbox.overflowed:
            self.end(CloseCode.OVERLOADED, "too much waits to be sent", EndReason.DISCONNECTED)

    async def _send(self, batch: list[str]) -> bool:
        """Whether all of it has left; else the connection is ended."""
        with trio.move_on_after(self._services.settings.send_seconds):
            try:
                await self._transport.send(batch)
            except Disconnected:
                self.lose()
                return False
            return True
        # Half a frame may have left: nothing may follow it on this socket.
        self._transport.abort()
        self.end(CloseCode.OVERLOADED, "nothing was taken in time", EndReason.DISCONNECTED)
        return False

    async def _let_pass(self, frame: str | bytes) -> bool:
        """Whether one more request is served; else it is refused, or ends the connection."""
        decision = self._throttle.decide()
        if decision is Decision.REFUSE:
            wait = self._throttle.wait_seconds
            detail = f"too many requests; wait {wait:.3g} s"
            self.answer(Error.of(ErrorCode.RATE_LIMITED, detail, id=read_id(frame)))
        elif decision is Decision.DISCONNECT:
            # A frame cut off by the end would take the close frame's place.
            with trio.move_on_after(LAST_WORDS_SECONDS):
                await self._outbox.empty()
            self.end(CloseCode.POLICY, "rate_limited: too many requests", EndReason.DISCONNECTED)
        return decision is Decision.SERVE

    async def _read(self) -> None:
        await self._welcome()
        while True:
            try:
                frame = await self._transport.receive()
            except Disconnected:
                return
            if not await self._let_pass(frame):
                continue
            try:
                request = parse_request(frame)
            except RequestError as error:
                self.answer(error.answer)
            else:
                await self._handler.answer(request)

    async def _welcome(self) -> None:
        """Open the session; a client with the subprotocol first gets the state, then events."""
        request_id = None if self._first is None else self._first.id
        try:
            opened = await self._handler.open()
        except MissingPrices as failure:
            self._refuse_welcome(refusal(self._services.book, failure.tickers))
        except (MarketFullError, StoreError) as failure:
            self._refuse_welcome(self._services.explain(failure))
        else:
            if self.receives_events or self._first is not None:
                self._group.answer(self, opened, request_id)

    def _refuse_welcome(self, error: Error) -> None:
        """Say why there is no state yet: at once to a client that has asked, or that gets events."""
        if self._first is not None:
            self.answer(error.echo(self._first.id))
        else:
            # A client without the subprotocol has asked nothing yet.
            self.enqueue(error.to_json())

    async def _leave(self) -> None:
        """The last socket of the session on this worker says so in the document."""
        if not self._group.attached:
            return
        with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
            try:
                await self._services.peer_subscriber.leave(self._session_id)
            except StoreError:
                self._services.left_behind.warning(
                    "session %s: this worker still stands in its document", self._session_id
                )

    async def _forget_run(self) -> None:
        try:
            await self._runner.clear()
        except StoreError:
            self._services.left_behind.warning(
                "session %s: its run could not be cleared from the document", self._session_id
            )
        finally:
            self._runner.abandon()
