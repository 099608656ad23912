"""Frames are cut where they begin, and a flood of them lets the others have their turn."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.http._frame_stream import FrameStream
from portfolio_trio.http._frames import FrameCutter
from tests.http.door import VIRTUAL_TIME, Door
from tests.http.frames import BINARY, CONTINUATION, PING, PONG, TEXT, frame

AT_ONCE = 8

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


@given(
    frames=st.lists(client_frames, max_size=12),
    chunk=st.integers(1, 300) | st.just(70_000),
    most=st.integers(1, 5),
)
def test_a_piece_has_the_beginnings_of_a_few_frames(frames: list[bytes], chunk: int, most: int) -> None:
    """However the bytes arrive: nothing is lost, and each frame is counted once."""
    whole = b"".join(frames)
    begins = {sum(map(len, frames[:index])): each for index, each in enumerate(frames)}
    cutter, at = FrameCutter(), 0
    for start in range(0, len(whole), chunk):
        rest = whole[start : start + chunk]
        while rest:
            size, extra = cutter.cut(rest, most=most)
            assert 0 < size <= len(rest)
            begun = [each for place, each in begins.items() if at <= place < at + size]
            assert len(begun) <= most
            assert extra == sum(not is_whole_message(each) for each in begun)
            # It is no shorter than it has to be.
            assert size == len(rest) or at + size in begins
            at, rest = at + size, rest[size:]
    assert at == len(whole)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_stop_it(data: bytes, chunk: int) -> None:
    cutter = FrameCutter()
    for start in range(0, len(data), chunk):
        rest = data[start : start + chunk]
        while rest:
            size, _ = cutter.cut(rest, most=3)
            assert size > 0
            rest = rest[size:]


@VIRTUAL_TIME
async def test_each_piece_is_few_frames_and_a_checkpoint() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = FrameStream(theirs, reply_seconds=1, behind=frame(PONG) * 40)
    await ours.send_all(frame(CONTINUATION, final=False) * 100)
    empty = len(frame(PONG))
    for expected in [*[8] * 5, *[8] * 12, 4]:
        with trio.testing.assert_checkpoints():
            piece = await stream.receive_some(8_192)
        assert len(piece) == expected * empty


@VIRTUAL_TIME
@pytest.mark.parametrize("flood", [frame(PONG), frame(CONTINUATION, final=False)])
async def test_a_flood_of_frames_leaves_the_others_their_turns(nursery: trio.Nursery, flood: bytes) -> None:
    """One read holds 1,300 of them."""
    door = Door(nursery)
    client = door.connect()
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
        await client.send(frame(TEXT, final=False) + flood * count + frame(CONTINUATION, b"end"))
        assert (await client.next_frame()).text == "end"
        others.cancel_scope.cancel()
    assert turns >= count / AT_ONCE
