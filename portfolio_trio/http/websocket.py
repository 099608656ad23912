"""One accepted WebSocket as the session uses it.

trio-websocket parses and answers the peer's frames in a task of its own. Whatever that task raises ends here:
the peer gets a close code, the session gets `Disconnected`. Text frames are written by this package itself,
many in one send; that needs no shared state, since no extension (compression) is ever negotiated.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
import trio_websocket
from wsproto.utilities import ProtocolError

from portfolio_trio.http._frame_stream import FrameStream, text_frame
from portfolio_trio.http._library import fragments_of, open_library, reader_of
from portfolio_trio.http._upgrade import Upgrade

logger = logging.getLogger(__name__)

NORMAL = 1000
PROTOCOL_ERROR = 1002
ABNORMAL = 1006
NOT_UTF8 = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011

# Small reads bound what one peer can make the event loop parse at a stretch; requests are small.
_READ_BYTES = 8_192
_ACCEPT_SECONDS = 10.0
_REPLY_SECONDS = 30.0


class Disconnected(Exception):  # noqa: N818  (the usual end of a connection, not a fault)
    """The WebSocket is over.

    `code` and `reason` are those of the close frame that ended it, whichever side sent it; 1005 for a frame
    without a code, 1006 where there was no close frame.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _TooManyFragments(Exception):  # noqa: N818  (never leaves this module)
    """A message came in more fragments than it may have bytes."""


class _TooManyFrames(Exception):  # noqa: N818  (never leaves this module)
    """Control frames and fragments came faster than they may."""


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
    `close_seconds`; a cancelled one drops the connection at once, so close first and cancel then. The block's
    exception comes out as it is, not in a group.

    Args:
        upgrade: The client's handshake.
        subprotocol: The one to speak, out of `upgrade.subprotocols`, or None.
        max_message_bytes: Larger messages of the client close the WebSocket with 1009.
        queue_messages: How many messages wait to be received before the socket is left unread.
        close_seconds: The bound of every closing handshake that nobody else bounds.
        grant_frame: Asked for each frame that is no message by itself, a control frame or a fragment; where
            it says no, the WebSocket is closed with 1008.

    Raises `Disconnected` when the client is gone before it could be accepted.
    """
    answer = upgrade.acceptance(subprotocol)
    stream = FrameStream(upgrade.stream, reply_seconds=_REPLY_SECONDS, behind=upgrade.take())
    library = open_library(
        stream,
        behind=b"",
        queue_messages=queue_messages,
        # Characters are never fewer than a quarter of the bytes. receive() counts bytes.
        max_characters=max_message_bytes,
        read_bytes=_READ_BYTES,
    )
    if grant_frame is not None:
        stream.on_frames = partial(_count_frames, grant_frame)
    transport = WebSocketTransport(stream, library, subprotocol, max_message_bytes, close_seconds)
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
            transport.stop()
        await stream.linger(upgrade.linger_seconds)
    except* trio.Cancelled:
        # A failure must not get lost in the cancellation that overtook it.
        if failure is None:
            raise
    finally:
        await stream.close()
    if failure is not None:
        raise failure


class WebSocketTransport:
    """Whole messages in, batches of text messages out. Made by `accept_websocket`.

    Policy for messages that nobody receives: up to `queue_messages` of them wait; then the socket is not
    read until one is received, which slows down this peer alone. The peer's pings and closes are noticed as
    long as the queue is not full, so a session should always be receiving.
    """

    __slots__ = (
        "_close_seconds",
        "_library",
        "_max_bytes",
        "_over",
        "_pinging",
        "_reading",
        "_stream",
        "_verdict",
        "subprotocol",
    )

    def __init__(
        self,
        stream: FrameStream,
        library: trio_websocket.WebSocketConnection,
        subprotocol: str | None,
        max_bytes: int,
        close_seconds: float,
    ) -> None:
        self.subprotocol = subprotocol
        """What was accepted; None where the client speaks none."""
        self._stream = stream
        self._library = library
        self._max_bytes = max_bytes
        self._close_seconds = close_seconds
        self._reading = trio.CancelScope()
        self._pinging: trio.CancelScope | None = None
        self._over = trio.Event()
        self._verdict: tuple[int, str] | None = None
        stream.before_read = self._check_fragments

    async def open(self, nursery: trio.Nursery, answer: bytes) -> None:
        """Send the accepting answer and start to read; called by `accept_websocket`."""
        try:
            with trio.fail_after(_ACCEPT_SECONDS):
                await self._stream.send_frames(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            raise Disconnected(ABNORMAL, "The client left during the handshake.") from None
        nursery.start_soon(self._read)

    async def receive(self) -> str | bytes:
        """Return the peer's next message: text frames as str, binary ones as bytes.

        Raises `Disconnected` when the peer has closed or is gone, and after `close` or `abort`. A message
        above the limit in bytes is answered with close code 1009.
        """
        message = await self._next_message()
        if self._verdict is not None:
            raise self._disconnected()
        if _byte_length(message) > self._max_bytes:
            await self.leave(TOO_BIG, f"A message is limited to {self._max_bytes} bytes.")
            raise self._disconnected()
        return message

    async def send(self, messages: Sequence[str]) -> None:
        """Send text messages, all of them in one send of the stream.

        Blocks while the peer does not read: put a deadline round it, and when that strikes the connection is
        as good as gone, since half a frame may be on the wire. Nothing is ever sent behind half a frame. Not
        for two tasks at once.

        Raises `Disconnected` when the peer has closed or is gone.
        """
        frames = b"".join(map(text_frame, messages))
        try:
            await self._stream.send_frames(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._disconnected() from None

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109  (its expiry ends the connection, too)
        """Ping the peer and wait for the pong.

        Raises `Disconnected` when none comes within `timeout` seconds; the connection is aborted then.
        """
        if self._over.is_set() or self._verdict is not None:
            raise self._disconnected()
        with trio.move_on_after(timeout) as self._pinging:
            try:
                await self._library.ping()
            except (trio_websocket.ConnectionClosed, ProtocolError):
                raise self._disconnected() from None
            else:
                return
        if not self._over.is_set():
            self._judge(ABNORMAL, f"No pong within {timeout:g} s.")
            self.abort()
        raise self._disconnected()

    async def close(
        self,
        code: int = NORMAL,
        reason: str = "",
        *,
        timeout: float = 5.0,  # noqa: ASYNC109  (its expiry ends the connection, too)
    ) -> None:
        """Send a close frame, wait for the peer's, and end the connection, all within `timeout` seconds.

        Shielded from cancellation for that long. Messages that were not received yet are dropped. A peer that
        does not answer in time is aborted. Closing twice is fine.
        """
        with trio.move_on_after(timeout, shield=True) as scope, suppress(Disconnected):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._say_close(code, reason)
            while True:
                await self._next_message()
        if scope.cancelled_caught:
            self.abort()

    async def leave(self, code: int, reason: str = "") -> None:
        """Send a close frame without waiting for the peer's. Bounded by `close_seconds`."""
        with (
            trio.move_on_after(self._close_seconds, shield=True) as scope,
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self._say_close(code, reason)
        if scope.cancelled_caught:
            self.abort()

    def stop(self) -> None:
        """Stop reading; what the peer is owed is still sent. Called by `accept_websocket`."""
        self._reading.cancel()

    def abort(self) -> None:
        """End the connection at once, without a close frame.

        A send, receive or ping under way raises `Disconnected`. The socket is closed on leaving the block of
        `accept_websocket`.
        """
        self._judge(ABNORMAL, "The connection was aborted.")
        self._stream.abort()
        self.stop()

    async def _next_message(self) -> str | bytes:
        try:
            return await self._library.get_message()
        except trio_websocket.ConnectionClosed:
            if self._verdict is None:
                # The reader is on its way out; what it has to say to the peer goes first.
                await self._over.wait()
            raise self._disconnected() from None

    async def _say_close(self, code: int, reason: str) -> None:
        if not self._stream.close_sent:
            # A broken frame may have come meanwhile, and its code goes before any other.
            code, reason = self._library_verdict() or (code, reason)
            self._judge(code, reason)
            await self._stream.send_close(code, reason)

    def _judge(self, code: int, reason: str) -> None:
        """Remember how the connection ended; the first word counts."""
        if self._verdict is None and self._library.closed is None:
            self._verdict = code, reason

    def _disconnected(self) -> Disconnected:
        if self._verdict is not None:
            return Disconnected(*self._verdict)
        closed = self._library.closed
        return (
            Disconnected(ABNORMAL) if closed is None else Disconnected(int(closed.code), closed.reason or "")
        )

    async def _read(self) -> None:
        """Run the library's reader: nothing it raises gets out, and the peer gets the code it is owed."""
        owed: tuple[int, str] | None = None
        try:
            with self._reading:
                await reader_of(self._library)()
        except Exception as error:  # noqa: BLE001  (whatever one peer provokes ends that peer only)
            owed = _blame(error)
            self._judge(*owed)
        finally:
            self._over.set()
            if self._pinging is not None:
                self._pinging.cancel()
        await self._say_goodbye(owed or self._library_verdict())

    def _library_verdict(self) -> tuple[int, str] | None:
        """Return the close code for a broken frame: the library only drops the connection then."""
        closed = self._library.closed
        if closed is None or closed.code not in {PROTOCOL_ERROR, NOT_UTF8}:
            return None
        reason = "Text must be UTF-8." if closed.code == NOT_UTF8 else closed.reason
        return int(closed.code), reason or ""

    async def _say_goodbye(self, owed: tuple[int, str] | None) -> None:
        with (
            trio.move_on_after(self._close_seconds, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if owed is not None:
                await self._say_close(*owed)
            await self._stream.half_close()

    def _check_fragments(self) -> None:
        # The library counts characters only, so empty fragments would gather without end.
        if fragments_of(self._library) > self._max_bytes:
            raise _TooManyFragments


def _count_frames(grant: Callable[[], bool], count: int) -> None:
    if not all(grant() for _ in range(count)):
        raise _TooManyFrames


def _byte_length(message: str | bytes) -> int:
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode())


def _blame(error: Exception) -> tuple[int, str]:
    """Return the close code for what the library's reader raised."""
    if isinstance(error, _TooManyFragments):
        return TOO_BIG, "The message has too many fragments."
    if isinstance(error, _TooManyFrames):
        return POLICY, "rate_limited: too many control frames and fragments"
    if isinstance(error, ProtocolError | trio_websocket.ConnectionClosed):
        return PROTOCOL_ERROR, "A frame came that does not belong there."
    logger.error("Reading a WebSocket failed.", exc_info=error)
    return INTERNAL_ERROR, "The server failed."
