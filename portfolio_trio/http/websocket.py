"""One accepted WebSocket, as the session uses it.

The task that receives messages reads the socket, and meanwhile answers pings and the peer's close: another
task for that would be a sixth of an idle connection's memory, and a switch of tasks for each message. Every
error ends here: the peer gets a close code, the session gets `Disconnected`. Many text frames are written in
one send; that needs no shared state, because no extension (compression) is ever negotiated.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Final, NamedTuple

import trio
from wsproto.events import CloseConnection, Ping, Pong

from portfolio_trio.http._at_once import read_now, socket_of
from portfolio_trio.http._frame_reader import FrameError, FrameReader
from portfolio_trio.http._frame_sender import FrameSender, ping_frame, pong_frame, text_frame
from portfolio_trio.http._upgrade import Upgrade
from portfolio_trio.locks import Waiters

log: Final = logging.getLogger(__name__)

NORMAL: Final = 1000
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011

# Small reads bound how much one peer can make the event loop parse at a time; requests are small.
_READ_BYTES: Final = 8_192
_ACCEPT_SECONDS: Final = 10.0
_REPLY_SECONDS: Final = 30.0
_PING_BYTES: Final = 4


class Disconnected(Exception):  # noqa: N818  (the usual end of a connection, not a fault)
    """The WebSocket is over.

    `code` and `reason` are those of the close frame that ended it, whichever side sent it; 1005 for a frame
    without a code, 1006 if there was no close frame.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _End(NamedTuple):
    """How a WebSocket ended."""

    code: int
    reason: str = ""


def accept_websocket(
    upgrade: Upgrade,
    *,
    subprotocol: str | None = None,
    max_message_bytes: int = 65_536,
    close_seconds: float = 5.0,
    grant_frame: Callable[[], bool] | None = None,
) -> AbstractAsyncContextManager["WebSocketTransport"]:
    """Accept the upgrade; ``async with`` gives its transport.

    A block that ends normally closes the WebSocket with 1000, one that raises with 1011, each within
    `close_seconds`. A cancelled block drops the connection immediately, so close first and then cancel. The
    block's exception is raised unchanged.

    Args:
        upgrade: The client's handshake.
        subprotocol: The accepted one of `upgrade.subprotocols`, or None.
        max_message_bytes: Larger messages of the client close the WebSocket with 1009.
        close_seconds: The time limit of closing handshakes that have no other.
        grant_frame: Asked for each control frame and each fragment; if it says no, the WebSocket is closed
            with 1008.

    Entering raises `Disconnected` if the client leaves before it could be accepted.
    """
    frames = FrameReader(max_bytes=max_message_bytes, grant_frame=grant_frame)
    return _Accepted(
        upgrade,
        WebSocketTransport(upgrade.stream, frames, subprotocol=subprotocol, close_seconds=close_seconds),
    )


class _Accepted:
    """The block of `accept_websocket`; not a generator, whose frame would live as long as the connection."""

    __slots__ = ("_transport", "_upgrade")

    def __init__(self, upgrade: Upgrade, transport: "WebSocketTransport") -> None:
        self._upgrade = upgrade
        self._transport = transport

    async def __aenter__(self) -> "WebSocketTransport":
        answer = self._upgrade.acceptance(self._transport.subprotocol)
        behind = self._upgrade.take()
        try:
            await self._transport.open(answer, behind)
        except BaseException:
            await self._transport.sender.close()
            raise
        return self._transport

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if failure is None:
                await self._transport.close(NORMAL)
                await self._linger()
            elif isinstance(failure, Exception):
                await self._transport.leave(INTERNAL_ERROR, "The server failed.")
                # The failure must not get lost when a cancellation overtakes it.
                with suppress(trio.Cancelled):
                    await self._linger()
        finally:
            await self._transport.sender.close()

    async def _linger(self) -> None:
        await self._transport.sender.linger(self._upgrade.linger_seconds)


class WebSocketTransport:
    """Whole messages in, batches of text messages out. Made by `accept_websocket`.

    The socket is only read while a message is being received, so that a session that does not receive slows
    down its own peer and nobody else. Pings, pongs and closes of the peer are noticed only then, too: a
    session should always be receiving, except for the short time in which it answers a message.

    How it ended is one value, `_end`, set once, by whichever comes first: the peer, an invalid frame,
    `close`, `leave` or `abort`.
    """

    __slots__ = (
        "_changed",
        "_close_seconds",
        "_end",
        "_frames",
        "_pinged",
        "_readable",
        "_socket",
        "_stream",
        "_waits_for_peer",
        "sender",
        "subprotocol",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        frames: FrameReader,
        *,
        subprotocol: str | None,
        close_seconds: float,
    ) -> None:
        self.subprotocol = subprotocol
        """The accepted subprotocol; None if there is none."""
        self.sender = FrameSender(stream)
        self._stream = stream
        self._socket = socket_of(stream)
        self._frames = frames
        self._close_seconds = close_seconds
        self._pinged: bytes | None = None
        self._end: _End | None = None
        # Until the peer's close, its end of the stream, or something invalid.
        self._readable = True
        # Everything that has arrived has been taken.
        self._waits_for_peer = False
        self._changed = Waiters()

    async def open(self, answer: bytes, behind: bytes) -> None:
        """Send the accepting answer; called by `accept_websocket`, with what was read behind the head."""
        self._frames.feed(behind)
        try:
            with trio.fail_after(_ACCEPT_SECONDS):
                await self.sender.send(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            raise Disconnected(ABNORMAL, "The client left during the handshake.") from None

    async def receive(self) -> str | bytes:
        """Return the peer's next message: text frames as str, binary ones as bytes.

        Only one task at a time may receive. `abort` does not wake it: cancel it as well.

        Raises `Disconnected` if the peer has closed or is gone, and after `close` or `abort`. A message
        longer than the limit is answered with close code 1009.
        """
        try:
            just_read = False
            while self._readable:
                if not self._frames.unread:
                    # Here and not in a function, whose frame every idle connection would hold.
                    self._waits_for_peer = True
                    if self._socket is None:
                        self._feed(bytes(await self._stream.receive_some(_READ_BYTES)))
                    else:
                        await trio.lowlevel.wait_readable(self._socket)
                        self._feed(read_now(self._socket, _READ_BYTES))
                    just_read, self._waits_for_peer = True, False
                    continue
                if not just_read:
                    # Other tasks get their turn even while frames keep coming.
                    await trio.lowlevel.checkpoint()
                just_read = False
                text = self._frames.take_text()
                message = await self._take_frame() if text is None else text
                if message is not None and self._end is None:
                    return message
        except Exception as error:  # noqa: BLE001  (whatever one peer provokes ends that peer only)
            await self._finish(_end_after(error))
        finally:
            self._waits_for_peer = False
        raise self._disconnected()

    async def send(self, messages: Sequence[str]) -> None:
        """Send text messages, all of them in one send of the stream.

        Blocks while the peer does not read, so set a deadline. When it expires the connection is unusable,
        because part of a frame may have been sent; nothing is ever sent after a partial frame. Not for two
        tasks at once.

        Raises `Disconnected` if the peer has closed or is gone.
        """
        if self._end is not None:
            raise self._disconnected()
        try:
            await self.sender.send(b"".join(map(text_frame, messages)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._disconnected() from None

    def send_now(self, messages: Sequence[str]) -> bool:
        """Send text messages as far as the socket accepts them without waiting; return whether all were sent.

        If it returns False, `send` must be called, with the next messages or with none: it sends the rest
        first, or reports that the peer is gone. Only one task at a time may use this or `send`.
        """
        return self._end is None and self.sender.send_now(b"".join(map(text_frame, messages)))

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109  (its expiry ends the connection, too)
        """Ping the peer and wait for the pong, while another task receives. Not for two tasks at once.

        A peer whose messages are still being answered after `timeout` seconds counts as alive: its pong may
        be behind them.

        Raises `Disconnected` if none comes within `timeout` seconds; the connection is then aborted.
        """
        payload, sent = secrets.token_bytes(_PING_BYTES), False
        with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
            try:
                if self._end is None:
                    self._pinged = payload
                    if not self.sender.send_now(ping_frame(payload)):
                        await self.sender.send(b"")
                    sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise self._disconnected() from None
            while self._end is None and self._pinged is payload:
                await self._changed.park()
        if self._end is None and scope.cancelled_caught:
            # What arrived while other tasks kept the loop busy is read first.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            if self._pinged is payload and (self._waits_for_peer or not sent):
                self._abort(_End(ABNORMAL, f"No pong within {timeout:g} s."))
        if self._end is not None:
            raise self._disconnected()

    async def close(
        self,
        code: int = NORMAL,
        reason: str = "",
        *,
        timeout: float | None = None,  # noqa: ASYNC109  (its expiry ends the connection, too)
    ) -> None:
        """Send a close frame, wait for the peer's, and end the connection, all within `timeout` seconds.

        Not while another task receives. Shielded from cancellation for that long. Messages not yet received
        are dropped. If the peer does not answer in time, the connection is aborted. Closing twice has no
        effect.
        """
        seconds = self._close_seconds if timeout is None else timeout
        with trio.move_on_after(seconds, shield=True) as scope:
            if await self._say_close(_End(code, reason)):
                with suppress(Disconnected):
                    await self.receive()
        if scope.cancelled_caught:
            self.abort()

    async def leave(self, code: int, reason: str = "") -> None:
        """Send a close frame without waiting for the peer's. Bounded by `close_seconds`."""
        with trio.move_on_after(self._close_seconds, shield=True) as scope:
            await self._say_close(_End(code, reason))
        if scope.cancelled_caught:
            self.abort()

    def abort(self) -> None:
        """End the connection at once, without a close frame.

        A send or ping in progress raises `Disconnected`, and so does what is called later. The socket is
        closed on leaving the block of `accept_websocket`.
        """
        self._abort(_End(ABNORMAL, "The connection was aborted."))

    def _abort(self, end: _End) -> None:
        self._readable = False
        self._remember(end)
        self.sender.abort()

    def _remember(self, end: _End) -> None:
        if self._end is None:
            self._end = end
        self._changed.wake()

    @property
    def close_code(self) -> int:
        """The code that it ended with; 1006 if there was no close frame, or none yet."""
        return ABNORMAL if self._end is None else self._end.code

    def _disconnected(self) -> Disconnected:
        return Disconnected(*(self._end or _End(ABNORMAL)))

    async def _say_close(self, end: _End) -> bool:
        """Send a close frame with the code of the end; returns whether it was sent, now or before."""
        self._remember(end)
        code, reason = self._end or end
        if code == ABNORMAL:
            return False
        try:
            await self.sender.send_close(code, reason)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    # --- what is read ---

    def _feed(self, data: bytes | None) -> None:
        if data is not None:
            if not data:
                raise trio.BrokenResourceError("The peer left without a close frame.")
            self._frames.feed(data)

    async def _take_frame(self) -> str | bytes | None:
        """Take a frame that is not a whole text message; return the message that it completes, if any."""
        event = self._frames.take_frame()
        if isinstance(event, CloseConnection):
            await self._finish(_End(int(event.code), event.reason or ""))
        elif isinstance(event, Ping):
            await self.sender.send_reply(pong_frame(event.payload), seconds=_REPLY_SECONDS)
        elif isinstance(event, Pong):
            if event.payload == self._pinged:
                self._pinged = None
                self._changed.wake()
        else:
            return event
        return None

    async def _finish(self, end: _End) -> None:
        """Nothing more will be read: answer the peer's close at once, unless a send has to end before."""
        self._readable = False
        self._remember(end)
        if self.sender.busy:
            # `close` or `leave` will say it.
            return
        await self.leave(*end)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.sender.half_close()


def _end_after(error: Exception) -> _End:
    """Return the end that a read error leads to."""
    if isinstance(error, FrameError):
        return _End(error.code, error.reason)
    if isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError):
        return _End(ABNORMAL)
    log.error("Reading a WebSocket failed.", exc_info=error, extra={"event": "socket_read_failed"})
    return _End(INTERNAL_ERROR, "The server failed.")
