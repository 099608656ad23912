"""Peers that do not read or have vanished: they delay nobody else, and pings find out."""

import pytest
import trio
import trio.testing

from portfolio_trio.http import Disconnected, WebSocketTransport
from portfolio_trio.nurseries import background
from tests.http.frames import PING, PONG, TEXT, close, frame
from tests.http.memory_server import (
    VIRTUAL_TIME,
    MemoryServer,
    connected,
    echo,
    ends,
    ping_while_receiving,
    settled,
)
from tests.support.streams import (
    Kept,
    NarrowStream,
    RecordingStream,
    StallingStream,
)

pytestmark = VIRTUAL_TIME


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


async def test_a_pong_behind_messages_that_wait_to_be_answered_is_not_missing(
    memory_server: MemoryServer,
) -> None:
    async def session(transport: WebSocketTransport) -> None:
        async def answer() -> None:
            while True:
                await transport.receive()
                # The deadline of the ping comes just when the next message is taken.
                await trio.sleep(5)

        async with background() as tasks:
            tasks.start_soon(answer)
            for _ in range(20):
                await transport.ping(5)
                alive.append(trio.current_time())

    alive: list[float] = []
    memory_server.session = session
    client = await connected(memory_server)
    # One write: while they are answered, nothing more of the peer is read.
    await client.send(frame(TEXT, b"x") * 30)
    await trio.sleep(200)
    assert alive == [5 * count for count in range(1, 21)]
