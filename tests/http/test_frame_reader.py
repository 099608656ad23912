"""Frames are read as wsproto alone would read them, however the bytes arrive, and no memory is kept."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import h11
import trio
import wsproto.connection
import wsproto.frame_protocol
import wsproto.handshake
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, Pong

from portfolio_trio.http import WebSocketTransport
from portfolio_trio.http._frame_reader import FrameError, FrameReader
from tests.http.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    read_frames,
)
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer, run_in_virtual_time

MOST_BYTES = 300


@dataclass
class Heard:
    """What a stream of bytes means."""

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    ended: tuple[str, int] | None = None
    "Who ended it, and with which code."


def by_wsproto(chunks: list[bytes]) -> Heard:
    """Read with wsproto alone."""
    connection, heard = Connection(ConnectionType.SERVER), Heard()
    parts: list[str | bytes] = []
    for chunk in chunks:
        connection.receive_data(chunk)
        for event in connection.events():
            if isinstance(event, Message):
                parts.append(event.data)
                size = sum(len(part.encode() if isinstance(part, str) else part) for part in parts)
                if size > MOST_BYTES:
                    heard.ended = "too big", 1009
                elif event.message_finished:
                    heard.messages.append("".join(parts) if isinstance(parts[0], str) else b"".join(parts))  # type: ignore[arg-type]
                    parts = []
            elif isinstance(event, Ping):
                heard.pings.append(bytes(event.payload))
            elif isinstance(event, Pong):
                heard.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                broken = connection.state is ConnectionState.OPEN
                heard.ended = "broken" if broken else "peer", int(event.code)
            if heard.ended is not None:
                return heard
    return heard


def by_reader(chunks: list[bytes]) -> Heard:
    """Read as the server does."""
    reader, heard = FrameReader(max_bytes=MOST_BYTES), Heard()
    for chunk in chunks:
        reader.feed(chunk)
        while reader.unread:
            text = reader.take_text()
            if text is not None:
                heard.messages.append(text)
                continue
            try:
                _take_frame(reader, heard)
            except FrameError as error:
                heard.ended = "too big" if error.code == 1009 else "broken", error.code
            if heard.ended is not None:
                return heard
    return heard


def _take_frame(reader: FrameReader, heard: Heard) -> None:
    event = reader.take_frame()
    if isinstance(event, Ping):
        heard.pings.append(bytes(event.payload))
    elif isinstance(event, Pong):
        heard.pongs.append(bytes(event.payload))
    elif isinstance(event, CloseConnection):
        heard.ended = "peer", int(event.code)
    elif event is not None:
        heard.messages.append(event)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).map(str.encode)
payloads = st.one_of(
    texts,
    texts,
    st.binary(max_size=20),
    st.sampled_from([124, 125, 126, 127, 200, MOST_BYTES, MOST_BYTES + 1]).map(lambda size: b"x" * size),
)
opcodes = st.sampled_from([TEXT] * 4 + [BINARY, CONTINUATION, PING, PONG, CLOSE])
usual = payloads.map(lambda payload: frame(TEXT, payload))
valid = st.builds(
    lambda opcode, payload, final: frame(opcode, payload, final=final), opcodes, payloads, st.booleans()
)
odd = st.builds(
    lambda opcode, payload, final, masked, reserved, claimed: frame(
        opcode, payload, final=final, masked=masked, reserved=reserved, claimed=claimed
    ),
    st.integers(0, 15),
    payloads,
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 0, 0, 1, 2, 4]),
    st.sampled_from([None, None, None, 0, 5, 126, 65_535, 65_536, 2**63]),
)
# Lengths that are written longer than they need be.
padded = texts.map(lambda text: b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text)
split = st.tuples(
    texts, st.integers(0, 60), st.sampled_from([b"", frame(PING, b"p"), frame(PONG, b"q")])
).map(
    lambda drawn: (
        frame(TEXT, drawn[0][: drawn[1]], final=False) + drawn[2] + frame(CONTINUATION, drawn[0][drawn[1] :])
    )
)
closes = st.sampled_from([None, 1000, 1001, 1005, 999, 4000]).map(close)
streams = st.lists(
    st.one_of(usual, usual, usual, split, valid, odd, padded, closes, st.binary(max_size=12)), max_size=8
).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn) -> list[bytes]:
    """Draw a stream of bytes and a way of its arrival."""
    data = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8))) if draw(st.booleans()) else []
    if not cuts and draw(st.booleans()):
        cuts = list(range(len(data)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


@given(chunked())
@example([frame(TEXT, b"a") + frame(TEXT, b"b", final=False), frame(TEXT, b"c")])
@example([frame(TEXT, "ü".encode())[:-1], frame(TEXT, "ü".encode())[-1:] + frame(TEXT, b"next")])
@example([frame(TEXT, b"x" * MOST_BYTES) + frame(TEXT, b"x" * (MOST_BYTES + 1))])
@example([frame(TEXT, b"\xff"), frame(TEXT, b"never")])
def test_it_hears_what_wsproto_hears(chunks: list[bytes]) -> None:
    assert by_reader(chunks) == by_wsproto(chunks)


@given(chunked())
def test_what_is_sent_back_is_what_wsproto_would_send_back(chunks: list[bytes]) -> None:
    """Messages reach the session; pongs and the close reach the peer: all in order, and nothing else does."""
    got: list[str | bytes] = []
    answers = b""

    async def session(transport: WebSocketTransport) -> None:
        while True:
            got.append(await transport.receive())

    async def main() -> None:
        nonlocal answers
        async with trio.open_nursery() as nursery:
            memory_server = MemoryServer(nursery)
            memory_server.session = session
            memory_server.accept_settings = {"max_message_bytes": MOST_BYTES}
            client = memory_server.connect()
            await client.upgrade()
            for chunk in chunks:
                await client.send(chunk)
                await trio.testing.wait_all_tasks_blocked()
            await client.stream.send_eof()
            answers = await client.rest()

    run_in_virtual_time(main)
    expected = by_wsproto(chunks)
    assert got == expected.messages
    replies = read_frames(answers)
    closing = [reply for reply in replies if reply.opcode == CLOSE]
    assert [reply.payload for reply in replies if reply.opcode == PONG] == expected.pings
    assert len(replies) == len(expected.pings) + len(closing)
    if expected.ended is None:
        assert not closing
    else:
        code = expected.ended[1]
        assert [reply.payload[:2] for reply in closing] == [b"" if code == 1005 else code.to_bytes(2)]


@VIRTUAL_TIME
async def test_an_open_websocket_holds_nothing_that_it_does_not_need(memory_server: MemoryServer) -> None:
    """No reader of heads, and no parser of frames behind a ping, a pong or a message in fragments."""
    before = parsers()
    async with memory_server.connect() as client:
        await client.upgrade()
        assert await client.echoes("hello")
        assert parsers() == before
        await client.send(frame(TEXT, b"hel", final=False))
        await trio.testing.wait_all_tasks_blocked()
        assert parsers() > before
        await client.send(frame(PING, b"!") + frame(CONTINUATION, b"lo") + frame(PONG, b"unasked"))
        assert [(await client.next_frame()).opcode, (await client.next_frame()).text] == [PONG, "hello"]
        await trio.testing.wait_all_tasks_blocked()
        assert parsers() == before


def parsers() -> int:
    """How many objects there are that read heads or frames."""
    gc.collect()
    kinds = (
        h11.Connection,
        h11.Request,
        wsproto.handshake.H11Handshake,
        wsproto.connection.Connection,
        wsproto.frame_protocol.FrameProtocol,
    )
    # By exact type: asking some proxies for their class runs their code.
    return sum(type(each) in kinds for each in gc.get_objects())
