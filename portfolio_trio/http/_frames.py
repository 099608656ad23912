"""Where frames end in what a client sends."""

_MASKED = 0x80
_SHORT = 0x7F
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4
_FIRST_BYTES = 2
# Final, and text or binary.
_WHOLE_MESSAGES = frozenset({0x81, 0x82})


class FrameCutter:
    """Cuts a stream of bytes into frames (RFC 6455, section 5.2).

    It follows the frames' lengths and checks nothing: whether a frame may be as it is, its parser says.
    """

    __slots__ = ("_head", "_payload")

    def __init__(self) -> None:
        self._head = b""
        self._payload = 0

    @property
    def between_frames(self) -> bool:
        """Whether all frames that have begun are whole."""
        return not self._head and not self._payload

    def cut(self, data: bytes, at: int) -> tuple[int, bool]:
        """Follow the frame that goes on or begins at `at`, which is before the end.

        Returns:
            Where it ends, or the data does, and whether a frame begins that is no message by itself: a
            control frame, or a fragment.
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
        """Take what there is of a head; how many bytes those are."""
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
