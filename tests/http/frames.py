"""A WebSocket client's bytes, made by hand so that they can be wrong, and a strict reader of a server's."""

import base64
import hashlib
import struct
from dataclasses import dataclass

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
KEY = base64.b64encode(bytes(range(16)))
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324  (RFC 6455 says SHA-1)
MASK = b"\x37\xfa\x21\x3d"

HANDSHAKE = {
    b"Host": b"localhost",
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
}


def head(
    target: bytes = b"/ws/session",
    *,
    method: bytes = b"GET",
    version: bytes = b"1.1",
    **changes: bytes | None,
) -> bytes:
    """Return an upgrade's head; keywords set headers (`sec_websocket_key=...`), None leaves one out."""
    headers = {name.lower(): value for name, value in HANDSHAKE.items()}
    lines = [method + b" " + target + b" HTTP/" + version]
    for name, value in changes.items():
        key = name.replace("_", "-").encode()
        headers.pop(key, None)
        if value is not None:
            headers[key] = value
    lines += [name + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", b""])


def plain_head(target: bytes, *, method: bytes = b"GET", **headers: bytes) -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: localhost"]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", b""])


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    masked: bool = True,
    reserved: int = 0,
    claimed: int | None = None,
) -> bytes:
    """Return one client frame; `claimed` is a length that need not be the payload's."""
    size = len(payload) if claimed is None else claimed
    mask_bit = 0x80 if masked else 0
    first = (0x80 if final else 0) | reserved << 4 | opcode
    if size <= 125:
        start = struct.pack("!BB", first, mask_bit | size)
    elif size <= 0xFFFF:
        start = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        start = struct.pack("!BBQ", first, mask_bit | 127, size)
    if not masked:
        return start + payload
    return start + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_answer(data: bytes, *, head_only: bool = False) -> Answer:
    """Parse one whole HTTP answer; anything missing or left over is an AssertionError."""
    top, separator, body = data.partition(b"\r\n\r\n")
    assert separator, f"no HTTP answer: {data!r}"
    line, *header_lines = top.decode("latin-1").split("\r\n")
    version, status, _ = line.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = {name.lower(): value.strip() for name, value in (item.split(":", 1) for item in header_lines)}
    if status == "304":
        assert not body
        assert "content-length" not in headers
    elif status != "101":
        assert len(body) == (0 if head_only else int(headers["content-length"]))
    return Answer(int(status), headers, body)


@dataclass(frozen=True)
class Frame:
    """A frame that a server sent."""

    opcode: int
    payload: bytes

    @property
    def text(self) -> str:
        assert self.opcode == TEXT
        return self.payload.decode()

    @property
    def code(self) -> int:
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2])


def read_frame(data: bytes) -> tuple[Frame, bytes] | None:
    """Return the first frame and the rest, or None when it is not whole yet; AssertionError if broken."""
    if len(data) < 2:
        return None
    assert data[0] & 0xF0 == 0x80, f"not a final frame without reserved bits: {data[:16]!r}"
    opcode, size, start = data[0] & 0x0F, data[1], 2
    assert opcode in {TEXT, CLOSE, PING, PONG}, f"unknown opcode: {data[:16]!r}"
    assert size < 0x80, "a server's frames are not masked"
    if size == 126:
        size, start = int.from_bytes(data[2:4]), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10]), 10
    if len(data) < start + size:
        return None
    return Frame(opcode, data[start : start + size]), data[start + size :]


def read_frames(data: bytes) -> list[Frame]:
    """Parse a server's whole output behind the handshake; half a frame is an AssertionError."""
    frames = []
    while data:
        parsed = read_frame(data)
        assert parsed is not None, f"half a frame: {data[:32]!r}"
        frame_, data = parsed
        frames.append(frame_)
    return frames
