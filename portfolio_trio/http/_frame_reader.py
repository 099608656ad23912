"""Receiving on a WebSocket: frames as messages, pings, pongs and the close (RFC 6455, section 5).

Nearly everything that clients of this server send is a text message in one complete frame, or the answer to a
ping. Those are decoded here, directly from the bytes. Everything else goes to wsproto: fragments, other
control frames, binary messages, incomplete frames, and invalid ones. Its parser is created for them and
dropped afterwards, so that an idle connection has none.
"""

from collections.abc import Callable

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from portfolio_trio.http._frames import FrameCutter

_TEXT = 0x81
_PONG = 0x8A
_MASKED = 0x80
_MAX_SHORT_PAYLOAD = 125
_MEDIUM = 126
_SHORT_HEAD = 6
_MEDIUM_HEAD = 8
_MASK_BYTES = 4
_NOT_UTF8 = 1007
_POLICY = 1008
_TOO_BIG = 1009
_REASONS = {_NOT_UTF8: "Text must be UTF-8."}

# A message, a control frame, or the peer's close.
Event = str | bytes | Ping | Pong | CloseConnection


class FrameError(Exception):
    """The input ends the WebSocket.

    Attributes:
        code: The close code to answer with.
        reason: The reason for the peer.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Reads frames from bytes; does no I/O.

    `feed` it the bytes that were read; while any are `unread`, call `take_text`, and `take_frame` if that
    returns None.

    Args:
        max_bytes: Larger messages are refused.
        grant_frame: Asked for each control frame and each fragment.
    """

    __slots__ = ("_at", "_data", "_grant", "_max_bytes", "_parser")

    def __init__(self, *, max_bytes: int, grant_frame: Callable[[], bool] | None = None) -> None:
        self._max_bytes = max_bytes
        self._grant = grant_frame
        self._data = b""
        self._at = 0
        self._parser: _Parser | None = None

    @property
    def unread(self) -> bool:
        """Whether there is something to take."""
        return self._at < len(self._data)

    def feed(self, data: bytes) -> None:
        """Accept the bytes that were read; all earlier ones have been taken."""
        self._data, self._at = data, 0

    def take_text(self) -> str | None:
        """Take the next frame if it is a whole text message; None, and nothing is taken, if it is not."""
        whole = self._whole(_TEXT)
        if whole is None:
            return None
        payload, end = whole
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return None
        self._advance(end)
        return text

    def take_frame(self) -> Event | None:
        """Take the next frame, or the part that is there, and return its meaning.

        None if there is more to come before it means anything.

        Raises `FrameError`. Nothing can be taken after that, or after a close.
        """
        pong = self._whole(_PONG)
        if pong is not None:
            self._count_extra()
            payload, end = pong
            self._advance(end)
            return Pong(payload=payload)
        if self._parser is None:
            self._parser = _Parser(self._max_bytes)
        end, extra = self._parser.cutter.cut(self._data, self._at)
        if extra:
            self._count_extra()
        piece = self._data[self._at : end]
        self._advance(end)
        event = self._parser.parse(piece)
        if self._parser.between_messages and not self.unread:
            self._parser = None
        return event

    def _whole(self, first: int) -> tuple[bytes, int] | None:
        """The payload of the next frame and where it ends, if it begins with this byte and is all there.

        None also if it would need a parser to judge it, or if one is in the middle of a message.
        """
        data, at = self._data, self._at
        if self._parser is not None or data[at] != first or len(data) < at + _SHORT_HEAD:
            return None
        size = data[at + 1] ^ _MASKED
        start = at + _SHORT_HEAD
        if size == _MEDIUM and first == _TEXT:
            size, start = int.from_bytes(data[at + 2 : at + 4]), at + _MEDIUM_HEAD
            if size <= _MAX_SHORT_PAYLOAD:
                return None
        elif size > _MAX_SHORT_PAYLOAD:
            # Not masked, or too long to have arrived in one piece.
            return None
        end = start + size
        if end > len(data) or size > self._max_bytes:
            return None
        return _unmask(data[start - _MASK_BYTES : start], data[start:end]), end

    def _count_extra(self) -> None:
        """Count a control frame or a fragment."""
        if self._grant is not None and not self._grant():
            raise FrameError(_POLICY, "rate_limited: too many control frames and fragments")

    def _advance(self, end: int) -> None:
        if end < len(self._data):
            self._at = end
        else:
            self._data, self._at = b"", 0


class _Parser:
    """A wsproto parser, fed frame by frame, with its partial message."""

    __slots__ = ("_connection", "_max_bytes", "_parts", "_size", "cutter")

    def __init__(self, max_bytes: int) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self.cutter = FrameCutter()
        self._max_bytes = max_bytes
        self._parts: list[str | bytes] = []
        self._size = 0

    @property
    def between_messages(self) -> bool:
        """Whether it has no state that would be lost with it."""
        return self.cutter.between_frames and not self._parts

    def parse(self, piece: bytes) -> Event | None:
        """Return the meaning of one frame, which is at most one event, or of a part of one."""
        self._connection.receive_data(piece)
        found: Event | None = None
        for event in self._connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                found = self._collect(event)
            elif isinstance(event, Ping | Pong):
                found = event
            elif isinstance(event, CloseConnection):
                if self._connection.state is ConnectionState.OPEN:
                    # This close does not come from the peer: it is wsproto's verdict on an invalid frame.
                    raise FrameError(event.code, _REASONS.get(event.code) or event.reason or "")
                return event
        return found

    def _collect(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        part = event.data if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(part)
        self._size += len(part) if isinstance(part, bytes) else len(part.encode())
        if self._size > self._max_bytes:
            raise FrameError(_TOO_BIG, f"A message is limited to {self._max_bytes} bytes.")
        if event.message_finished:
            parts, self._parts, self._size = self._parts, [], 0
            return _joined(parts)
        if len(self._parts) > self._max_bytes:
            # Empty fragments would accumulate without limit.
            raise FrameError(_TOO_BIG, "The message has too many fragments.")
        return None


def _joined(parts: list[str | bytes]) -> str | bytes:
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes))


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """Unmask (RFC 6455, section 5.3), all bytes at once."""
    size = len(payload)
    key = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(key) ^ int.from_bytes(payload)).to_bytes(size)
