"""The close code for an invalid frame, whatever the session does meanwhile."""

from __future__ import annotations

import struct

import pytest
import trio
from trio.testing import memory_stream_pair

from portfolio_trio.http import HttpServer
from tests.http.echo import echo
from tests.support.streams import read_to_end

HANDSHAKE = (
    b"GET /ws/s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(first_byte: int, payload: bytes = b"") -> bytes:
    """A client's frame; the mask of zeros leaves the payload as it is."""
    return bytes([first_byte, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.trio
@pytest.mark.parametrize("first_byte", [0xB1, 0x83, 0x8B], ids=["reserved bits", "opcode 3", "opcode 11"])
async def test_a_broken_frame_behind_a_message_closes_with_1002(
    nursery: trio.Nursery, first_byte: int
) -> None:
    ours, theirs = memory_stream_pair()
    nursery.start_soon(HttpServer(routes={}, websocket=echo).serve, theirs)
    await ours.send_all(HANDSHAKE + masked(0x81, b"hello") + masked(first_byte, b"x"))
    answer = await read_to_end(ours)
    frames = answer.partition(b"\r\n\r\n")[2]
    # The echo may have left before, or not.
    assert frames.removeprefix(b"\x81\x05hello")[:1] == b"\x88"
    assert struct.unpack("!H", frames.removeprefix(b"\x81\x05hello")[2:4]) == (1002,)
