"""Frames that are sent directly, over a real socket: whole, in order, and never after a close."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.http import _at_once
from portfolio_trio.http._frame_sender import FrameSender, ping_frame, text_frame
from tests.http.frames import CLOSE, PING, TEXT, read_frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.trio

BIG = "x" * 1_000_000


@pytest.fixture
async def ends() -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in _pair())
    async with ours, theirs:
        yield ours, theirs


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


async def read_all(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    with trio.fail_after(30):
        while chunk := await stream.receive_some():
            data += chunk
    return bytes(data)


Ends = tuple[trio.SocketStream, trio.SocketStream]


async def test_what_fits_leaves_without_a_checkpoint(ends: Ends) -> None:
    ours, theirs = ends
    sender = FrameSender(ours)
    assert sender.send_now(text_frame("one") + text_frame("two"))
    assert sender.send_now(text_frame("three"))
    await ours.send_eof()
    assert [frame.text for frame in read_frames(await read_all(theirs))] == ["one", "two", "three"]


@pytest.mark.parametrize("then", ["nothing", "frames", "a reply", "a close"])
async def test_the_rest_goes_in_front_of_what_is_sent_next(ends: Ends, then: str) -> None:
    ours, theirs = ends
    sender = FrameSender(ours)
    assert sender.send_now(text_frame("first"))
    assert not sender.send_now(text_frame(BIG))
    assert not sender.send_now(text_frame("behind it"))
    received = b""

    async def read() -> None:
        nonlocal received
        received = await read_all(theirs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        if then == "nothing":
            await sender.send(b"")
        elif then == "frames":
            await sender.send(text_frame("next"))
        elif then == "a reply":
            await sender.send_reply(ping_frame(b"!"), seconds=5)
        else:
            await sender.send_close(1000, "")
        await sender.half_close()
    frames = read_frames(received)
    assert [frame.payload.decode() for frame in frames[:3]] == ["first", BIG, "behind it"]
    assert [frame.opcode for frame in frames[3:]] == {
        "nothing": [],
        "frames": [TEXT],
        "a reply": [PING],
        "a close": [CLOSE],
    }[then]


async def test_it_waits_behind_a_send_under_way(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the socket had room just now."""
    ours, theirs = ends
    sender = FrameSender(ours)

    def write_now(_stream: trio.abc.Stream, _data: bytes) -> int:
        raise AssertionError("This would be in the middle of another frame.")

    monkeypatch.setattr(_at_once, "write_now", write_now)

    async def send() -> None:
        await sender.send(text_frame(BIG))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert not sender.send_now(text_frame("second"))
        nursery.start_soon(_end_after, sender)
        frames = read_frames(await read_all(theirs))
    assert [frame.text for frame in frames] == [BIG, "second"]


async def _end_after(sender: FrameSender) -> None:
    await sender.send(b"")
    await sender.half_close()


async def test_nothing_leaves_behind_a_close_or_an_abort(ends: Ends) -> None:
    ours, theirs = ends
    sender = FrameSender(ours)
    await sender.send_close(1000, "")
    assert not sender.send_now(text_frame("late"))
    with pytest.raises(trio.ClosedResourceError):
        await sender.send(b"")
    sender.abort()
    assert not sender.send_now(text_frame("later"))
    with pytest.raises(trio.BrokenResourceError):
        await sender.send(b"")
    await ours.send_eof()
    assert [frame.opcode for frame in read_frames(await read_all(theirs))] == [CLOSE]


async def test_a_close_after_an_abort_does_not_follow_half_a_frame(ends: Ends) -> None:
    ours, theirs = ends
    sender = FrameSender(ours)
    assert not sender.send_now(text_frame(BIG))
    sender.abort()
    with pytest.raises(trio.BrokenResourceError):
        await sender.send_close(1000, "")
    await ours.send_eof()
    received = await read_all(theirs)
    assert text_frame(BIG).startswith(received)


async def test_a_peer_that_is_gone_is_noticed_by_the_send_that_waits(ends: Ends) -> None:
    ours, theirs = ends
    sender = FrameSender(ours)
    await theirs.aclose()
    assert not sender.send_now(text_frame("hello"))
    with pytest.raises(trio.BrokenResourceError):
        await sender.send(b"")
