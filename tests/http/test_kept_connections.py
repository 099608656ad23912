"""Connections that are kept after an answer: several requests, each with its own bytes, and an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from portfolio_trio.http import Pending
from tests.http.frames import head, plain_head, read_answer
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer
from tests.support.streams import NarrowStream

if TYPE_CHECKING:
    from tests.http.memory_server import Client

pytestmark = VIRTUAL_TIME

KEPT = plain_head(b"/kept")
SMUGGLED = plain_head(b"/health")
KEEP_SECONDS, SEND_SECONDS = 5, 10


async def is_closed(client: Client) -> bool:
    """The server has closed the connection and sent nothing more; no time passes."""
    with trio.move_on_after(0.001):
        return await client.rest() == b""
    return False


async def test_several_requests_are_answered_on_one_connection(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    for number in (1, 2, 3):
        await client.send(KEPT)
        answer = await client.next_answer()
        assert (answer.status, answer.body) == (200, str(number).encode())
        assert "connection" not in answer.headers
    # A route that does not keep it closes it, and says so.
    await client.send(plain_head(b"/health"))
    assert (await client.next_answer()).headers["connection"] == "close"
    assert await is_closed(client)


async def test_what_is_sent_ahead_is_answered_in_its_order(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    posted = plain_head(b"/echo", method=b"POST", content_length=b"3") + b"abc"
    await client.send(KEPT + plain_head(b"/kept", method=b"HEAD") + KEPT[:20])
    assert (await client.next_answer()).body == b"1"
    assert (await client.next_answer(head_only=True)).status == 200
    await client.send(KEPT[20:] + plain_head(b"/known") + posted + KEPT)
    assert (await client.next_answer()).body == b"3"
    assert (await client.next_answer()).status == 304
    # A body is read to its end and closes the connection; what came behind it is not answered.
    assert read_answer(await client.rest()).body == b"abc"
    assert [request.head.path for request in memory_server.requests] == ["/kept"] * 3 + ["/echo"]


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: close\r\n",
        b"Connection: x, Close\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 98, 98\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\tchunked\r\nConnection: keep-alive\r\n",
    ],
)
@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5\r\nGET /\r\n0\r\n\r\n", b""])
async def test_nothing_in_doubt_is_followed_by_another_request(
    memory_server: MemoryServer, fields: bytes, body: bytes
) -> None:
    """Wherever a proxy may see another end of the request than this server, there is one answer."""
    client = memory_server.connect()
    await client.send(b"GET /kept HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body + SMUGGLED * 3)
    answer = read_answer(await client.rest())
    assert answer.headers["connection"] == "close"
    assert len(memory_server.requests) <= 1
    assert all(request.head.path == "/kept" for request in memory_server.requests)


@pytest.mark.parametrize(
    "request_line", [b"GET /kept HTTP/1.0\r\nConnection: keep-alive\r\n", b"GET /kept HTTP/1.0\r\n"]
)
async def test_an_old_client_gets_one_answer(memory_server: MemoryServer, request_line: bytes) -> None:
    client = memory_server.connect()
    await client.send(request_line + b"Host: a\r\n\r\n" + KEPT)
    assert read_answer(await client.rest()).headers["connection"] == "close"


async def test_a_length_of_zero_leaves_no_doubt(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(plain_head(b"/kept", content_length=b"0") + KEPT)
    assert [(await client.next_answer()).body for _ in range(2)] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /kept HTTP/1.1\r\n\r\n", 400),
        (b"GET /kept HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
        (b"GET /kept HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (plain_head(b"/kept", x_much=b"x" * 20_000), 431),
    ],
)
async def test_a_bad_request_is_the_last(memory_server: MemoryServer, bad: bytes, status: int) -> None:
    client = memory_server.connect()
    await client.send(KEPT + bad + KEPT)
    assert (await client.next_answer()).body == b"1"
    answer = read_answer(await client.rest())
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert len(memory_server.requests) == 1


async def test_a_connection_has_a_bound_of_requests(nursery: trio.Nursery) -> None:
    server = MemoryServer(nursery, max_requests=3)
    client = server.connect()
    await client.send(KEPT * 5)
    said = [(await client.next_answer()).headers.get("connection") for _ in range(3)]
    assert said == [None, None, "close"]
    assert await client.rest() == b""
    assert len(server.requests) == 3


async def test_an_idle_connection_is_closed_in_silence(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(KEPT)
    await client.next_answer()
    began = trio.current_time()
    assert await client.rest() == b""
    assert trio.current_time() - began == pytest.approx(KEEP_SECONDS)
    await wait_all_tasks_blocked()
    assert memory_server.open == 0


async def test_a_head_that_drips_is_bound_by_one_deadline(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(KEPT)
    await client.next_answer()
    began = trio.current_time()
    for _ in range(KEEP_SECONDS - 1):
        await trio.sleep(1)
        await client.send(b"G")
    assert read_answer(await client.rest()).status == 408
    assert trio.current_time() - began == pytest.approx(KEEP_SECONDS)


async def test_a_client_that_stops_reading_is_dropped(memory_server: MemoryServer) -> None:
    client = memory_server.connect(lambda stream: NarrowStream(stream, 20))
    await client.send(KEPT * 3)
    await trio.sleep(SEND_SECONDS)
    await wait_all_tasks_blocked()
    assert memory_server.open == 0
    # The answer that was not accepted in time is the last one made.
    assert len(memory_server.requests) == 1


async def test_a_kept_connection_may_become_a_websocket(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(KEPT + head())
    assert (await client.next_answer()).status == 200
    await client.upgrade(b"")
    assert await client.echoes("hello")


async def test_leaving_closes_what_is_idle_at_once_and_answers_what_has_begun(
    memory_server: MemoryServer,
) -> None:
    idle, begun, silent = (memory_server.connect() for _ in range(3))
    for client in (idle, begun):
        await client.send(KEPT)
        await client.next_answer()
    await begun.send(KEPT[:10])
    await wait_all_tasks_blocked()
    began = trio.current_time()
    memory_server.http_server.close_kept()
    assert await idle.rest() == b""
    assert trio.current_time() == began
    await begun.send(KEPT[10:] + KEPT)
    assert read_answer(await begun.rest()).headers["connection"] == "close"
    # A connection that has not asked yet may still ask once.
    await silent.send(KEPT + KEPT)
    assert read_answer(await silent.rest()).headers["connection"] == "close"


async def test_an_answer_that_was_on_its_way_when_the_server_left_is_the_last(
    memory_server: MemoryServer,
) -> None:
    client = memory_server.connect()
    await client.send(KEPT)
    memory_server.http_server.close_kept()
    assert read_answer(await client.rest()).headers["connection"] == "close"


async def test_idle_connections_give_way_as_silent_ones_do(memory_server: MemoryServer) -> None:
    """The limit of an address counts them; in the midst of a request they are not closed."""
    pending = Pending(per_address=2)
    clients = []
    for _ in range(4):
        client = memory_server.connect_as(pending)
        await client.send(KEPT)
        await client.next_answer()
        await wait_all_tasks_blocked()
        clients.append(client)
    assert len(pending) == 2
    for gone in clients[:2]:
        assert await is_closed(gone)
    for kept in clients[2:]:
        await kept.send(KEPT)
        assert (await kept.next_answer()).status == 200
    assert len(pending) == 2
