"""Silent connections are closed for others: of their own address, or of any if the server is full."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from portfolio_trio.http import HttpServer, Pending, Response, serve_listeners
from portfolio_trio.http._pending import Visit
from portfolio_trio.server.serve import SPARE_CONNECTIONS, listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings
from tests.http.frames import head, plain_head, read_answer
from tests.http.memory_server import VIRTUAL_TIME, Client
from tests.http.test_listeners import FakeListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portfolio_trio.http import Request, Upgrade

HEALTH = plain_head(b"/health")
SLOW_GET = plain_head(b"/health", content_length=b"100") + b"{"
SLOW_BODY = plain_head(b"/session", method=b"POST", content_length=b"100") + b"{"


class PendingServer:
    """An HTTP server behind a listener whose connections come from the addresses that a test names."""

    def __init__(self, nursery: trio.Nursery, *, per_address: int | None, max_connections: int) -> None:
        self.pending = Pending(per_address=per_address, address_of=lambda _: self.address)
        self.address: str | None = "flood"
        self.answering = trio.Event()
        self._nursery = nursery
        self._listener = FakeListener()
        self._max_connections = max_connections

    async def open(self) -> None:
        http_server = HttpServer(
            routes={("GET", "/health"): self._health, ("GET", "/busy"): self._busy},
            websocket=self._refuse,
            header_seconds=1e6,
            body_seconds=1e6,
            linger_seconds=1e6,
        )
        serve = partial(
            serve_listeners,
            [self._listener],
            http_server.serve,
            handler_nursery=self._nursery,
            max_connections=self._max_connections,
            pending=self.pending,
        )
        await self._nursery.start(serve)

    async def connect(self, address: str, request: bytes = b"") -> Client:
        self.address = address
        client = self._listener.connect()
        await wait_all_tasks_blocked()
        if request:
            await client.send(request)
            await wait_all_tasks_blocked()
        return client

    async def status(self, address: str) -> int:
        client = await self.connect(address, HEALTH)
        return read_answer(await client.rest()).status

    async def _health(self, _: Request) -> Response:
        return Response.json({"status": "ok"})

    async def _busy(self, _: Request) -> Response:
        await self.answering.wait()
        return Response.json({"status": "busy"})

    async def _refuse(self, upgrade: Upgrade) -> None:
        await upgrade.reject(403, "origin_refused", "no")


@pytest.fixture
async def pending_server(nursery: trio.Nursery) -> AsyncIterator[PendingServer]:
    step = PendingServer(nursery, per_address=5, max_connections=12)
    await step.open()
    yield step
    nursery.cancel_scope.cancel()


@VIRTUAL_TIME
@pytest.mark.parametrize("said", [b"", b"GET /hea", SLOW_GET])
async def test_the_oldest_of_an_address_gives_way(pending_server: PendingServer, said: bytes) -> None:
    silent = [await pending_server.connect("flood", said) for _ in range(50)]
    assert len(pending_server.pending) == 5
    for gone in silent[:45]:
        assert await gone.rest() == b""
    assert await pending_server.status("flood") == await pending_server.status("other") == 200


@VIRTUAL_TIME
@pytest.mark.parametrize("asked", [HEALTH, plain_head(b"/nowhere"), head()])
async def test_who_does_not_take_its_answer_gives_way(pending_server: PendingServer, asked: bytes) -> None:
    clients = [await pending_server.connect("flood", asked) for _ in range(50)]
    assert len(pending_server.pending) == 5
    assert await pending_server.status("other") == 200
    for gone in clients[:45]:
        # The server has half-closed all of them, but only these are closed.
        with pytest.raises(trio.BrokenResourceError):
            await gone.send(b"x")
    for staying in clients[45:]:
        await staying.send(b"x")


@VIRTUAL_TIME
async def test_who_has_asked_does_not_give_way(pending_server: PendingServer) -> None:
    busy = [await pending_server.connect("flood", plain_head(b"/busy")) for _ in range(10)]
    for _ in range(20):
        await pending_server.connect("flood")
    pending_server.answering.set()
    for client in busy:
        assert read_answer(await client.rest()).status == 200


@VIRTUAL_TIME
async def test_a_full_server_gives_the_place_of_who_has_most(nursery: trio.Nursery) -> None:
    step = PendingServer(nursery, per_address=None, max_connections=12)
    await step.open()
    for _ in range(12):
        await step.connect("flood")
    assert [await step.status(f"other {number}") for number in range(30)] == [200] * 30
    nursery.cancel_scope.cancel()


@VIRTUAL_TIME
async def test_a_full_server_gives_the_place_of_who_has_waited(nursery: trio.Nursery) -> None:
    """As behind a proxy, where all have one address."""
    step = PendingServer(nursery, per_address=None, max_connections=12)
    await step.open()
    for _ in range(12):
        await step.connect("proxy")
    assert await step.status("proxy") == 503
    await trio.sleep(1)
    assert [await step.status("proxy") for _ in range(30)] == [200] * 30
    nursery.cancel_scope.cancel()


@VIRTUAL_TIME
async def test_nobody_is_counted_who_is_gone(pending_server: PendingServer) -> None:
    clients = [await pending_server.connect(name, said) for name in "abc" for said in (b"", b"GET", HEALTH)]
    for client in clients:
        await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked()
    assert len(pending_server.pending) == 0


@VIRTUAL_TIME
async def test_who_gives_way_before_it_is_waited_for_is_not_waited_for() -> None:
    visit = Pending().enter(memory_stream_pair()[0])
    visit.evict()
    with visit:
        await trio.sleep(1)
    assert trio.current_time() == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "asked", "answered"]))))
def test_no_address_has_more_than_its_limit(steps: list[tuple[str, str]]) -> None:
    """Against a list for each address: the first of it goes when there is one too many."""

    async def main() -> None:
        address = ""
        pending = Pending(per_address=3, address_of=lambda _: address)
        waiting: dict[str, list[Visit]] = {"a": [], "b": [], "c": []}
        busy: dict[str, list[Visit]] = {"a": [], "b": [], "c": []}
        stream: Any = None
        for address, step in steps:
            if step == "enter":
                waiting[address].append(pending.enter(stream))
            elif step == "asked" and waiting[address]:
                waiting[address][0].asked()
                busy[address].append(waiting[address].pop(0))
            elif step == "answered" and busy[address]:
                busy[address][0].answered()
                waiting[address].append(busy[address].pop(0))
            if len(waiting[address]) > 3:
                gone = waiting[address].pop(0)
                assert gone.evicted
                gone.answered()
            assert len(pending) == sum(map(len, waiting.values()))
            there = [visit for each in (*waiting.values(), *busy.values()) for visit in each]
            assert not any(visit.evicted for visit in there)

    trio.run(main)


@pytest.mark.trio
@pytest.mark.parametrize("said", [b"", SLOW_BODY])
async def test_364_silent_connections_of_loopback_keep_nobody_out(said: bytes) -> None:
    """Real sockets and a whole server: others of another address, and of the same one, are served."""
    settings = Settings(redis_url="embedded://", port=0, max_connections=300, max_pending_per_address=200)
    with trio.fail_after(60):
        async with open_server(settings) as server, trio.open_nursery() as nursery, AsyncExitStack() as stack:
            _, port = await nursery.start(listen, server, trio.CancelScope())

            async def connect(address: str) -> trio.SocketStream:
                stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=address)
                return await stack.enter_async_context(stream)

            silent = [await connect("127.0.0.1") for _ in range(300 + SPARE_CONNECTIONS)]
            for stream in silent if said else ():
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(said)
            for address in ("127.0.0.1", "127.0.0.2"):
                assert (await Client(await connect(address)).ask(HEALTH)).status == 200
                assert (await Client(await connect(address)).upgrade()).status == 101
            nursery.cancel_scope.cancel()
