"""Finding the ends of frames in a client's bytes."""

_MASKED = 0x80
_SHORT = 0x7F
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4
_FIRST_BYTES = 2
# Final, and text or binary.
_WHOLE_MESSAGES = frozenset({0x81, 0x82})


class FrameCutter:
    """Cuts a stream of bytes into frames (RFC 6455, section 5.2).

    It only follows the frames' lengths and validates nothing: that is the parser's task.
    """

    __slots__ = ("_head", "_payload")

    def __init__(self) -> None:
        self._head = b""
        self._payload = 0

    @property
    def between_frames(self) -> bool:
        """Whether all frames so far are complete."""
        return not self._head and not self._payload

    def cut(self, data: bytes, at: int) -> tuple[int, bool]:
        """Follow the frame that continues or begins at `at`, which is before the end.

        Returns:
            Where the frame or the data ends, and whether a control frame or a fragment begins there.
        """
        extra = self.between_frames and data[at] not in _WHOLE_MESSAGES
        while not self._payload:
            at += self._read_head(data, at)
            if at == len(data) or self.between_frames:
                return at, extra
        taken = min(self._payload, len(data) - at)
        self._payload -= taken
        return at + taken, extra

    def _read_head(self, data: bytes, at: int) -> int:
        """Take the available part of a frame's head; returns its number of bytes."""
        before = len(self._head)
        head = self._head + data[at : at + _FIRST_BYTES - before] if before < _FIRST_BYTES else self._head
        if len(head) >= _FIRST_BYTES:
            length_bytes = _LENGTH_BYTES.get(head[1] & _SHORT, 0)
            size = _FIRST_BYTES + length_bytes + (_MASK_BYTES if head[1] & _MASKED else 0)
            head += data[at + len(head) - before : at + size - before]
            if len(head) == size:
                self._head = b""
                long = head[_FIRST_BYTES : _FIRST_BYTES + length_bytes]
                self._payload = int.from_bytes(long) if length_bytes else head[1] & _SHORT
                return size - before
        self._head = head
        return len(head) - before
