"""Frames are split correctly, and a flood of them lets other tasks have their turn."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.http import WebSocketTransport
from portfolio_trio.http._frames import FrameCutter
from tests.http.frames import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer

sizes = st.integers(0, 130) | st.sampled_from([125, 126, 127, 65_535, 65_536])
client_frames = st.builds(
    lambda opcode, size, final, masked: frame(opcode, b"x" * size, final=final, masked=masked),
    st.sampled_from([TEXT, BINARY, CONTINUATION, PING, PONG]),
    sizes,
    st.booleans(),
    st.booleans(),
)


def is_whole_message(data: bytes) -> bool:
    return bool(data[0] & 0x80) and data[0] & 0x0F in {TEXT, BINARY}


@given(frames=st.lists(client_frames, max_size=12), chunk=st.integers(1, 300) | st.just(70_000))
def test_a_piece_is_a_frame_or_what_there_is_of_it(frames: list[bytes], chunk: int) -> None:
    """However the bytes arrive: nothing is lost, and each frame is counted once."""
    whole = b"".join(frames)
    begins = {sum(map(len, frames[:index])): each for index, each in enumerate(frames)}
    cutter, place = FrameCutter(), 0
    for start in range(0, len(whole), chunk):
        data, at = whole[start : start + chunk], 0
        while at < len(data):
            end, extra = cutter.cut(data, at)
            assert at < end <= len(data)
            begun = [each for begin, each in begins.items() if place <= begin < place + end - at]
            assert len(begun) <= 1
            assert extra == any(not is_whole_message(each) for each in begun)
            place, at = place + end - at, end
            # It is no shorter than it has to be.
            whole_frame = place in begins or place == len(whole)
            assert at == len(data) or whole_frame
            assert cutter.between_frames == whole_frame
    assert place == len(whole)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_stop_it(data: bytes, chunk: int) -> None:
    cutter = FrameCutter()
    for start in range(0, len(data), chunk):
        rest, at = data[start : start + chunk], 0
        while at < len(rest):
            end, _ = cutter.cut(rest, at)
            assert end > at
            at = end


@VIRTUAL_TIME
@pytest.mark.parametrize("flood", [frame(PONG), frame(CONTINUATION, final=False), frame(TEXT)])
async def test_a_flood_of_frames_leaves_the_others_their_turns(nursery: trio.Nursery, flood: bytes) -> None:
    """One read holds 1,300 of them."""

    async def session(transport: WebSocketTransport) -> None:
        while not (message := await transport.receive()):
            pass
        assert isinstance(message, str)
        await transport.send([message])

    memory_server = MemoryServer(nursery)
    memory_server.session = session
    client = memory_server.connect()
    await client.upgrade()
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    count = 1_300
    async with trio.open_nursery() as others:
        others.start_soon(take_turns)
        # Frames of texts that are whole are read in another way than the rest.
        whole = flood == frame(TEXT)
        begin, end = (b"", TEXT) if whole else (frame(TEXT, final=False), CONTINUATION)
        await client.send(begin + flood * count + frame(end, b"end"))
        assert (await client.next_frame()).text == "end"
        others.cancel_scope.cancel()
    assert turns >= count
