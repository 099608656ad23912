"""A very cheap WebSocket client, so that the server is measured.

It speaks what the servers under test use of RFC 6455: whole text frames, pings, closes.
"""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Final
from urllib.parse import urlsplit

from typing_extensions import override

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_MEDIUM, _LARGE = 126, 127
_HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """One whole frame of a client; the mask of zeros leaves the payload as it is."""
    size = len(payload)
    if size < _MEDIUM:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | _MEDIUM, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | _LARGE, size)
    return head + b"\0\0\0\0" + payload


class Socket(asyncio.Protocol):
    """One connection; subclasses handle messages."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.pings = 0
        self._transport: asyncio.Transport
        self._buffer = b""
        self._request = b""

    def on_message(self, payload: bytes) -> None:
        """Take one text message."""

    def on_closed(self) -> None:
        """The connection is over."""

    def send(self, ready: bytes) -> None:
        """Send a frame made by `frame`."""
        self._transport.write(ready)

    def close(self) -> None:
        """Close with a close frame."""
        if not self.closed:
            self._transport.write(frame(struct.pack("!H", 1000), _CLOSE))
            self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a stream's transport, not a datagram's
        self._transport.write(self._request)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed during the handshake"))
        self.on_closed()

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self.opened.done() and not self._take_head():
            return
        self._take_frames()

    def _take_head(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionError(head.partition(b"\r\n")[0].decode()))
            self._transport.abort()
            return False
        self._buffer = rest
        self.opened.set_result(None)
        return True

    def _take_frames(self) -> None:
        buffer, at = self._buffer, 0
        while (whole := _measure(buffer, at)) is not None:
            start, end = whole
            opcode = buffer[at] & 0xF
            if opcode == _TEXT:
                self.on_message(buffer[start:end])
            elif opcode == _PING:
                self.pings += 1
                self._transport.write(frame(buffer[start:end], _PONG))
            elif opcode == _CLOSE:
                self.close()
            at = end
        self._buffer = buffer[at:]

    async def connect(self, url: str, subprotocol: str | None = None) -> None:
        """Connect and wait for the answer to the handshake.

        Raises:
            OSError: Nobody listens, or the upgrade was refused.
        """
        parts = urlsplit(url)
        more = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        self._request = _HANDSHAKE.format(path=parts.path, host=parts.netloc, more=more).encode()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, parts.hostname or "", parts.port or 80)
        await self.opened


def _measure(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at a place begins and ends; None while it is not whole."""
    have = len(buffer) - at
    if have < 2:  # noqa: PLR2004 - the shortest head
        return None
    size, start = buffer[at + 1], at + 2
    if size == _MEDIUM:
        if have < 4:  # noqa: PLR2004 - the head with a length of two bytes
            return None
        size, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
    elif size == _LARGE:
        if have < 10:  # noqa: PLR2004 - the head with a length of eight bytes
            return None
        size, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
    end = start + size
    return (start, end) if end <= len(buffer) else None


def new_session(number: int) -> str:
    """A session id no other run has."""
    return f"b{os.getpid()}-{os.urandom(4).hex()}-{number}"
