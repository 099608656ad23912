"""The persistent connection: opened, read, written, and opened again when it is lost."""

from __future__ import annotations

import os
import ssl
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import trio

from portfolio_trio.client._calls import Frame
from portfolio_trio.client._errors import ConnectFailed, Disconnected, Ending
from portfolio_trio.client._socket import Socket
from portfolio_trio.protocol.codes import CloseCode
from portfolio_trio.protocol.events import ProtocolError, parse_message
from portfolio_trio.protocol.messages import Error, Portfolio

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from portfolio_trio.backoff import Backoff
    from portfolio_trio.client._dispatcher import Dispatcher
    from portfolio_trio.client._socket import Address


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds, and bounds.

    Attributes:
        connect_seconds: From dialling to the first state, for each attempt.
        request_seconds: From a request to its answer, waiting for a connection included; for an analysis, to
            its start. The duration of a run's metrics is not limited here: use a Trio cancel scope.
        send_seconds: If the server accepts no frame for this long, the connection is dropped and opened
            again.
        close_seconds: For the closing handshake.
        max_requests: Maximum number of concurrent requests; more of them wait, within their deadline.
        max_events: Events that wait for a loop over them; beyond it the oldest are dropped.
        max_message_chars: Longer messages of the server end the connection.
    """

    connect_seconds: float = 10.0
    request_seconds: float = 30.0
    send_seconds: float = 10.0
    close_seconds: float = 2.0
    max_requests: int = 32
    max_events: int = 1_000
    max_message_chars: int = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach the server.

    Attributes:
        address: Where the session is.
        headers: Additional headers of the upgrade.
        open_stream: Opens a stream to the server.
    """

    address: Address
    headers: list[tuple[bytes, bytes]]
    open_stream: Callable[[], Awaitable[trio.abc.Stream]]


class Link:
    """One connection at a time to one session, and the frames waiting for it.

    connection nursery
    ├─ reader    reads, passes messages to the dispatcher, never waits for a user
    ├─ writer    the only task that sends: a cancelled request leaves no partial frame
    └─ the reader of trio-websocket
    """

    def __init__(
        self, route: Route, dispatcher: Dispatcher, limits: Limits, backoff: Backoff, rng: random.Random
    ) -> None:
        self._route = route
        self._dispatcher = dispatcher
        self._limits = limits
        self._backoff = backoff
        self._rng = rng
        self._socket: Socket | None = None
        self._ending: Ending | None = None
        self._up_since: float | None = None
        self._was_up = False
        self._closing = False
        self._frames: deque[Frame] = deque()
        self._change = trio.lowlevel.ParkingLot()
        self._work = trio.lowlevel.ParkingLot()

    @property
    def up(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    async def run(self) -> None:
        """Connect, and reconnect, until closed or until retrying cannot help."""
        attempt = 0
        while True:
            ending = await self._connect_once()
            lasted = self._down()
            if self._closing or not ending.retryable or (lasted is None and not self._was_up):
                self._give_up(ending)
                return
            if lasted is not None and lasted > self._backoff.longest:
                attempt = 0
            pause = max(self._backoff.delay(attempt, self._rng), ending.retry_after)
            if lasted is not None:
                self._dispatcher.lose(ending, pause)
            attempt += 1
            await trio.sleep(pause)

    async def connected(self) -> None:
        """Wait for a connection.

        Raises:
            Disconnected: There will be none; `ConnectFailed` if there never was one.
        """
        await trio.lowlevel.checkpoint()
        while self._socket is None:
            if self._ending is not None:
                raise (Disconnected if self._was_up else ConnectFailed)(self._ending)
            await self._change.park()

    def send(self, text: str) -> Frame:
        """Queue a frame for the current connection; it is dropped with the connection.

        The queue is bounded because each caller waits for an answer, or withdraws its frame.
        """
        frame = Frame(text)
        self._frames.append(frame)
        self._work.unpark()
        return frame

    def take_back(self, frame: Frame) -> bool:
        """Withdraw a frame; return whether that was in time."""
        if frame in self._frames:
            self._frames.remove(frame)
            return True
        return not frame.sent

    async def close(self) -> None:
        """Close the connection properly, within ``close_seconds``."""
        self._closing = True
        if self._socket is not None:
            with trio.move_on_after(self._limits.close_seconds):
                await self._socket.close(CloseCode.NORMAL)
        self._give_up(Ending("this client was closed", CloseCode.NORMAL, retryable=False))

    # --- one connection ---

    async def _connect_once(self) -> Ending:
        """Open a connection, serve it until it ends, close its stream; return how it ended."""
        with trio.move_on_after(self._limits.connect_seconds) as patience:
            try:
                stream = await self._route.open_stream()
            except (OSError, trio.BrokenResourceError) as error:
                return Ending(f"the server cannot be reached: {_reason(error)}")
            try:
                async with trio.open_nursery() as nursery:
                    ending = await self._serve(nursery, stream, patience)
                    nursery.cancel_scope.cancel()
                return ending
            finally:
                await trio.aclose_forcefully(stream)
        return Ending(f"the server did not answer within {self._limits.connect_seconds:g} s")

    async def _serve(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, patience: trio.CancelScope
    ) -> Ending:
        socket = Socket(stream, max_message_chars=self._limits.max_message_chars)
        try:
            await socket.open(nursery, self._route.address, self._route.headers)
            await self._greet(socket)
            patience.deadline = inf
            self._begin(socket)
            nursery.start_soon(self._write, socket)
            while True:
                self._dispatcher.take(parse_message(await socket.receive()))
        except Disconnected as end:
            return end.ending
        except ProtocolError as error:
            with trio.move_on_after(self._limits.close_seconds):
                await socket.close(CloseCode.PROTOCOL_ERROR)
            what = f"the server violated the protocol: {error}"
            return Ending(what, CloseCode.PROTOCOL_ERROR, retryable=False)

    async def _greet(self, socket: Socket) -> None:
        """Wait for the state, which comes first."""
        while True:
            message = parse_message(await socket.receive())
            if isinstance(message, Portfolio):
                self._dispatcher.take(message)
                return
            if isinstance(message, Error):
                ending = Ending(f"{message.code}: {message.detail}", retryable=message.retryable)
                raise Disconnected(ending)
            # An event from just before the state, which includes it.

    async def _write(self, socket: Socket) -> None:
        while True:
            while not self._frames:
                await self._work.park()
            frame = self._frames.popleft()
            frame.sent = True
            with trio.move_on_after(self._limits.send_seconds) as limit:
                try:
                    await socket.send(frame.text)
                except Disconnected:
                    # The reader gets the error as well, and ends the connection.
                    return
            if limit.cancelled_caught:
                # A partial frame may have been sent: nothing may follow it on this socket.
                await socket.abort()
                return

    def _begin(self, socket: Socket) -> None:
        self._socket = socket
        self._up_since = trio.current_time()
        self._was_up = True
        self._change.unpark_all()

    def _down(self) -> float | None:
        """Forget the connection; return for how long it was up, if it was."""
        since, self._up_since = self._up_since, None
        self._socket = None
        self._frames.clear()
        return None if since is None else trio.current_time() - since

    def _give_up(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._dispatcher.close(ending, own=self._closing)
            self._change.unpark_all()


def _reason(error: BaseException) -> str:
    """The system's message about an attempt to connect; of several attempts, the first."""
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    if error.__cause__ is not None:
        return _reason(error.__cause__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        # The text of Trio's exception repeats the address.
        return os.strerror(error.errno or 0)
    return getattr(error, "strerror", None) or str(error)
