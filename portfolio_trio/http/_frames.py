"""Where frames begin in what a client sends, so that no client has many of them parsed at a stretch."""

_MASKED = 0x80
_SHORT = 0x7F
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4
_FIRST_BYTES = 2
# Final, and text or binary.
_WHOLE_MESSAGES = frozenset({0x81, 0x82})


class FrameCutter:
    """Cuts a stream of bytes into pieces of few frames (RFC 6455, section 5.2).

    It follows the frames' lengths and checks nothing: whether a frame may be as it is, its parser says.
    """

    __slots__ = ("_head", "_payload")

    def __init__(self) -> None:
        self._head = b""
        self._payload = 0

    def cut(self, data: bytes, *, most: int) -> tuple[int, int]:
        """Find a piece in which at most ``most`` frames begin.

        Returns:
            How many bytes it has, and how many of those frames are no message by themselves: control frames,
            and fragments.
        """
        at = frames = extra = 0
        while at < len(data):
            if self._payload:
                taken = min(self._payload, len(data) - at)
                self._payload -= taken
                at += taken
                continue
            if not self._head:
                if frames == most:
                    break
                frames += 1
                extra += data[at] not in _WHOLE_MESSAGES
            at += self._read_head(data, at)
        return at, extra

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
