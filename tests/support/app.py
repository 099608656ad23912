"""A whole server in memory, in virtual time, and clients that talk to it."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.testing import memory_stream_pair
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, wrap_client_stream

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.redis import EmbeddedServer
from portfolio_trio.server.server import Server, open_server
from portfolio_trio.settings import Settings
from portfolio_trio.telemetry import OFF
from tests.http.frames import plain_head
from tests.http.memory_server import Client as HttpClient
from tests.support.clock import virtual_wall_time
from tests.support.streams import Kept, StallingStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.telemetry import Telemetry
    from tests.http.frames import Answer

METRICS = ("portfolio_risk", "concentration", "correlation", "momentum", "allocation_score")
HOLDINGS = {"AAPL": 100, "GOOGL": 50, "MSFT": 75}

Frame = dict[str, Any]


class Client:
    """One socket of one session."""

    def __init__(self, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.socket = socket
        self.stream = stream

    async def send(self, action: str, **fields: object) -> None:
        await self.socket.send_message(json.dumps({"action": action, **fields}))

    async def receive(self) -> Frame:
        frame: Frame = json.loads(await self.socket.get_message())
        return frame

    async def take(self, count: int) -> list[Frame]:
        """The next messages, a given number of them."""
        return [await self.receive() for _ in range(count)]

    async def until(self, kind: str) -> list[Frame]:
        """Messages up to and with the first of one type."""
        frames = [await self.receive()]
        while frames[-1]["type"] != kind:
            frames.append(await self.receive())
        return frames

    async def silence(self, seconds: float) -> list[Frame]:
        """The messages that arrive within a number of seconds."""
        frames = []
        with trio.move_on_after(seconds):
            while True:
                frames.append(await self.receive())
        return frames

    async def ask(self, action: str, **fields: object) -> Frame:
        """Send one request and take the next message."""
        await self.send(action, **fields)
        return await self.receive()

    async def closed(self) -> int:
        """Read to the end; the close code."""
        while True:
            try:
                await self.socket.get_message()
            except ConnectionClosed as end:
                return -1 if end.reason is None else int(end.reason.code)


class Reader:
    """Keeps what one socket receives."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.frames: list[Frame] = []
        self.closed: CloseReason | None = None

    async def read(self) -> None:
        """Until the end of the connection, however the library says that it is over."""
        try:
            while True:
                self.frames.append(await self.client.receive())
        except ConnectionClosed as end:
            self.closed = end.reason
        except Exception:  # noqa: BLE001 - see above
            return

    @property
    def was_told(self) -> bool:
        """Whether the server has said that it goes away, and when to come back."""
        reason = self.closed
        return reason is not None and reason.code == 1001 and "retry_after=" in (reason.reason or "")


class App:
    """A server and the nursery its clients live in."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self.server = server
        self.nursery = nursery

    @property
    def store(self) -> Any:
        return self.server.services.store

    async def document(self, session_id: str = "s") -> Frame:
        document: Frame = await self.store.get_document(session_id)
        return document

    async def connect(self, session_id: str = "s", *, events: bool = False) -> Client:
        """Open a socket; with ``events`` it speaks the subprotocol."""
        return await self.connect_through(self.dial(), session_id, events=events)

    async def subscribe(self, session_id: str = "s") -> Client:
        """Open a socket that gets the session's events, and has got its state."""
        subscriber = await self.connect(session_id, events=True)
        assert (await subscriber.receive())["type"] == "portfolio"
        return subscriber

    async def connect_stalling(
        self, session_id: str = "s", *, events: bool = False
    ) -> tuple[Client, StallingStream]:
        """Open a socket; the transport to it can be stalled."""
        stalling = Kept(StallingStream)
        client = await self.connect_through(self.dial(stalling), session_id, events=events)
        return client, stalling.stream

    def dial(
        self, wrap: Callable[[trio.abc.HalfCloseableStream], trio.abc.Stream] = lambda stream: stream
    ) -> trio.abc.HalfCloseableStream:
        """The client's end of a connection whose other end, wrapped, is served."""
        ours, theirs = memory_stream_pair()
        self.server.connections.start_soon(self.server.http_server.serve, wrap(theirs))
        return ours

    async def get(self, path: str, method: bytes = b"GET", **headers: bytes) -> Answer:
        """Ask for a path by plain HTTP."""
        return await HttpClient(self.dial()).ask(plain_head(path.encode(), method=method, **headers))

    async def ready(self) -> tuple[int, Frame]:
        """What ``GET /ready`` answers."""
        answer = await self.get("/ready")
        return answer.status, json.loads(answer.body)

    async def connect_through(
        self, stream: trio.abc.Stream, session_id: str = "s", *, events: bool = False
    ) -> Client:
        socket = await wrap_client_stream(
            self.nursery,
            cast("trio.SocketStream", stream),  # typed for sockets; any stream will do
            "memory",
            f"/ws/{session_id}",
            subprotocols=[SUBPROTOCOL] if events else None,
        )
        return Client(socket, stream)


@asynccontextmanager
async def open_app(
    *,
    metrics: MetricRegistry | None = None,
    seed: int = 0,
    embedded: EmbeddedServer | None = None,
    faults: int = 0,
    telemetry: Telemetry = OFF,
    **settings: object,
) -> AsyncGenerator[App]:
    """A server in memory; under `trio.testing.MockClock` its wall clock is virtual, too.

    As many faults as given are contained in it, since a fault that is contained fails no test by itself.
    """
    fields: dict[str, Any] = {"default_holdings": HOLDINGS, "redis_url": "embedded://", **settings}
    async with (
        open_server(
            Settings(**fields),
            metrics=metrics,
            now=virtual_wall_time,
            rng=random.Random(seed),
            embedded=embedded,
            telemetry=telemetry,
        ) as server,
        trio.open_nursery() as nursery,
    ):
        yield App(server, nursery)
        assert server.services.faults.counts.total() == faults, server.services.faults.counts
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_pair(**settings: Any) -> AsyncGenerator[tuple[App, App]]:
    """Two servers on one Redis in memory; the first one leads the market."""
    shared = EmbeddedServer(virtual_wall_time)
    async with (
        open_app(embedded=shared, **settings) as one,
        open_app(embedded=shared, seed=1, **settings) as two,
    ):
        yield one, two


def results(frames: Sequence[Frame]) -> list[tuple[str, str]]:
    """Ticker and metric of each result among some messages."""
    return [(frame["ticker"], frame["metric"]) for frame in frames if frame["type"] == "analysis_result"]
