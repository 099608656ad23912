"""The transport: messages, and every way in which a WebSocket ends."""

import logging

import pytest
import trio
import trio.testing
from typing_extensions import override

from portfolio_trio.http import Disconnected, WebSocketTransport
from portfolio_trio.nurseries import background
from tests.http.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, read_frames
from tests.http.memory_server import VIRTUAL_TIME, Client, MemoryServer, echo, ping_while_receiving
from tests.support.streams import (
    BrokenStream,
    Kept,
    NarrowStream,
    RecordingStream,
    SlicingStream,
    StallingStream,
    WrappedStream,
)

pytestmark = VIRTUAL_TIME


async def connected(memory_server: MemoryServer) -> Client:
    client = memory_server.connect()
    await client.upgrade()
    return client


async def settled(memory_server: MemoryServer) -> int:
    """Return how many connections are open once nothing moves any longer."""
    await trio.testing.wait_all_tasks_blocked()
    return memory_server.open


async def ends(memory_server: MemoryServer) -> list[int]:
    """Return the codes with which sessions have ended once nothing moves any longer."""
    await trio.testing.wait_all_tasks_blocked()
    return [gone.code for gone in memory_server.disconnects]


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


# --- the peer ends it ---


@pytest.mark.parametrize(("code", "seen"), [(1000, 1000), (1001, 1001), (4001, 4001), (None, 1005)])
async def test_the_peers_close_reaches_the_session(
    memory_server: MemoryServer, code: int | None, seen: int
) -> None:
    client = await connected(memory_server)
    await client.send(close(code, b"bye" if code else b""))
    frames = await client.rest_frames()
    assert len(frames) == 1
    await trio.testing.wait_all_tasks_blocked()
    assert frames[0].payload[:2] == (b"" if code is None else code.to_bytes(2))
    assert [(gone.code, gone.reason) for gone in memory_server.disconnects] == [(seen, "bye" if code else "")]
    assert await settled(memory_server) == 0


async def test_a_lost_connection_is_1006(memory_server: MemoryServer) -> None:
    client = await connected(memory_server)
    await client.stream.aclose()
    assert await settled(memory_server) == 0
    server = Kept(BrokenStream)
    client = memory_server.connect(server)
    await client.upgrade()
    server.stream.broken = True
    await client.send(frame(TEXT, b"x"))
    assert await settled(memory_server) == 0
    assert await ends(memory_server) == [1006, 1006]


async def test_after_the_end_everything_says_so(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        with pytest.raises(Disconnected):
            await transport.receive()
        for call in (transport.receive, lambda: transport.send(["x"]), lambda: transport.ping(1)):
            with pytest.raises(Disconnected) as caught:
                await call()
            assert caught.value.code == 4001
        await transport.close(timeout=1)
        transport.abort()
        done.set()

    done = trio.Event()
    memory_server.session = session
    client = await connected(memory_server)
    await client.send(close(4001))
    assert [frame_.code for frame_ in await client.rest_frames()] == [4001]
    await done.wait()
    assert trio.current_time() == 0


async def test_the_peer_sees_the_end_before_the_session_has_cleaned_up(memory_server: MemoryServer) -> None:
    async def tidy(transport: WebSocketTransport) -> None:
        try:
            await echo(transport)
        finally:
            await trio.sleep(5)

    memory_server.session = tidy
    client = await connected(memory_server)
    await client.send(close())
    assert [frame_.code for frame_ in await client.rest_frames()] == [1000]
    assert trio.current_time() == 0


# --- we end it ---


async def test_no_message_comes_after_we_said_close(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        await transport.close()
        with pytest.raises(Disconnected):
            await transport.receive()
        refused.set()

    refused = trio.Event()
    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).code == 1000
    await client.send(frame(TEXT, b"late") * 5 + close())
    assert await client.rest() == b""
    await refused.wait()


async def test_closing_waits_for_the_peers_close(memory_server: MemoryServer) -> None:
    closed_at: list[float] = []

    async def session(transport: WebSocketTransport) -> None:
        await transport.close(4000, "enough", timeout=5)
        closed_at.append(trio.current_time())
        with pytest.raises(Disconnected) as caught:
            await transport.receive()
        assert (caught.value.code, caught.value.reason) == (4000, "enough")

    memory_server.session = session
    client = await connected(memory_server)
    close_frame = await client.next_frame()
    assert (close_frame.code, close_frame.payload[2:]) == (4000, b"enough")
    await trio.sleep(3)
    await client.send(close(4000))
    assert await client.rest() == b""
    assert closed_at == [3]


async def test_a_ping_while_closing_is_no_error(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's reader raises LocalProtocolError here and used to end whole servers."""

    async def session(transport: WebSocketTransport) -> None:
        await transport.close(1001, "draining", timeout=5)
        closed_at.append(trio.current_time())

    closed_at: list[float] = []
    other = await connected(memory_server)
    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).code == 1001
    await client.send(frame(PING, b"still there?") + frame(TEXT, b"late") * 100 + frame(PING, b"!"))
    await trio.sleep(1)
    await client.send(close(1001))
    assert await client.rest() == b""
    assert closed_at == [1]
    assert await other.echoes("still here")
    assert not caplog.records


async def test_a_close_without_an_answer_ends_at_its_deadline(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        await transport.close(1000, timeout=5)
        closed_at.append(trio.current_time())

    closed_at: list[float] = []
    memory_server.session = session
    client = await connected(memory_server)
    assert [frame_.code for frame_ in await client.rest_frames()] == [1000]
    assert closed_at == [5]
    assert await settled(memory_server) == 0


async def test_closing_is_shielded_but_bounded(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.close(1001, timeout=5)
        closed_at.append(trio.current_time())

    closed_at: list[float] = []
    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).code == 1001
    await trio.sleep(6)
    assert closed_at == [5]


async def test_a_session_that_returns_closes_1000(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        await transport.send(["last"])

    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).text == "last"
    assert (await client.next_frame()).code == 1000


async def test_a_session_that_fails_closes_1011_and_is_logged(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def session(transport: WebSocketTransport) -> None:
        raise LookupError("a session that fails")

    other = await connected(memory_server)
    memory_server.session = session
    client = await connected(memory_server)
    close_frame = await client.next_frame()
    assert close_frame.payload == (1011).to_bytes(2) + b"The server failed."
    assert await client.rest() == b""
    assert await settled(memory_server) == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a session that fails" in caplog.text
    assert await other.echoes("still here")


async def test_a_failed_session_whose_peer_does_not_read_ends_in_time(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        server.stream.capacity = 0
        raise LookupError("a session that fails")

    server = Kept(lambda stream: NarrowStream(stream, 1_000))
    memory_server.session = session
    await memory_server.connect(server).upgrade()
    await trio.sleep(4.9)
    assert memory_server.open == 1
    await trio.sleep(0.2)
    assert await settled(memory_server) == 0


async def test_a_session_cancelled_from_outside_drops_the_connection_at_once() -> None:
    async with trio.open_nursery() as nursery:
        memory_server = MemoryServer(nursery)
        client = await connected(memory_server)
        nursery.cancel_scope.cancel()
    assert memory_server.open == 0
    assert trio.current_time() == 0
    assert await client.rest() == b""


async def test_a_failure_during_a_cancellation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def session(transport: WebSocketTransport) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("on the way out")

    async with trio.open_nursery() as nursery:
        memory_server = MemoryServer(nursery)
        memory_server.session = session
        await connected(memory_server)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert "on the way out" in caplog.text


async def test_a_failure_beside_a_cancellation_is_logged_and_the_cancellation_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def session(transport: WebSocketTransport) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("on the way out")

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            memory_server = MemoryServer(nursery)
            memory_server.session = session
            await connected(memory_server)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert "on the way out" in caplog.text


# --- the peer that does not read ---


@pytest.mark.parametrize("fits", [0, 1, 3, 500])
async def test_nothing_follows_half_a_frame(memory_server: MemoryServer, fits: int) -> None:
    """A cancelled send leaves half a frame; another frame behind it would be read as its rest."""

    async def session(transport: WebSocketTransport) -> None:
        server.stream.capacity = fits
        with trio.move_on_after(2) as scope:
            await transport.send(["x" * 1_000])
        assert scope.cancelled_caught
        server.stream.capacity = 1_000_000
        with pytest.raises(Disconnected):
            await transport.send(["y"])
        with pytest.raises(Disconnected):
            await transport.ping(1)
        await transport.close(1013, timeout=1)

    server = Kept(lambda stream: NarrowStream(stream, 1_000))
    memory_server.session = session
    client = memory_server.connect(server)
    await client.upgrade()
    await trio.sleep(1)
    await client.send(frame(PING, b"no pong either"))
    assert await client.rest() == (b"\x81\x7e\x03\xe8" + b"x" * 1_000)[:fits]
    assert await settled(memory_server) == 0


async def test_a_peer_that_never_reads_blocks_only_its_own_session(memory_server: MemoryServer) -> None:
    async def flood(transport: WebSocketTransport) -> None:
        try:
            with trio.fail_after(5):
                await transport.send(["x" * 60_000])
        except trio.TooSlowError:
            transport.abort()
        with pytest.raises(Disconnected):
            await transport.receive()

    other = await connected(memory_server)
    memory_server.session = flood
    client = memory_server.connect(lambda stream: NarrowStream(stream, 1_000))
    await client.upgrade()
    assert await other.echoes("meanwhile")
    await trio.sleep(5)
    assert await settled(memory_server) == 1


async def test_abort_wakes_a_blocked_send(memory_server: MemoryServer) -> None:
    woken: list[str] = []

    async def send(transport: WebSocketTransport) -> None:
        with pytest.raises(Disconnected) as caught:
            await transport.send(["x" * 10_000])
        woken.append(f"{caught.value.code} {trio.current_time():g}")

    async def session(transport: WebSocketTransport) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, transport)
            await trio.sleep(3)
            transport.abort()
        with pytest.raises(Disconnected):
            await transport.receive()

    memory_server.session = session
    await memory_server.connect(lambda stream: NarrowStream(stream, 1_000)).upgrade()
    await trio.sleep(4)
    assert woken == ["1006 3"]
    assert await settled(memory_server) == 0


async def test_a_close_behind_which_a_send_is_stuck_reaches_the_session_at_once(
    memory_server: MemoryServer,
) -> None:
    """The answer would have to wait for a frame that the peer does not read."""

    async def send(transport: WebSocketTransport) -> None:
        await transport.send(["x" * 10_000])

    async def session(transport: WebSocketTransport) -> None:
        async with background() as tasks:
            tasks.start_soon(send, transport)
            try:
                await transport.receive()
            except Disconnected as gone:
                noticed.append((gone.code, trio.current_time()))

    noticed: list[tuple[int, float]] = []
    memory_server.session = session
    client = memory_server.connect(lambda stream: NarrowStream(stream, 1_000))
    await client.upgrade()
    await trio.sleep(1)
    await client.send(close(1001))
    await trio.sleep(10)
    assert noticed == [(1001, 1)]
    assert await settled(memory_server) == 0


async def test_closing_towards_a_peer_that_never_reads_is_bounded(memory_server: MemoryServer) -> None:
    ended: list[float] = []

    async def send(transport: WebSocketTransport) -> None:
        with pytest.raises(Disconnected):
            await transport.send(["x" * 10_000])
        ended.append(trio.current_time())

    async def session(transport: WebSocketTransport) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, transport)
            await trio.testing.wait_all_tasks_blocked()
            await transport.close(1013, timeout=4)
            ended.append(trio.current_time())

    memory_server.session = session
    await memory_server.connect(lambda stream: NarrowStream(stream, 1_000)).upgrade()
    await trio.sleep(10)
    assert ended == [4, 4]
    assert await settled(memory_server) == 0


async def test_pings_of_a_peer_that_never_reads_do_not_gather(memory_server: MemoryServer) -> None:
    server = Kept(lambda stream: RecordingStream(NarrowStream(stream, 300)))
    client = memory_server.connect(server)
    await client.upgrade()
    for _ in range(200):
        await client.send(frame(PING, b"x" * 125) * 10)
    await trio.testing.wait_all_tasks_blocked()
    assert sum(map(len, server.stream.received)) < 20_000
    assert memory_server.open == 1
    await trio.sleep(30)
    assert await settled(memory_server) == 0
    assert await ends(memory_server) == [1006]


# --- keepalive ---


async def test_ping_returns_with_the_pong(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        await ping_while_receiving(transport, 5)
        await transport.send([f"pong at {trio.current_time():g}"])

    memory_server.session = session
    client = await connected(memory_server)
    ping = await client.next_frame()
    assert ping.opcode == PING
    await trio.sleep(2)
    await client.send(frame(PONG, b"another's") + frame(PONG, ping.payload))
    assert (await client.next_frame()).text == "pong at 2"


async def test_a_vanished_peer_is_gone_at_the_deadline(memory_server: MemoryServer) -> None:
    await _ping_and_expect(memory_server, ends_at=5, stall=False)


async def test_a_ping_that_cannot_even_leave_is_bounded(memory_server: MemoryServer) -> None:
    await _ping_and_expect(memory_server, ends_at=5, stall=True)


async def _ping_and_expect(memory_server: MemoryServer, *, ends_at: float, stall: bool) -> None:
    async def session(transport: WebSocketTransport) -> None:
        if stall:
            server.stream.stall_sending()
        with pytest.raises(Disconnected, match="No pong within 5 s"):
            await (transport.ping(5) if stall else ping_while_receiving(transport, 5))
        ended.append(trio.current_time())
        with pytest.raises(Disconnected):
            await transport.receive()

    ended: list[float] = []
    server = Kept(StallingStream)
    memory_server.session = session
    await memory_server.connect(server).upgrade()
    await trio.sleep(ends_at + 1)
    assert ended == [ends_at]
    assert await settled(memory_server) == 0


async def test_a_peer_that_leaves_during_a_ping_is_noticed_at_once(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        with pytest.raises(Disconnected) as caught:
            await ping_while_receiving(transport, 5)
        seen.append((caught.value.code, trio.current_time()))

    seen: list[tuple[int, float]] = []
    memory_server.session = session
    client = await connected(memory_server)
    await trio.sleep(2)
    await client.send(close(1001))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [(1001, 2)]


async def test_a_cancelled_ping_changes_nothing(memory_server: MemoryServer) -> None:
    async def session(transport: WebSocketTransport) -> None:
        with trio.move_on_after(1):
            await transport.ping(5)
        await echo(transport)

    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).opcode == PING
    await trio.sleep(2)
    assert await client.echoes("still here")


async def test_a_peer_whose_message_is_still_being_answered_is_not_lost(memory_server: MemoryServer) -> None:
    """Its pong is not seen before that. The next ping finds out."""

    async def session(transport: WebSocketTransport) -> None:
        await transport.ping(5)
        await transport.send([f"not lost at {trio.current_time():g}"])
        await echo(transport)

    memory_server.session = session
    client = await connected(memory_server)
    assert (await client.next_frame()).opcode == PING
    assert (await client.next_frame()).text == "not lost at 5"
    assert await client.echoes("still here")
