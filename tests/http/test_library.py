"""The parts of trio-websocket and wsproto that are leant on and not public, in the installed versions."""

import gc
import inspect

import h11
import pytest
import trio
import trio.testing
import trio_websocket
import wsproto.connection
import wsproto.handshake

from portfolio_trio.http._library import fragments_of, open_library, reader_of
from tests.http.door import VIRTUAL_TIME, Door
from tests.http.frames import PING, PONG, TEXT, Frame, frame, read_frames
from tests.support.streams import read_to_end


def test_nobody_waits_for_the_events_that_are_let_go() -> None:
    source = inspect.getsource(trio_websocket.WebSocketConnection)
    assert source.count("_for_testing_peer_closed_connection.wait()") == 0
    assert source.count("_open_handshake.wait()") == 0


def test_a_wsproto_connection_has_all_that_is_used_of_one_with_a_handshake() -> None:
    used = {"client", "events", "receive_data", "send", "state"}
    assert used <= set(dir(wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)))
    source = inspect.getsource(trio_websocket.WebSocketConnection)
    named = {
        part.split("(")[0].split(")")[0].split()[0].strip(":") for part in source.split("self._wsproto.")[1:]
    }
    assert named == used


@pytest.mark.trio
async def test_the_first_frames_may_come_with_the_head_or_later() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    library = open_library(
        theirs,
        behind=frame(TEXT, b"one") + frame(PING, b"!") + frame(TEXT, b"tw", final=False),
        queue_messages=16,
        max_characters=100,
        read_bytes=100,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader_of(library))
        assert await library.get_message() == "one"
        await trio.testing.wait_all_tasks_blocked()
        assert fragments_of(library) == 1
        await ours.send_all(frame(0, b"o"))
        assert await library.get_message() == "two"
        assert fragments_of(library) == 0
        await ours.send_eof()
        with pytest.raises(trio_websocket.ConnectionClosed):
            await library.get_message()
    await theirs.send_eof()
    assert read_frames(await read_to_end(ours)) == [Frame(PONG, b"!")]


@VIRTUAL_TIME
async def test_an_open_websocket_holds_nothing_of_its_handshake(door: Door) -> None:
    before = parsers()
    async with door.connect() as client:
        await client.upgrade()
        assert await client.echoes("hello")
        assert parsers() == before


def parsers() -> int:
    """How many objects there are that read heads."""
    gc.collect()
    kinds = (h11.Connection, h11.Request, wsproto.handshake.H11Handshake)
    # By exact type: asking some proxies for their class runs their code.
    return sum(type(each) in kinds for each in gc.get_objects())
