"""Sending on a WebSocket: whole frames, one after the other, and none after a close frame."""

import struct
from enum import Enum, auto

import trio

from portfolio_trio.http import _at_once
from portfolio_trio.http._response import half_close, linger
from portfolio_trio.locks import Turn

_TEXT = 0x81
_CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
_MAX_SHORT_PAYLOAD = 125
_MAX_MEDIUM_PAYLOAD = 0xFFFF
_MAX_CLOSE_REASON = _MAX_SHORT_PAYLOAD - 2
# RFC 6455, section 7.4.1: stands for a close frame without a code, and is never sent.
NO_CODE = 1005
# A forceful close does not wait; this bounds the shield anyway.
_CLOSE_SECONDS = 1.0


def text_frame(message: str) -> bytes:
    """Return a whole text message as a server's frame (RFC 6455, section 5.2: final, not masked)."""
    payload = message.encode()
    size = len(payload)
    if size <= _MAX_SHORT_PAYLOAD:
        return struct.pack("!BB", _TEXT, size) + payload
    if size <= _MAX_MEDIUM_PAYLOAD:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def ping_frame(payload: bytes) -> bytes:
    """Return a ping of at most 125 bytes."""
    return struct.pack("!BB", _PING, len(payload)) + payload


def pong_frame(payload: bytes | bytearray) -> bytes:
    """Return the answer to a ping."""
    return struct.pack("!BB", _PONG, len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame; a reason longer than 123 bytes of UTF-8 is cut at a character boundary."""
    if code == NO_CODE:
        return struct.pack("!BB", _CLOSE, 0)
    text = reason.encode()[:_MAX_CLOSE_REASON].decode(errors="ignore").encode()
    return struct.pack("!BBH", _CLOSE, 2 + len(text), code) + text


class Wire(Enum):
    """What may still be sent."""

    OPEN = auto()
    CLOSED = auto()
    """Nothing: a close frame was the last."""
    TORN = auto()
    """Nothing: a frame is half on the wire, or the connection was aborted."""


class FrameSender:
    """Sends frames; any task may call it.

    Sends take turns. If one does not finish, it leaves a partial frame, and nothing more is sent.
    """

    __slots__ = ("_rest", "_sending", "_stream", "_turn", "_wire")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._wire = Wire.OPEN
        # What `send_now` could not send; it goes out before the next frames.
        self._rest = b""
        self._turn = Turn()
        self._sending: trio.CancelScope | None = None

    @property
    def busy(self) -> bool:
        """Whether a frame is being sent."""
        return self._turn.taken

    def send_now(self, frames: bytes) -> bool:
        """Send frames without waiting; return whether all of them were sent.

        The rest goes out with the next `send`, before its own frames; call it with no frames if there are
        none. Only sockets without TLS accept frames in this way.
        """
        self._rest += frames
        # While another send is in progress, it is not known what may follow it.
        if self._turn.taken or self._wire is not Wire.OPEN:
            return False
        self._rest = self._rest[_at_once.write_now(self._stream, self._rest) :]
        return not self._rest

    async def send(self, frames: bytes) -> None:
        """Send frames in one piece.

        Raises ClosedResourceError after a close frame, BrokenResourceError if nothing more can be sent.
        """
        async with self._turn:
            if self._wire is Wire.CLOSED:
                raise trio.ClosedResourceError
            await self._send(frames, then=Wire.OPEN)

    async def send_reply(self, frame: bytes, *, seconds: float) -> None:
        """Send a frame that answers the peer's, unless a close frame was sent.

        Raises BrokenResourceError if the peer does not accept it within `seconds`; the connection is then
        aborted.
        """
        with trio.move_on_after(seconds) as scope:
            async with self._turn:
                if self._wire is not Wire.CLOSED:
                    await self._send(frame, then=Wire.OPEN)
        if scope.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError("The peer does not read.")

    async def send_close(self, code: int, reason: str) -> None:
        """Send a close frame, unless one was sent."""
        async with self._turn:
            if self._wire is not Wire.CLOSED:
                await self._send(close_frame(code, reason), then=Wire.CLOSED)

    async def _send(self, frames: bytes, *, then: Wire) -> None:
        if self._wire is Wire.OPEN:
            # A send cancelled before any byte was sent leaves no partial frame.
            await trio.lowlevel.checkpoint_if_cancelled()
            frames, self._rest = self._rest + frames, b""
            self._wire = Wire.TORN
            with trio.CancelScope() as self._sending:
                await self._stream.send_all(frames)
            if not self._sending.cancel_called:
                self._wire = then
            self._sending = None
        if self._wire is Wire.TORN:
            raise trio.BrokenResourceError("The connection was aborted.")

    def abort(self) -> None:
        """Abort the connection: a send in progress fails, and nothing more is sent."""
        self._wire = Wire.TORN
        if self._sending is not None:
            self._sending.cancel()

    async def half_close(self) -> None:
        """Half-close after the send in progress: tell the peer that nothing more follows."""
        async with self._turn:
            if self._wire is not Wire.TORN:
                self._wire = Wire.CLOSED
                await half_close(self._stream)

    async def linger(self, seconds: float) -> None:
        """Wait at most `seconds` for the peer to close, unless a partial frame was sent."""
        if self._wire is not Wire.TORN:
            await linger(self._stream, seconds=seconds)

    async def close(self) -> None:
        """Close the socket at once."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self._stream)
