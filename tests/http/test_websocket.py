"""The transport: messages, limits, and frames that are broken."""

import logging

import pytest
import trio
import trio.testing
from typing_extensions import override

from portfolio_trio.http import WebSocketTransport
from portfolio_trio.nurseries import background
from tests.http.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, read_frames
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer, connected, echo, ends, settled
from tests.support.streams import (
    Kept,
    RecordingStream,
    SlicingStream,
    WrappedStream,
)

pytestmark = VIRTUAL_TIME


# --- messages ---


async def test_text_and_binary_arrive_whole(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    assert await client.echoes("grüße 📈")
    assert await client.echoes("")
    await client.send(frame(BINARY, b"\x00\xff" * 100))
    assert (await client.next_frame()).text == "200 bytes"


async def test_a_batch_leaves_in_one_send(memory_server: MemoryServer) -> None:
    batch = ["one", "two" * 100, "three" * 20_000]

    async def session(transport: WebSocketTransport) -> None:
        await transport.send(batch)
        await echo(transport)

    server = Kept(RecordingStream)
    memory_server.session = session
    client = memory_server.connect(server)
    await client.upgrade()
    assert [(await client.next_frame()).text for _ in batch] == batch
    assert len(server.stream.sent) == 2  # the handshake and the batch
    assert [frame_.text for frame_ in read_frames(server.stream.sent[1])] == batch


async def test_an_empty_batch_is_fine(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        await transport.send([])

    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).code == 1000


async def test_fragments_with_control_frames_between(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    text = "zwölf".encode()
    await client.send(frame(TEXT, text[:3], final=False) + frame(PING, b"p1"))  # splits the ö
    await client.send(frame(CONTINUATION, b"", final=False) + frame(PONG, b"unasked"))
    await client.send(frame(CONTINUATION, text[3:]))
    assert (await client.next_frame()).opcode == PONG
    assert (await client.next_frame()).text == "zwölf"


async def test_frames_of_two_tasks_never_mix(memory_server: MemoryServer) -> None:
    """Pongs come from the task that receives, messages from the session's writer."""
    messages = [str(i) * 50 for i in range(20)]

    async def session(transport: WebSocketTransport) -> None:
        async with background() as tasks:
            tasks.start_soon(write, transport)
            await echo(transport)

    async def write(transport: WebSocketTransport) -> None:
        for message in messages:
            await transport.send([message])

    memory_server.session = session
    client = memory_server.connect(lambda stream: SlicingStream(stream, lambda: 3))
    await client.upgrade()
    for i in range(20):
        await client.send(frame(PING, str(i).encode()))
    await client.send(close())
    frames = await client.rest_frames()
    assert [frame_.text for frame_ in frames if frame_.opcode == TEXT] == messages
    assert [frame_.payload for frame_ in frames if frame_.opcode == PONG] == [
        str(i).encode() for i in range(20)
    ]


# --- limits ---


@pytest.mark.parametrize("character", ["x", "ü", "€", "📈"])
async def test_the_size_limit_counts_bytes(memory_server: MemoryServer, character: str) -> None:
    memory_server.accept_settings = {"max_message_bytes": 1_000}
    width = len(character.encode())
    client = await connected(memory_server)
    assert await client.echoes(character * (1_000 // width))
    await client.send(frame(TEXT, (character * (1_000 // width + 1)).encode()))
    assert (await client.next_frame()).code == 1009
    assert await settled(memory_server) == 1
    await client.send(close(1009))
    assert await client.rest() == b""
    assert await settled(memory_server) == 0
    assert await ends(memory_server) == [1009]


async def test_a_message_of_a_megabyte_is_answered_1009(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    await client.send(frame(TEXT, b"x" * 1_000_000))
    assert [frame_.code for frame_ in await client.rest_frames()] == [1009]
    assert await settled(memory_server) == 0


async def test_a_ping_after_an_oversized_message_ends_nothing_else(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's reader raises LocalProtocolError here."""
    other = await connected(memory_server)
    client = await connected(memory_server)
    await client.send(frame(TEXT, b"x" * 70_000) + frame(PING, b"too late"))
    assert [frame_.code for frame_ in await client.rest_frames()] == [1009]
    assert await ends(memory_server) == [1009]
    assert await other.echoes("still here")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_ping_after_an_oversized_message_while_nobody_receives(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def deaf(transport: WebSocketTransport) -> None:
        await trio.sleep(5)
        await transport.receive()

    memory_server.session = deaf
    client = await connected(memory_server)
    await client.send(frame(TEXT, b"x" * 70_000) + frame(PING, b"too late"))
    assert [frame_.code for frame_ in await client.rest_frames()] == [1009]
    await trio.sleep(6)
    assert await ends(memory_server) == [1009]
    assert not caplog.records


async def test_empty_fragments_do_not_gather(memory_server: MemoryServer) -> None:
    """They do not count against the size limit, so the library would keep them forever."""
    client = await connected(memory_server)
    flood = frame(CONTINUATION, b"", final=False) * 70_000
    await client.send(frame(TEXT, b"", final=False) + flood)
    assert [frame_.code for frame_ in await client.rest_frames()] == [1009]


async def test_a_message_in_single_bytes_is_no_flood(memory_server: MemoryServer) -> None:
    memory_server.accept_settings = {"max_message_bytes": 1_000}
    client = await connected(memory_server)
    await client.send(frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", final=False) * 998)
    await client.send(frame(CONTINUATION, b"x"))
    assert (await client.next_frame()).text == "x" * 1_000


async def test_a_session_that_does_not_receive_leaves_the_socket_unread(memory_server: MemoryServer) -> None:
    """Back-pressure: nothing is lost and nothing gathers in the server."""

    async def late(transport: WebSocketTransport) -> None:
        await trio.sleep(100)
        await echo(transport)

    server = Kept(RecordingStream)
    memory_server.session = late
    client = memory_server.connect(server)
    await client.upgrade()
    await trio.testing.wait_all_tasks_blocked()
    read_before = sum(map(len, server.stream.received))
    messages = [str(i) * 500 for i in range(200)]
    for message in messages:
        await client.send(frame(TEXT, message.encode()))
    await client.send(frame(PING, b"there?") + close(1001))
    await trio.sleep(50)
    assert sum(map(len, server.stream.received)) == read_before
    frames = await client.rest_frames()
    assert [each.text for each in frames[:-2]] == messages
    assert [each.opcode for each in frames[-2:]] == [PONG, CLOSE]
    assert trio.current_time() == 100


# --- broken frames ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"not masked", masked=False), 1002),
        (frame(0x3, b""), 1002),
        (frame(0xB, b""), 1002),
        (frame(TEXT, b"x", reserved=4), 1002),
        (frame(CONTINUATION, b"of nothing"), 1002),
        (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"x", final=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(TEXT, b"", claimed=2**63), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close(999), 1002),
        (close(1005), 1002),
        (close(1006), 1002),
        (close(1004), 1002),
        (close(5000), 1002),
        (close(1000, b"\xff"), 1007),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"ok \xc3"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),  # a surrogate
        (frame(TEXT, b"\xc3", final=False) + frame(CONTINUATION, b"\x28"), 1007),
    ],
)
async def test_a_broken_frame_is_answered_with_its_close_code(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture, data: bytes, code: int
) -> None:
    other = await connected(memory_server)
    client = await connected(memory_server)
    await client.send(data)
    assert [frame_.code for frame_ in await client.rest_frames()] == [code]
    assert await ends(memory_server) == [code]
    assert await other.echoes("still here")
    assert await settled(memory_server) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_messages_before_a_broken_frame_are_served(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    await client.send(frame(TEXT, b"good") + frame(0x3, b""))
    assert [frame_.opcode for frame_ in await client.rest_frames()] in ([TEXT, CLOSE], [CLOSE])


async def test_what_comes_behind_a_broken_frame_is_dropped(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    await client.send(frame(0x3, b"") + frame(TEXT, b"late") + frame(PING, b"late") + close())
    assert [frame_.code for frame_ in await client.rest_frames()] == [1002]


async def test_a_failure_of_the_stream_itself_is_1011(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(WrappedStream):
        fails = False

        @override
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            data = await super().receive_some(max_bytes)
            if self.fails:
                raise LookupError("a bug below")
            return data

    server = Kept(Failing)
    client = memory_server.connect(server)
    await client.upgrade()
    server.stream.fails = True
    await client.send(frame(TEXT, b"x"))
    assert (await client.next_frame()).code == 1011
    assert await ends(memory_server) == [1011]
    assert "a bug below" in caplog.text
