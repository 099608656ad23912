"""Real sockets on loopback, and clients that share no code with the server."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio_websocket
import websockets.exceptions
import websockets.sync.client
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from portfolio_trio.http import serve_listeners
from tests.http.frames import TEXT, close, frame, head, plain_head, read_answer, read_frames
from tests.http.memory_server import Client, MemoryServer

pytestmark = pytest.mark.trio


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[MemoryServer, int]]:
    async with trio.open_nursery() as handlers, trio.open_nursery() as listening:
        memory_server = MemoryServer(handlers)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serve = partial(serve_listeners, listeners, memory_server.serve, handler_nursery=handlers)
        await listening.start(serve)
        with trio.fail_after(60):
            yield memory_server, listeners[0].socket.getsockname()[1]
        listening.cancel_scope.cancel()


async def open_client(port: int) -> Client:
    return Client(await trio.open_tcp_stream("127.0.0.1", port))


async def push(client: Client, data: bytes) -> None:
    """Send for as long as the server takes it."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await client.send(data)


async def in_thread(port: int, talk: Callable[[ClientConnection], None]) -> None:
    def run() -> None:
        url = f"ws://127.0.0.1:{port}/ws/session"
        offered = [Subprotocol("portfolio.v1")]
        with websockets.sync.client.connect(
            url, subprotocols=offered, open_timeout=30, close_timeout=30
        ) as connection:
            talk(connection)

    await trio.to_thread.run_sync(run)


async def test_health_over_a_socket() -> None:
    async with serving() as (memory_server, port), await open_client(port) as client:
        answer = await client.ask(plain_head(b"/health"))
        assert json.loads(answer.body) == {"status": "ok"}
        assert memory_server.requests[0].peer == "127.0.0.1"


async def test_an_independent_client_talks_to_it() -> None:
    def talk(connection: ClientConnection) -> None:
        assert connection.subprotocol == "portfolio.v1"
        for size in (0, 1, 125, 126, 65_535, 65_536):
            connection.send("x" * size)
            assert connection.recv(timeout=30) == "x" * size
        connection.send(["in ", "three ", "fragments"])
        assert connection.recv(timeout=30) == "in three fragments"
        connection.send(b"\x00" * 70)
        assert connection.recv(timeout=30) == "70 bytes"
        assert connection.ping().wait(timeout=30)

    async with serving() as (memory_server, port):
        await in_thread(port, talk)
        assert [upgrade.peer for upgrade in memory_server.upgrades] == ["127.0.0.1"]
        assert [gone.code for gone in memory_server.disconnects] == [1000]


@pytest.mark.parametrize(
    ("message", "code"), [("x" * 65_537, 1009), ("ü" * 40_000, 1009), ("x" * 1_000_000, 1009)]
)
async def test_an_independent_client_sees_why_it_was_closed(message: str, code: int) -> None:
    def talk(connection: ClientConnection) -> None:
        connection.send(message)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            connection.recv(timeout=30)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code

    async with serving() as (_, port):
        await in_thread(port, talk)


async def test_invalid_utf8_is_1007_over_a_socket() -> None:
    def talk(connection: ClientConnection) -> None:
        connection.send(b"\xff\xfe", text=True)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            connection.recv(timeout=30)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1007

    async with serving() as (_, port):
        await in_thread(port, talk)


async def test_the_librarys_own_client_talks_to_it() -> None:
    async with (
        serving() as (memory_server, port),
        trio_websocket.open_websocket("127.0.0.1", port, "/ws/session", use_ssl=False) as connection,
    ):
        await connection.send_message("hello")
        assert await connection.get_message() == "hello"
        await connection.ping()
    assert [gone.code for gone in memory_server.disconnects] == [1000]


async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    """Closing with unread bytes would reset the connection and take the answer with it."""
    async with serving() as (_, port), await open_client(port) as client:
        request = plain_head(b"/echo", method=b"POST", content_length=b"2000000") + b"x" * 2_000_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, client, request)
            assert read_answer(await client.rest()).status == 413


async def test_a_close_code_reaches_a_client_that_is_still_sending() -> None:
    async with serving() as (_, port), await open_client(port) as client:
        await client.upgrade()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, client, frame(0x3) + frame(TEXT, b"x" * 60_000) * 20)
            assert [frame_.code for frame_ in read_frames(await client.rest())] == [1002]


async def test_the_bytes_that_end_servers_do_not_end_this_one() -> None:
    attacks = [
        b"",
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        head(host=b"\xff"),
        head(connection=b"Upgrade, \xff"),
        head(sec_websocket_protocol=b"\xff"),
        head(sec_websocket_extensions=b"\xff"),
        head(host=b"xn--a"),
        head() + frame(TEXT, b"\xff"),
        head() + frame(TEXT, b"x" * 70_000) + frame(0x9, b"ping"),
        head() + close() + frame(0x9, b"ping"),
        head() + bytes(range(256)),
    ]
    async with serving() as (memory_server, port), await open_client(port) as other:
        await other.upgrade()
        for attack in attacks:
            async with await open_client(port) as client:
                await client.send(attack)
                await client.stream.send_eof()
                await client.rest()
        assert await other.echoes("still here")
        async with await open_client(port) as client:
            assert (await client.ask(plain_head(b"/health"))).status == 200
        assert len(memory_server.upgrades) == 6


async def test_tls() -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    async with trio.open_nursery() as handlers, trio.open_nursery() as listening:
        memory_server = MemoryServer(handlers)
        listeners = await trio.open_ssl_over_tcp_listeners(0, server, host="127.0.0.1")
        await listening.start(
            partial(serve_listeners, listeners, memory_server.serve, handler_nursery=handlers)
        )
        transport = listeners[0].transport_listener
        assert isinstance(transport, trio.SocketListener)
        port = transport.socket.getsockname()[1]
        with trio.fail_after(60):
            async with trio_websocket.open_websocket(
                "localhost", port, "/ws/session", use_ssl=client
            ) as connection:
                await connection.send_message("hello")
                assert await connection.get_message() == "hello"
        assert memory_server.upgrades[0].peer == "127.0.0.1"
        listening.cancel_scope.cancel()
