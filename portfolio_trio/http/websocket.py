"""One accepted WebSocket, as the session uses it.

A separate task reads frames, answers pings and the peer's close, and queues messages. Every error ends here:
the peer gets a close code, the session gets `Disconnected`. Many text frames are written in one send; that
needs no shared state, because no extension (compression) is ever negotiated.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import trio
from wsproto.events import CloseConnection, Ping, Pong

from portfolio_trio.http._at_once import read_now, socket_of
from portfolio_trio.http._frame_reader import FrameError, FrameReader
from portfolio_trio.http._frame_sender import FrameSender, ping_frame, pong_frame, text_frame
from portfolio_trio.http._upgrade import Upgrade

log: Final = logging.getLogger(__name__)

NORMAL: Final = 1000
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011

# Small reads bound how much one peer can make the event loop parse at a time; requests are small.
_READ_BYTES: Final = 8_192
# More messages of one peer wait until the other tasks have had their turn.
_FRAMES_AT_ONCE: Final = 8
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


@asynccontextmanager
async def accept_websocket(
    upgrade: Upgrade,
    *,
    subprotocol: str | None = None,
    max_message_bytes: int = 65_536,
    queue_messages: int = 16,
    close_seconds: float = 5.0,
    grant_frame: Callable[[], bool] | None = None,
) -> AsyncGenerator["WebSocketTransport"]:
    """Accept the upgrade and yield its transport.

    A block that ends normally closes the WebSocket with 1000, one that raises with 1011, each within
    `close_seconds`. A cancelled block drops the connection immediately, so close first and then cancel. The
    block's exception is raised unchanged, not in a group.

    Args:
        upgrade: The client's handshake.
        subprotocol: The accepted one of `upgrade.subprotocols`, or None.
        max_message_bytes: Larger messages of the client close the WebSocket with 1009.
        queue_messages: How many messages may wait to be received before the socket is no longer read.
        close_seconds: The time limit of closing handshakes that have no other.
        grant_frame: Asked for each control frame and each fragment; if it says no, the WebSocket is closed
            with 1008.

    Raises `Disconnected` if the client leaves before it could be accepted.
    """
    answer = upgrade.acceptance(subprotocol)
    frames = FrameReader(max_bytes=max_message_bytes, grant_frame=grant_frame)
    frames.feed(upgrade.take())
    transport = WebSocketTransport(
        upgrade.stream,
        frames,
        subprotocol=subprotocol,
        queue_messages=queue_messages,
        close_seconds=close_seconds,
    )
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                await transport.open(nursery, answer)
                yield transport
                await transport.close(NORMAL, timeout=close_seconds)
            except Exception as error:  # noqa: BLE001  (raised again below, outside the nursery's group)
                failure = error
                if not isinstance(error, Disconnected):
                    await transport.leave(INTERNAL_ERROR, "The server failed.")
            # The reader's remaining answers to the peer are shielded.
            nursery.cancel_scope.cancel()
        await transport.sender.linger(upgrade.linger_seconds)
    except* trio.Cancelled:
        # A failure must not get lost when a cancellation overtakes it.
        if failure is None:
            raise
    finally:
        await transport.sender.close()
    if failure is not None:
        raise failure


class WebSocketTransport:
    """Whole messages in, batches of text messages out. Made by `accept_websocket`.

    Policy for messages that are not received: up to `queue_messages` of them wait; then the socket is not
    read until one is received, which slows down only this peer. Pings and closes of the peer are noticed as
    long as the queue is not full, so a session should always be receiving.

    How it ended is one value, `_end`, set once, by whichever comes first: the peer, an invalid frame,
    `close`, `leave` or `abort`. Everything that waits for the reader waits for `_changed` and checks again.
    """

    __slots__ = (
        "_changed",
        "_close_seconds",
        "_end",
        "_frames",
        "_messages",
        "_most_messages",
        "_pinged",
        "_reading",
        "_socket",
        "_stream",
        "sender",
        "subprotocol",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        frames: FrameReader,
        *,
        subprotocol: str | None,
        queue_messages: int,
        close_seconds: float,
    ) -> None:
        self.subprotocol = subprotocol
        """The accepted subprotocol; None if there is none."""
        self.sender = FrameSender(stream)
        self._stream = stream
        self._socket = socket_of(stream)
        self._frames = frames
        self._most_messages = queue_messages
        self._close_seconds = close_seconds
        # A list, not a deque: it is short, and an empty list takes a tenth of the memory.
        self._messages: list[str | bytes] = []
        self._pinged: bytes | None = None
        self._end: _End | None = None
        self._reading = True
        self._changed = trio.lowlevel.ParkingLot()

    async def open(self, nursery: trio.Nursery, answer: bytes) -> None:
        """Send the accepting answer and start reading; called by `accept_websocket`."""
        try:
            with trio.fail_after(_ACCEPT_SECONDS):
                await self.sender.send(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            raise Disconnected(ABNORMAL, "The client left during the handshake.") from None
        nursery.start_soon(self._read)

    async def receive(self) -> str | bytes:
        """Return the peer's next message: text frames as str, binary ones as bytes.

        Raises `Disconnected` if the peer has closed or is gone, and after `close` or `abort`. A message
        longer than the limit is answered with close code 1009.
        """
        if self._messages:
            # Other tasks get their turn even while messages keep coming.
            await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._end is not None:
                raise self._disconnected()
            await self._changed.park()
        message = self._messages.pop(0)
        if len(self._messages) == self._most_messages - 1:
            self._changed.unpark_all()
        return message

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
        """Ping the peer and wait for the pong. Not for two tasks at once.

        Raises `Disconnected` if none comes within `timeout` seconds; the connection is then aborted.
        """
        payload = secrets.token_bytes(_PING_BYTES)
        with trio.move_on_after(timeout) as scope:
            try:
                if self._end is None:
                    self._pinged = payload
                    await self.sender.send(ping_frame(payload))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise self._disconnected() from None
            while self._end is None and self._pinged is payload:
                await self._changed.park()
        if self._end is None and scope.cancelled_caught:
            self._abort(_End(ABNORMAL, f"No pong within {timeout:g} s."))
        if self._end is not None:
            raise self._disconnected()

    async def close(
        self,
        code: int = NORMAL,
        reason: str = "",
        *,
        timeout: float = 5.0,  # noqa: ASYNC109  (its expiry ends the connection, too)
    ) -> None:
        """Send a close frame, wait for the peer's, and end the connection, all within `timeout` seconds.

        Shielded from cancellation for that long. Messages not yet received are dropped. If the peer does not
        answer in time, the connection is aborted. Closing twice has no effect.
        """
        with trio.move_on_after(timeout, shield=True) as scope:
            if await self._say_close(_End(code, reason)):
                while self._reading:
                    await self._changed.park()
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

        A send, receive or ping in progress raises `Disconnected`. The socket is closed on leaving the block
        of `accept_websocket`.
        """
        self._abort(_End(ABNORMAL, "The connection was aborted."))

    def _abort(self, end: _End) -> None:
        self._end_here(end)
        self.sender.abort()

    def _end_here(self, end: _End) -> None:
        """End it from this side: messages not yet received are dropped, and so are later ones."""
        self._messages.clear()
        self._remember(end)

    def _remember(self, end: _End) -> None:
        if self._end is None:
            self._end = end
        self._changed.unpark_all()

    @property
    def close_code(self) -> int:
        """The code that it ended with; 1006 if there was no close frame, or none yet."""
        return ABNORMAL if self._end is None else self._end.code

    def _disconnected(self) -> Disconnected:
        return Disconnected(*(self._end or _End(ABNORMAL)))

    async def _say_close(self, end: _End) -> bool:
        """Send a close frame with the code of the end; returns whether it was sent, now or before."""
        self._end_here(end)
        try:
            await self.sender.send_close(*(self._end or end))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    # --- the reader ---

    async def _read(self) -> None:
        """Read until the WebSocket is over: no exception gets out, and the peer gets its close code."""
        try:
            end = await self._read_to_end()
        except Exception as error:  # noqa: BLE001  (whatever one peer provokes ends that peer only)
            end = _end_after(error)
        finally:
            self._reading = False
            self._changed.unpark_all()
        self._remember(end)
        with (
            trio.move_on_after(self._close_seconds, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if end.code != ABNORMAL:
                await self.sender.send_close(*(self._end or end))
            await self.sender.half_close()

    async def _read_to_end(self) -> _End:
        while True:
            taken = 0
            while self._frames.unread:
                if taken == _FRAMES_AT_ONCE:
                    taken = 0
                    await trio.lowlevel.checkpoint()
                taken += 1
                text = self._frames.take_text()
                if text is not None:
                    await self._queue(text)
                    continue
                for event in self._frames.take_frame():
                    if isinstance(event, CloseConnection):
                        return _End(int(event.code), event.reason or "")
                    await self._handle(event)
            if self._socket is None:
                data: bytes | None = bytes(await self._stream.receive_some(_READ_BYTES))
            else:
                await trio.lowlevel.wait_readable(self._socket)
                data = read_now(self._socket, _READ_BYTES)
            if data is not None:
                if not data:
                    return _End(ABNORMAL)
                self._frames.feed(data)
                del data

    async def _handle(self, event: str | bytes | Ping | Pong) -> None:
        if isinstance(event, Ping):
            await self.sender.send_reply(pong_frame(event.payload), seconds=_REPLY_SECONDS)
        elif isinstance(event, Pong):
            if event.payload == self._pinged:
                self._pinged = None
                self._changed.unpark_all()
        else:
            await self._queue(event)

    async def _queue(self, message: str | bytes) -> None:
        while len(self._messages) >= self._most_messages and self._end is None:
            await self._changed.park()
        if self._end is None:
            self._messages.append(message)
            self._changed.unpark_all()


def _end_after(error: Exception) -> _End:
    """Return the end that a read error leads to."""
    if isinstance(error, FrameError):
        return _End(error.code, error.reason)
    if isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError):
        return _End(ABNORMAL)
    log.error("Reading a WebSocket failed.", exc_info=error, extra={"event": "socket_read_failed"})
    return _End(INTERNAL_ERROR, "The server failed.")
