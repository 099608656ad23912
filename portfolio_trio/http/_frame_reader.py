"""What comes in on a WebSocket: frames as messages, pings, pongs and the close (RFC 6455, section 5).

Nearly all that clients of this server send are text messages of one whole frame. These are read here,
straight from the bytes. Everything else is wsproto's business: fragments, control frames, binary messages,
frames that have not arrived whole, and whatever is wrong. Its parser is made for them and let go behind
them, so that an idle connection holds none.
"""

from collections.abc import Callable, Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from portfolio_trio.http._frames import FrameCutter

_TEXT = 0x81
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
    """What came ends the WebSocket.

    Attributes:
        code: The close code that it is answered with.
        reason: What the peer is told.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Reads frames from bytes; does no I/O.

    `feed` it what has been read, then `take_text` and else `take_frame` while there is something `unread`.

    Args:
        max_bytes: Larger messages are refused.
        grant_frame: Asked for each frame that is no message by itself, a control frame or a fragment.
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
        """Take what has come; all that came before has been taken."""
        self._data, self._at = data, 0

    def take_text(self) -> str | None:
        """Take the next frame if it is a whole text message; None, and nothing is taken, if it is not."""
        data, at = self._data, self._at
        if self._parser is not None or data[at] != _TEXT or len(data) < at + _SHORT_HEAD:
            return None
        size = data[at + 1] ^ _MASKED
        start = at + _SHORT_HEAD
        if size == _MEDIUM:
            size, start = int.from_bytes(data[at + 2 : at + 4]), at + _MEDIUM_HEAD
            if size <= _MAX_SHORT_PAYLOAD:
                return None
        elif size > _MAX_SHORT_PAYLOAD:
            # Not masked, or so long that it has not arrived in one piece.
            return None
        end = start + size
        if end > len(data) or size > self._max_bytes:
            return None
        try:
            text = _unmask(data[start - _MASK_BYTES : start], data[start:end]).decode()
        except UnicodeDecodeError:
            return None
        self._advance(end)
        return text

    def take_frame(self) -> Iterator[Event]:
        """Take the next frame, or what there is of it, and say what it means.

        Raises `FrameError`; nothing can be taken after it, nor after a close.
        """
        if self._parser is None:
            self._parser = _Parser(self._max_bytes)
        end, extra = self._parser.cutter.cut(self._data, self._at)
        if extra and self._grant is not None and not self._grant():
            raise FrameError(_POLICY, "rate_limited: too many control frames and fragments")
        piece = self._data[self._at : end]
        self._advance(end)
        yield from self._parser.parse(piece)
        if self._parser.between_messages and not self.unread:
            self._parser = None

    def _advance(self, end: int) -> None:
        if end < len(self._data):
            self._at = end
        else:
            self._data, self._at = b"", 0


class _Parser:
    """wsproto, frame by frame, and the message that it has seen a part of."""

    __slots__ = ("_connection", "_max_bytes", "_parts", "_size", "cutter")

    def __init__(self, max_bytes: int) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self.cutter = FrameCutter()
        self._max_bytes = max_bytes
        self._parts: list[str | bytes] = []
        self._size = 0

    @property
    def between_messages(self) -> bool:
        """Whether nothing would be lost with it."""
        return self.cutter.between_frames and not self._parts

    def parse(self, piece: bytes) -> Iterator[Event]:
        """Say what one frame means, or a piece of one."""
        self._connection.receive_data(piece)
        for event in self._connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                yield from self._collect(event)
            elif isinstance(event, Ping | Pong):
                yield event
            elif isinstance(event, CloseConnection):
                if self._connection.state is ConnectionState.OPEN:
                    # Not the peer's: wsproto's verdict on a broken frame.
                    raise FrameError(event.code, _REASONS.get(event.code) or event.reason or "")
                yield event
                return

    def _collect(self, event: TextMessage | BytesMessage) -> Iterator[str | bytes]:
        part = event.data if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(part)
        self._size += len(part) if isinstance(part, bytes) else len(part.encode())
        if self._size > self._max_bytes:
            raise FrameError(_TOO_BIG, f"A message is limited to {self._max_bytes} bytes.")
        if event.message_finished:
            parts, self._parts, self._size = self._parts, [], 0
            yield _joined(parts)
        elif len(self._parts) > self._max_bytes:
            # Empty fragments would gather without end.
            raise FrameError(_TOO_BIG, "The message has too many fragments.")


def _joined(parts: list[str | bytes]) -> str | bytes:
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes))


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """RFC 6455, section 5.3, on all bytes at once."""
    size = len(payload)
    key = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(key) ^ int.from_bytes(payload)).to_bytes(size)
