"""Every way in which a WebSocket ends, whoever ends it."""

import logging

import pytest
import trio
import trio.testing

from portfolio_trio.http import Disconnected, WebSocketTransport
from tests.http.frames import PING, TEXT, close, frame
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer, connected, echo, ends, settled
from tests.support.streams import (
    BrokenStream,
    Kept,
    NarrowStream,
)

pytestmark = VIRTUAL_TIME


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
