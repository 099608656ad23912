"""Servers for the typed client: the real one in memory, or a scripted one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from portfolio_trio.client import connect
from portfolio_trio.protocol.messages import SUBPROTOCOL, Portfolio, Valued
from tests.support.app import METRICS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from portfolio_trio.client import Backoff, Event, Limits, PortfolioClient
    from tests.support.app import App, Frame

Wrap: TypeAlias = Callable[[trio.abc.HalfCloseableStream], trio.abc.HalfCloseableStream]
Script: TypeAlias = "Callable[[Peer], Awaitable[None]]"

URL = "ws://memory/ws/s"
STATE = Portfolio(
    session_id="s",
    holdings={"AAPL": 100},
    version=1,
    total_value=1_000.0,
    valued=Valued(tick_id=1, as_of="2026-01-01T00:00:00.000Z"),
)


class Transport:
    """Dials an app in memory, and can be cut.

    Attributes:
        app: Where it leads; None refuses every connection.
        dialled: The number of connections made.
    """

    def __init__(self, app: App | None, wrap: Wrap = lambda stream: stream) -> None:
        self.app = app
        self.dialled = 0
        self.stream: trio.abc.HalfCloseableStream
        self._wrap = wrap

    async def dial(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dialled += 1
        if self.app is None:
            raise ConnectionRefusedError("nobody listens")
        ours = self.app.dial()
        self.stream = self._wrap(ours)
        return self.stream

    async def cut(self) -> None:
        """The connection is lost for both sides, without a close."""
        await trio.aclose_forcefully(self.stream)


@asynccontextmanager
async def enter(
    app: App,
    transport: Transport | None = None,
    *,
    session_id: str = "s",
    limits: Limits | None = None,
    backoff: Backoff | None = None,
) -> AsyncGenerator[PortfolioClient]:
    """A typed client of an app."""
    async with connect(
        f"ws://memory/ws/{session_id}",
        open_stream=(transport or Transport(app)).dial,
        limits=limits,
        backoff=backoff,
    ) as portfolio:
        yield portfolio


class Peer:
    """The server's end of one connection, for a script to play."""

    def __init__(self, socket: WebSocketConnection, request: WebSocketRequest) -> None:
        self.socket = socket
        self.request = request

    async def send(self, **fields: object) -> None:
        await self.socket.send_message(json.dumps(fields))

    async def send_state(self, **changes: object) -> None:
        await self.socket.send_message(STATE.model_copy(update=changes).to_json())

    async def receive(self) -> Frame:
        frame: Frame = json.loads(await self.socket.get_message())
        return frame

    async def until_closed(self) -> int:
        """Read to the end; the close code."""
        try:
            while True:
                await self.socket.get_message()
        except ConnectionClosed as end:
            return -1 if end.reason is None else int(end.reason.code)


class ScriptedServer:
    """Plays one script for each connection, the last one again and again."""

    def __init__(
        self, nursery: trio.Nursery, *scripts: Script, subprotocol: str | None = SUBPROTOCOL
    ) -> None:
        self._nursery = nursery
        self._subprotocol = subprotocol
        self._scripts = scripts
        self.dialled = 0

    async def dial(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        script = self._scripts[min(self.dialled, len(self._scripts) - 1)]
        self.dialled += 1
        self._nursery.start_soon(self._play, theirs, script)
        return ours

    async def _play(self, stream: trio.abc.Stream, script: Script) -> None:
        async with trio.open_nursery() as nursery:
            try:
                request = await wrap_server_stream(nursery, stream)
                await script(Peer(await request.accept(subprotocol=self._subprotocol), request))
            except ConnectionClosed:
                pass
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def scripted(
    *scripts: Script, limits: Limits | None = None, backoff: Backoff | None = None
) -> AsyncGenerator[tuple[PortfolioClient, ScriptedServer]]:
    """A typed client of a scripted server."""
    async with trio.open_nursery() as nursery:
        server = ScriptedServer(nursery, *scripts)
        async with connect(URL, open_stream=server.dial, limits=limits, backoff=backoff) as portfolio:
            yield portfolio, server
        nursery.cancel_scope.cancel()


async def events_until(portfolio: PortfolioClient, kind: type) -> list[Event]:
    """Events up to and with the first of one type."""
    seen: list[Event] = []
    async for event in portfolio:
        seen.append(event)
        if isinstance(event, kind):
            return seen
    raise AssertionError("the events ended")


async def silence(portfolio: PortfolioClient, seconds: float) -> list[Event]:
    """Events within a number of seconds."""
    seen: list[Event] = []
    with trio.move_on_after(seconds):
        async for event in portfolio:
            seen.append(event)  # noqa: PERF401  # a comprehension would lose what it has when time is up
    return seen


def update(tick: int) -> dict[str, object]:
    return {
        "type": "portfolio_update",
        "total_value": float(tick),
        "values": {"AAPL": float(tick)},
        "tick_id": tick,
        "as_of": "2026-01-01T00:00:00.000Z",
        "stale": False,
    }


def started(request_id: int | None, run_id: int) -> dict[str, object]:
    return {
        "type": "analysis_started",
        "id": request_id,
        "ticker": "AAPL",
        "run_id": run_id,
        "metrics": list(METRICS),
        "snapshot": "x",
        "version": STATE.version,
        "tick_id": 1,
        "as_of": "2026-01-01T00:00:00.000Z",
    }


def completed(request_id: int, run_id: int) -> dict[str, object]:
    return {
        "type": "analysis_completed",
        "id": request_id,
        "ticker": "AAPL",
        "run_id": run_id,
        "results": 0,
        "errors": 0,
    }
