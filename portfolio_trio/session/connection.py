"""One WebSocket connection: its nursery, its reader, its writer, and the runner of its analysis.

    connection nursery
    ├─ reader    takes requests one after another, answers them, decides
    ├─ writer    exists while frames wait that the socket did not accept at once
    └─ run       at most one: the scope of the current analysis, the tasks of heavy metrics inside

The reader never waits for a metric. It waits for a run only after having cancelled it, so that the next one
starts when the last one has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.access import Decision, Throttle
from portfolio_trio.http import Disconnected
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.unpriced import refusal
from portfolio_trio.market import MarketFullError
from portfolio_trio.protocol.codes import CloseCode, ErrorCode
from portfolio_trio.protocol.messages import Error
from portfolio_trio.protocol.requests import Authenticate, RequestError, parse_request, read_id
from portfolio_trio.session.client_document import ClientDocument
from portfolio_trio.session.handlers import RequestHandler
from portfolio_trio.session.runner import Runner
from portfolio_trio.session.socket_state import Socket
from portfolio_trio.session.socket_writer import SocketWriter
from portfolio_trio.store import MissingPrices, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.http import WebSocketTransport
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.session.services import Services

# Seconds for a connection that has ended to clear its run from the document, and to close.
CLEAN_UP_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 2.0


class Session:
    """One socket of one session, from the accepted upgrade to its end.

    Args:
        services: The layers below.
        session_id: The session.
        transport: The socket.
        count_new: Counts the session if it has to be created; raises `Refused` if it is one too many.
        address: What the client's address counts as; None if it does not count.
        first: The request that it was opened with.
    """

    __slots__ = (
        "_address",
        "_close",
        "_count_new",
        "_first",
        "_group",
        "_handler",
        "_nursery",
        "_services",
        "_session_id",
        "_throttle",
        "_transport",
        "ended",
        "runner",
        "subscriber",
    )

    def __init__(
        self,
        services: Services,
        session_id: str,
        transport: WebSocketTransport,
        *,
        count_new: Callable[[], None],
        address: str | None = None,
        first: Authenticate | None = None,
    ) -> None:
        self._services = services
        self._session_id = session_id
        self._transport = transport
        self._count_new = count_new
        self._address = address
        self._first = first
        settings = services.settings
        self.subscriber = SocketWriter(transport, settings, self, services.telemetry)
        self.runner: Runner
        self._throttle = Throttle(
            settings.requests_per_second,
            settings.request_burst,
            patience=settings.request_burst,
            clock=trio.current_time,
        )
        # Set once and never reset: from then on nothing is queued and no task is started.
        self.ended = False
        self._close: tuple[CloseCode, str] = (CloseCode.NORMAL, "")
        self._nursery: trio.Nursery
        self._group: SessionGroup
        self._handler: RequestHandler

    async def run(self) -> None:
        """Serve the socket until the client leaves, is too slow, or the server ends it.

        A socket lives in this function and in as few others as possible: each has a frame in memory.
        """
        try:
            with self._services.hub.join(self._session_id, self) as self._group:
                try:
                    async with trio.open_nursery() as self._nursery:
                        self._open()
                        try:
                            await self._welcome()
                            await self._read()
                            self.end(CloseCode.NORMAL, "", EndReason.DISCONNECTED)
                        finally:
                            # From here on the nursery may close at any checkpoint, and accepts no more tasks.
                            self.ended = True
                finally:
                    await self._forget_run()
            code, reason = self._close
            await self._transport.close(code, reason, timeout=CLOSE_SECONDS)
        except Exception:
            # The caller logs it and closes the connection.
            self._services.faults.counts["a session"] += 1
            raise
        finally:
            await self._leave()

    def _open(self) -> None:
        """What the nursery is needed for."""
        self.subscriber.open(self._nursery)
        document = ClientDocument(self._group, self.subscriber)
        socket = Socket(self._services, self._group, self.subscriber, document, self._address)
        self.runner = Runner(socket, self._nursery)
        self._handler = RequestHandler(socket, self.runner, self._count_new, self._nursery)
        self._services.keep_alive.watch(self)

    def end(self, code: CloseCode, reason: str, why: EndReason) -> None:
        """End the connection: its run ends at once, its tasks end, then the socket is closed.

        The first end counts; later ones have no effect.
        """
        if not self.ended:
            self.ended = True
            self._close = (code, reason)
            self._nursery.cancel_scope.cancel()
            self.runner.decide(why)

    def fail(self) -> None:
        """End the connection with 1011: because of a bug, the client may have been shown something wrong."""
        if not self.ended:
            self.ended = True
            self._close = (CloseCode.INTERNAL, "The server failed.")
            # Its run ends by itself: nothing here may fail again.
            self._nursery.cancel_scope.cancel()

    def drain(self) -> None:
        """Accept no more analyses."""
        self._handler.draining = True
        self.runner.unfollow()

    async def idle(self) -> None:
        """Wait until no analysis runs here, or elsewhere if the client would miss its end."""
        await self.runner.idle()
        if self.subscriber.receives_events:
            await self._group.wait_remote_idle()

    async def halt(self) -> None:
        """Cancel the run, and report that."""
        await self.runner.stop(EndReason.DRAINING)

    async def close_going_away(self) -> None:
        """Send the last messages, then end the connection with 1001."""
        if self.ended:
            # Its writer sends nothing more, so waiting would never end.
            return
        await self.subscriber.last_words()
        self.end(CloseCode.GOING_AWAY, self._services.goodbye(), EndReason.DRAINING)

    # --- keepalive ---

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - its expiry ends the connection, too
        """Wait for a pong; raise ``Disconnected`` if none comes in time."""
        await self._transport.ping(timeout)

    def lose(self) -> None:
        """End the connection: the peer is gone."""
        self.end(CloseCode.NORMAL, "", EndReason.DISCONNECTED)

    # --- the reader ---

    async def _let_pass(self, frame: str | bytes) -> bool:
        """Whether one more request is served; otherwise it is refused, or ends the connection."""
        decision = self._throttle.decide()
        if decision is Decision.REFUSE:
            wait = self._throttle.wait_seconds
            detail = f"too many requests; wait {wait:.3g} s"
            self.subscriber.answer(Error.of(ErrorCode.RATE_LIMITED, detail, id=read_id(frame)))
        elif decision is Decision.DISCONNECT:
            await self.subscriber.last_words()
            self.end(CloseCode.POLICY, "rate_limited: too many requests", EndReason.DISCONNECTED)
        return decision is Decision.SERVE

    async def _read(self) -> None:
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
                unknown = error.answer.code == ErrorCode.UNKNOWN_ACTION
                self._services.telemetry.message_received("unknown" if unknown else "invalid")
                self.subscriber.answer(error.answer)
            else:
                self._services.telemetry.message_received(request.action)
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
            if self.subscriber.receives_events or self._first is not None:
                self._group.answer(self.subscriber, opened, request_id)

    def _refuse_welcome(self, error: Error) -> None:
        """Report why there is no state yet: immediately to a client that has asked, or that gets events."""
        if self._first is not None:
            self.subscriber.answer(error.echo(self._first.id))
        else:
            # A client without the subprotocol has not asked for anything yet.
            self.subscriber.enqueue(error.to_json())

    async def _leave(self) -> None:
        """The last socket of the session on this worker records that in the document."""
        if not self._group.document.attached:
            return
        with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
            try:
                await self._services.peer_subscriber.leave(self._session_id)
            except StoreError:
                self._services.left_behind.warning(
                    "the document of a session still lists this worker",
                    extra={"event": "session_not_left", "session": self._session_id},
                )

    async def _forget_run(self) -> None:
        """No more pings, and nothing in the document that has ended."""
        self._services.keep_alive.forget(self)
        with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
            try:
                await self.runner.clear()
            except StoreError:
                self._services.left_behind.warning(
                    "a run that is over could not be cleared from its document",
                    extra={"event": "run_not_cleared", "session": self._session_id},
                )
