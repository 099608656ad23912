"""The stream between the WebSocket library and the socket."""

import struct
from typing import TYPE_CHECKING

import trio
from typing_extensions import override

from portfolio_trio.http._frames import FrameCutter
from portfolio_trio.http._response import half_close, linger
from portfolio_trio.locks import Holding

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = 0x81
_CLOSE = 0x88
_MAX_SHORT_PAYLOAD = 125
_MAX_MEDIUM_PAYLOAD = 0xFFFF
_MAX_CLOSE_REASON = _MAX_SHORT_PAYLOAD - 2
# A forceful close does not wait; this bounds the shield all the same.
_CLOSE_SECONDS = 1.0
# Parsing one costs some 25 us; a peer's next ones wait until the others have had their turn.
_FRAMES_AT_ONCE = 8


def text_frame(message: str) -> bytes:
    """Return a whole text message as a server's frame (RFC 6455, section 5.2: final, not masked)."""
    payload = message.encode()
    size = len(payload)
    if size <= _MAX_SHORT_PAYLOAD:
        return struct.pack("!BB", _TEXT, size) + payload
    if size <= _MAX_MEDIUM_PAYLOAD:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; a reason beyond 123 bytes of UTF-8 is cut at a character."""
    text = reason.encode()[:_MAX_CLOSE_REASON].decode(errors="ignore").encode()
    return struct.pack("!BBH", _CLOSE, 2 + len(text), code) + text


class FrameStream(trio.abc.Stream):
    """What the WebSocket library gets instead of the socket, and what this package sends frames through.

    - Sends take turns. One that does not finish leaves a torn frame behind, after which nothing more is sent.
    - After a close frame no other frame leaves: the library's are dropped, so that a ping during the closing
      handshake is no error.
    - What was read is handed out in pieces of few frames with a checkpoint in between, since a small read can
      hold more than a thousand empty ones.
    - `aclose` only ends reading and sending; the socket is closed by its owner with `close`.
    """

    __slots__ = (
        "_aborted",
        "_closed",
        "_cutter",
        "_half_sent",
        "_reply_seconds",
        "_sending",
        "_stream",
        "_turn",
        "_unparsed",
        "before_read",
        "close_sent",
        "on_frames",
    )

    def __init__(self, stream: trio.abc.Stream, *, reply_seconds: float, behind: bytes = b"") -> None:
        self.close_sent = False
        self.before_read: Callable[[], None] | None = None
        self.on_frames: Callable[[int], None] | None = None
        """Told how many frames that are no message by themselves have come; may raise to end the reading."""
        self._unparsed = behind
        self._cutter = FrameCutter()
        self._stream = stream
        self._reply_seconds = reply_seconds
        self._half_sent = False
        self._aborted = False
        self._turn = trio.Lock()
        self._sending: trio.CancelScope | None = None
        self._closed = False

    @property
    def torn(self) -> bool:
        """Whether nothing more can be sent: a frame is half on the wire, or the connection was aborted."""
        return self._half_sent or self._aborted

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next few frames for the library; at most `max_bytes` are read at once."""
        if self._closed:
            raise trio.ClosedResourceError
        if self.before_read is not None:
            self.before_read()
        if self._unparsed:
            await trio.lowlevel.checkpoint()
        else:
            self._unparsed = bytes(await self._stream.receive_some(max_bytes))
        size, extra = self._cutter.cut(self._unparsed, most=_FRAMES_AT_ONCE)
        piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
        if extra and self.on_frames is not None:
            self.on_frames(extra)
        return piece

    @override
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send one frame of the library's.

        Nobody else bounds these, so a peer that does not take one within `reply_seconds` is given up.
        """
        with trio.move_on_after(self._reply_seconds) as scope:
            await self._send_reply(data)
        if scope.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError("The peer does not read.")

    async def _send_reply(self, data: bytes | bytearray | memoryview) -> None:
        async with self._turn:
            if self._closed:
                raise trio.ClosedResourceError
            if self.close_sent:
                return
            self.close_sent = bytes(data[:1]) == bytes((_CLOSE,))
            await self._send(data)

    async def send_frames(self, frames: bytes) -> None:
        """Send whole frames in one piece. Raises ClosedResourceError once a close frame was sent."""
        async with Holding(self._turn):
            if self._closed or self.close_sent:
                raise trio.ClosedResourceError
            await self._send(frames)

    async def send_close(self, code: int, reason: str) -> None:
        """Send a close frame unless one was sent."""
        async with self._turn:
            if not self.close_sent:
                self.close_sent = True
                await self._send(close_frame(code, reason))

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        if not self.torn:
            self._half_sent = True
            with trio.CancelScope() as self._sending:
                await self._stream.send_all(data)
                self._half_sent = False
            self._sending = None
        if self.torn:
            raise trio.BrokenResourceError("The connection was aborted.")

    def abort(self) -> None:
        """Give the connection up: a send under way fails, and nothing more is sent."""
        self._aborted = True
        if self._sending is not None:
            self._sending.cancel()

    async def half_close(self) -> None:
        """Tell the peer that nothing more comes, after what is being sent."""
        async with self._turn:
            if not self.torn:
                await half_close(self._stream)

    @override
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket might take more."""
        await self._stream.wait_send_all_might_not_block()

    @override
    async def aclose(self) -> None:
        """End the library's use of the stream."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    async def linger(self, seconds: float) -> None:
        """Wait at most `seconds` for the peer to close, unless a frame is torn."""
        if not self.torn:
            await linger(self._stream, seconds=seconds)

    async def close(self) -> None:
        """Close the socket at once."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self._stream)
