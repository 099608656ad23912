"""The first connection: errors of TCP and TLS."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme
from trio.testing import MockClock

from portfolio_trio.client import (
    ConnectFailed,
    Limits,
    connect,
)
from portfolio_trio.settings import Delay
from tests.support.app import open_app
from tests.support.client import (
    URL,
    Peer,
    ScriptedServer,
    Transport,
)

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_a_server_that_cannot_be_reached_is_an_error_at_once(autojump_clock: MockClock) -> None:
    transport = Transport(None)
    with pytest.raises(ConnectFailed, match="nobody listens") as failed:
        async with connect(URL, open_stream=transport.dial):
            raise AssertionError("there is no server")
    assert failed.value.retryable is True
    assert transport.dialled == 1


async def test_a_server_that_goes_silent_in_the_handshake_is_an_error_in_time(
    autojump_clock: MockClock,
) -> None:
    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return trio.testing.memory_stream_pair()[0]

    with pytest.raises(ConnectFailed, match="did not answer within 3 s"):
        async with connect(URL, open_stream=dial, limits=Limits(connect_seconds=3)):
            raise AssertionError("there is no server")
    assert trio.current_time() == pytest.approx(3)


async def test_a_server_that_hangs_up_in_the_handshake_is_an_error_at_once(autojump_clock: MockClock) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_eof()
        return ours

    with pytest.raises(ConnectFailed, match="closed the connection during the handshake"):
        async with connect(URL, open_stream=dial):
            raise AssertionError("there is no server")
    assert trio.current_time() == 0


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "wait"),
    [
        (b"503 No\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\ndraining", 503, True, 7),
        (b"401 No\r\nContent-Length: 0\r\n\r\n", 401, False, 0),
        (b"404 No\r\nRetry-After: soon\r\nContent-Length: 4\r\n\r\nnope", 404, False, 0),
    ],
)
async def test_a_refused_upgrade_says_with_what(
    autojump_clock: MockClock, answer: bytes, status: int, *, retryable: bool, wait: int
) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(b"HTTP/1.1 " + answer)
        return ours

    with pytest.raises(ConnectFailed, match=f"HTTP {status}") as failed:
        async with connect(URL, open_stream=dial):
            raise AssertionError("it was refused")
    ending = failed.value.ending
    assert (ending.status, ending.retryable, ending.retry_after) == (status, retryable, wait)


async def test_a_server_without_the_subprotocol_is_an_error(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with trio.open_nursery() as nursery:
        server = ScriptedServer(nursery, script, subprotocol=None)
        with pytest.raises(ConnectFailed, match=r"does not speak portfolio\.v1"):
            async with connect(URL, open_stream=server.dial):
                raise AssertionError("it speaks something else")
        nursery.cancel_scope.cancel()


async def test_a_store_that_is_away_when_the_session_opens_is_an_error(autojump_clock: MockClock) -> None:
    async def away(peer: Peer) -> None:
        await peer.send(type="error", code="unavailable", detail="no Redis", retryable=True)
        await peer.until_closed()

    async with trio.open_nursery() as nursery:
        with pytest.raises(ConnectFailed, match="unavailable: no Redis") as failed:
            async with connect(URL, open_stream=ScriptedServer(nursery, away).dial):
                raise AssertionError("there is no state")
        assert failed.value.retryable is True
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["http://h/ws/s", "ws:///ws/s", "ws://h/s", "h", "ws://h:port/ws/s"])
async def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        async with connect(url):
            raise AssertionError("it leads nowhere")


async def test_the_token_travels_in_a_header(autojump_clock: MockClock) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.extend(peer.request.headers)
        await peer.send_state()
        await peer.until_closed()

    async with trio.open_nursery() as nursery:
        server = ScriptedServer(nursery, script)
        async with connect(URL, open_stream=server.dial, token="abc"):
            assert (b"authorization", b"Bearer abc") in seen
        nursery.cancel_scope.cancel()


async def test_tls_with_a_certificate_that_is_trusted_or_not() -> None:
    authority = trustme.CA()
    ours, theirs = (ssl.create_default_context(purpose) for purpose in (SERVER_AUTH, CLIENT_AUTH))
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    async with open_app() as app:
        (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        listener = trio.SSLListener(plain, theirs, https_compatible=True)
        port = plain.socket.getsockname()[1]
        app.nursery.start_soon(trio.serve_listeners, app.server.http_server.serve, [listener])
        url = f"wss://127.0.0.1:{port}/ws/s"
        with pytest.raises(ConnectFailed, match="reached: its certificate is not trusted: unable to get"):
            async with connect(url, ssl_context=ours):
                raise AssertionError("nobody vouches for it")
        authority.configure_trust(ours)
        async with connect(url, ssl_context=ours) as portfolio:
            assert (await portfolio.trade("AAPL", 1)).version == 2


async def test_plain_tcp_and_a_port_where_nobody_listens() -> None:
    async with open_app() as app:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        host, port = listeners[0].socket.getsockname()
        url = f"ws://{host}:{port}/ws/s"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, app.server.http_server.serve, listeners)
            async with connect(url) as portfolio, portfolio.analyze("AAPL") as results:
                assert len(await results.completed()) == 5
            nursery.cancel_scope.cancel()
    with pytest.raises(ConnectFailed, match=r"^the server cannot be reached: Connection refused$"):
        async with connect(url):
            raise AssertionError("nobody listens")
