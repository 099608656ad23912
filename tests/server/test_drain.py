"""The end of a server: every open socket is informed, even one that opened at the last moment."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed

from portfolio_trio.server.serve import serve
from portfolio_trio.settings import Delay, Settings
from portfolio_trio.store import SessionMissing
from tests.http.frames import Answer, head, plain_head
from tests.http.memory_server import Client as Wire
from tests.support.app import METRICS, App, Client, open_app
from tests.support.streams import StallingStream

pytestmark = pytest.mark.trio

SECRET = "k" * 32


@dataclass
class Late:
    """A client whose 101 is delayed."""

    transport: StallingStream
    client: Client | None = None

    async def knock(self, app: App, stream: trio.abc.Stream) -> None:
        self.client = await app.connect_through(stream, events=True)


async def knock(app: App) -> Late:
    ours, theirs = memory_stream_pair()
    late = Late(StallingStream(theirs))
    late.transport.stall_sending()
    app.server.connections.start_soon(app.server.http_server.serve, late.transport)
    app.nursery.start_soon(late.knock, app, ours)
    await trio.testing.wait_all_tasks_blocked()
    return late


async def goodbye(client: Client | None) -> tuple[int, str]:
    """Read to the end, without an answer to anything; the close code and its reason."""
    assert client is not None
    with pytest.raises(ConnectionClosed) as caught:
        await to_the_end(client)
    assert caught.value.reason is not None
    return int(caught.value.reason.code), caught.value.reason.reason or ""


async def to_the_end(client: Client) -> None:
    while True:
        assert (await client.receive())["type"] == "portfolio"


def tells_when_to_come_back(closed: tuple[int, str]) -> bool:
    return closed[0] == 1001 and re.search(r"retry_after=\d+\.\d$", closed[1]) is not None


async def test_all_are_told_when_to_come_back(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        clients = [await app.connect(events=True) for _ in range(3)]
        began = trio.current_time()
        await app.server.drain()
        assert trio.current_time() == began
        assert all([tells_when_to_come_back(await goodbye(client)) for client in clients])


async def test_a_connection_kept_for_another_request_is_closed_at_once(autojump_clock: MockClock) -> None:
    """It closes at the start of the drain, which lasts as long as the analysis."""
    async with open_app(metric_delay_seconds=Delay(3, 3), drain_seconds=100) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        browser = Wire(app.dial())
        await browser.send(plain_head(b"/"))
        assert (await browser.next_answer()).status == 200
        began = trio.current_time()
        app.nursery.start_soon(app.server.drain)
        assert await browser.rest() == b""
        assert trio.current_time() == began


async def test_notice_is_given_on_an_open_port(autojump_clock: MockClock) -> None:
    async with open_app(drain_notice_seconds=5) as app:
        client = await app.connect()
        assert (await client.ask("get_portfolio"))["type"] == "portfolio"
        began = trio.current_time()
        app.nursery.start_soon(app.server.give_notice)
        await trio.testing.wait_all_tasks_blocked()
        answer = await ask(app, plain_head(b"/ready"))
        assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["the server is draining"])
        assert (await ask(app, plain_head(b"/health"))).status == 200
        refused = await ask(app, head(b"/ws/s"))
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "draining")
        # Existing sockets work as before.
        await client.send("analyze", ticker="AAPL")
        assert {frame["type"] for frame in await client.take(len(METRICS))} == {"analysis_result"}
        assert trio.current_time() < began + 5


async def test_the_port_is_closed_after_the_notice(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(port=0, drain_notice_seconds=1.0)
    caplog.set_level("INFO")
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve, settings, dismissed=stop.wait))
        stop.set()
        while "the port stays open" not in caplog.text:
            await trio.testing.wait_all_tasks_blocked()
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(plain_head(b"/ready"))
            assert (await stream.receive_some(64)).startswith(b"HTTP/1.1 503")
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(*address)


async def ask(app: App, request: bytes) -> Answer:
    return await Wire(app.dial()).ask(request)


async def test_a_socket_being_accepted_gets_the_close_and_delays_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        late = await knock(app)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.drain)
            await trio.sleep(0.5)
            late.transport.resume()
        assert trio.current_time() - began == 0.5
        assert tells_when_to_come_back(await goodbye(late.client))
        assert not app.server._sessions
        # No session was opened.
        with pytest.raises(SessionMissing):
            await app.document()


async def test_a_socket_that_never_takes_its_acceptance_does_not_hold_the_drain_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        await knock(app)
        began = trio.current_time()
        await app.server.drain()
        assert trio.current_time() - began <= 8


async def test_a_socket_that_is_not_authenticated_is_closed_at_once(autojump_clock: MockClock) -> None:
    async with open_app(auth_secret=SECRET, auth_seconds=5) as app:
        stranger = await app.connect()
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await app.server.drain()
        assert trio.current_time() == began
        assert tells_when_to_come_back(await goodbye(stranger))


async def test_a_token_that_comes_with_the_drain_opens_nothing(autojump_clock: MockClock) -> None:
    async with open_app(auth_secret=SECRET, auth_seconds=5) as app:
        late = await knock(app)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.drain)
            await trio.testing.wait_all_tasks_blocked()
            late.transport.resume()
        assert tells_when_to_come_back(await goodbye(late.client))
        assert not app.server._sessions


async def test_a_session_that_fails_while_closing_delays_nobody(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("a fault of ours")

    async with open_app(faults=1) as app:
        broken, other = await app.connect(), await app.connect()
        await other.ask("get_portfolio")
        session: Any = next(iter(app.server._sessions))
        session.subscriber._outbox.empty = fail
        await app.server.drain()
        assert await broken.closed() == 1011
        assert tells_when_to_come_back(await goodbye(other))


async def test_the_end_of_a_run_that_is_open_at_the_deadline_is_sent_once(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(100, 100), drain_seconds=1) as app:
        client = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.drain)
            frames = await client.until("analysis_cancelled")
            assert [(f["type"], f["reason"]) for f in frames] == [("analysis_cancelled", "draining")]
            # And nothing else.
            assert tells_when_to_come_back(await goodbye(client))
