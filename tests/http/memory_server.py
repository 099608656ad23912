"""An HTTP server in memory and a client at it."""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import pytest
import trio
import trio.testing

from portfolio_trio.http import (
    Disconnected,
    HttpServer,
    Pending,
    Request,
    Response,
    Upgrade,
    Visit,
    WebSocketTransport,
    accept_websocket,
)
from portfolio_trio.nurseries import background
from tests.http.frames import TEXT, Answer, Frame, frame, head, read_answer, read_frame, read_frames
from tests.support.streams import read_to_end, stream_pair


def run_in_virtual_time(main: Callable[..., Awaitable[Any]], *args: object, **_: object) -> object:
    """Run `main` with a clock that jumps to the next deadline whenever nothing else can happen."""
    return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


VIRTUAL_TIME = pytest.mark.trio(run=run_in_virtual_time)

Session = Callable[[WebSocketTransport], Awaitable[None]]
Wrap = Callable[[trio.abc.HalfCloseableStream], trio.abc.Stream]


async def echo(transport: WebSocketTransport) -> None:
    while True:
        message = await transport.receive()
        await transport.send([message if isinstance(message, str) else f"{len(message)} bytes"])


async def ping_while_receiving(transport: WebSocketTransport, timeout: float) -> None:  # noqa: ASYNC109 - of the ping
    """As a session does: pongs are seen while a message is being received."""

    async def receive() -> None:
        with suppress(Disconnected):
            await echo(transport)

    async with background() as tasks:
        tasks.start_soon(receive)
        await transport.ping(timeout)


class MemoryServer:
    """Serves connections in memory, each in its own task, and remembers how they ended."""

    def __init__(self, nursery: trio.Nursery, **settings: Any) -> None:
        self.requests: list[Request] = []
        self.upgrades: list[Upgrade] = []
        self.disconnects: list[Disconnected] = []
        self.open = 0
        self.session: Session = echo
        self.accept_settings: dict[str, Any] = {}
        self.websocket: Callable[[Upgrade], Awaitable[None]] = self.accept
        self._nursery = nursery
        routes = {
            ("GET", "/health"): self._health,
            ("POST", "/echo"): self._echo,
            ("GET", "/broken"): self._broken,
            ("GET", "/slow"): self._slow,
            ("GET", "/kept"): self._kept,
            ("GET", "/known"): self._known,
            ("POST", "/kept"): self._kept,
        }
        self.http_server = HttpServer(routes=routes, websocket=self._enter, **settings)

    def connect(self, wrap: Wrap | None = None) -> "Client":
        """Return a client's end; `wrap` gets the server's end and returns what the server shall see."""
        ours, theirs = stream_pair()
        self._nursery.start_soon(self.serve, theirs if wrap is None else wrap(theirs))
        return Client(ours)

    def connect_as(self, pending: Pending) -> "Client":
        """Return a client's end whose connection is one of `pending`, and can be closed for others."""
        ours, theirs = stream_pair()
        self._nursery.start_soon(self.serve, theirs, pending.enter(theirs))
        return Client(ours)

    async def serve(self, stream: trio.abc.Stream, visit: Visit | None = None) -> None:
        self.open += 1
        try:
            await self.http_server.serve(stream, visit)
        finally:
            self.open -= 1

    async def _enter(self, upgrade: Upgrade) -> None:
        self.upgrades.append(upgrade)
        await self.websocket(upgrade)

    async def accept(self, upgrade: Upgrade) -> None:
        subprotocol = next(iter(upgrade.subprotocols), None)
        async with accept_websocket(upgrade, subprotocol=subprotocol, **self.accept_settings) as transport:
            try:
                await self.session(transport)
            except Disconnected as gone:
                self.disconnects.append(gone)
                raise

    async def _health(self, request: Request) -> Response:
        self.requests.append(request)
        return Response.json({"status": "ok"})

    async def _echo(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(body=request.body, content_type="application/octet-stream")

    async def _broken(self, _: Request) -> Response:
        raise LookupError("a route that fails")

    async def _kept(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(body=f"{len(self.requests)}".encode(), keeps=True)

    async def _known(self, _: Request) -> Response:
        return Response(status=304, headers=(("ETag", '"a"'),), keeps=True)

    async def _slow(self, _: Request) -> Response:
        await trio.sleep(3_600)
        return Response()


class Client:
    """A client that speaks in bytes."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(self, request: bytes) -> Answer:
        """Send a plain request and return its answer, read to the end of the connection."""
        await self.stream.send_all(request)
        return read_answer(await self.rest())

    async def rest(self) -> bytes:
        """Return all that comes until the server closes; then close, too."""
        data, self._buffer = self._buffer + await read_to_end(self.stream), b""
        await self.stream.aclose()
        return data

    async def rest_frames(self) -> list[Frame]:
        return read_frames(await self.rest())

    async def next_answer(self, *, head_only: bool = False) -> Answer:
        """Return the next answer of a connection that is kept; what comes behind it stays."""
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        top, _, rest = self._buffer.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", top)
        size = 0 if head_only or found is None else int(found[1])
        while len(rest) < size:
            await self._more()
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[size:]
        return read_answer(top + b"\r\n\r\n" + rest[:size], head_only=head_only)

    async def upgrade(self, request: bytes | None = None) -> Answer:
        """Open the WebSocket and return the server's answer."""
        await self.stream.send_all(head() if request is None else request)
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        top, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        answer = read_answer(top + b"\r\n\r\n")
        assert answer.status == 101
        return answer

    async def next_frame(self) -> Frame:
        while (parsed := read_frame(self._buffer)) is None:
            await self._more()
        found, self._buffer = parsed
        return found

    async def echoes(self, text: str) -> bool:
        """Say whether the server still answers."""
        await self.send(frame(TEXT, text.encode()))
        return (await self.next_frame()).text == text

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        if not data:
            raise EOFError(self._buffer)
        self._buffer += bytes(data)


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
