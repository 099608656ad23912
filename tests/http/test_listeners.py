"""Accepting: neither a connection, a shortage nor a failing handler ends it; only cancelling does."""

import errno
import logging
import socket
from functools import partial

import pytest
import trio
import trio.testing
from typing_extensions import override

from portfolio_trio.http import Visit, serve_listeners
from tests.http.frames import read_answer
from tests.http.memory_server import VIRTUAL_TIME, Client
from tests.support.logs import events
from tests.support.streams import Data, WrappedStream, stream_pair

pytestmark = VIRTUAL_TIME


class FakeListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what a test hands it: streams, and errors to raise."""

    def __init__(self) -> None:
        self.closed = False
        self.accepted_at: list[float] = []
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream | OSError](300)

    def connect(self) -> Client:
        ours, theirs = stream_pair()
        self._send.send_nowait(theirs)
        return Client(ours)

    def hand_over(self, stream: trio.abc.Stream) -> None:
        self._send.send_nowait(stream)

    def fail(self, number: int) -> None:
        self._send.send_nowait(OSError(number, errno.errorcode[number]))

    @override
    async def accept(self) -> trio.abc.Stream:
        item = await self._receive.receive()
        self.accepted_at.append(trio.current_time())
        if isinstance(item, OSError):
            raise item
        return item

    @override
    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class FaultyStream(WrappedStream):
    """Sends nothing, because of a bug."""

    @override
    async def send_all(self, data: Data) -> None:
        raise LookupError("a fault of ours")


async def greet(stream: trio.abc.Stream, _: Visit) -> None:
    await stream.send_all(b"hello")
    await trio.sleep(10)


async def greeted(client: Client) -> bool:
    return bytes(await client.stream.receive_some(5)) == b"hello"


async def test_each_listener_is_served(nursery: trio.Nursery) -> None:
    listeners = [FakeListener(), FakeListener()]
    await nursery.start(partial(serve_listeners, listeners, greet, handler_nursery=nursery))
    for listener in [*listeners, *listeners]:
        assert await greeted(listener.connect())


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_a_shortage_is_waited_out(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    listener = FakeListener()
    for _ in range(3):
        listener.fail(number)
    await nursery.start(partial(serve_listeners, [listener], greet, handler_nursery=nursery))
    assert await greeted(listener.connect())
    assert listener.accepted_at == pytest.approx([0, 0.1, 0.2, 0.3])
    assert len(caplog.records) == 1


async def test_a_long_shortage_is_a_line_for_each_period(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    listener = FakeListener()
    for _ in range(250):
        listener.fail(errno.EMFILE)
    await nursery.start(partial(serve_listeners, [listener], greet, handler_nursery=nursery))
    assert await greeted(listener.connect())
    said = [fields for _, fields in events(caplog, "no_resources")]
    held_back = [fields.get("held_back", 0) for fields in said]
    assert held_back == pytest.approx([0, 99, 99], abs=2)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET])
async def test_a_client_that_gave_up_is_no_matter(nursery: trio.Nursery, number: int) -> None:
    listener = FakeListener()
    listener.fail(number)
    await nursery.start(partial(serve_listeners, [listener], greet, handler_nursery=nursery))
    assert await greeted(listener.connect())
    assert trio.current_time() == 0


async def test_a_broken_listener_is_said_so(nursery: trio.Nursery) -> None:
    listener = FakeListener()
    listener.fail(errno.EBADF)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="EBADF")):
        await serve_listeners([listener], greet, handler_nursery=nursery)
    assert listener.closed


async def test_a_handler_that_fails_ends_its_connection_only(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(stream: trio.abc.Stream, _: Visit) -> None:
        async with trio.open_nursery():
            raise LookupError("a handler that fails")

    listener = FakeListener()
    await nursery.start(partial(serve_listeners, [listener], fail, handler_nursery=nursery))
    for _ in range(2):
        assert await listener.connect().rest() == b""
    await trio.testing.wait_all_tasks_blocked()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_above_the_limit_is_503(nursery: trio.Nursery) -> None:
    listener = FakeListener()
    serve = partial(serve_listeners, [listener], greet, handler_nursery=nursery, max_connections=2)
    await nursery.start(serve)
    assert await greeted(listener.connect())
    assert await greeted(listener.connect())
    answer = read_answer(await listener.connect().rest())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    await trio.sleep(10)
    assert await greeted(listener.connect())


async def test_turning_away_is_bounded(nursery: trio.Nursery) -> None:
    """A flood above the limit is closed without an answer, once enough are being answered."""
    listener = FakeListener()
    serve = partial(serve_listeners, [listener], greet, handler_nursery=nursery, max_connections=0)
    await nursery.start(serve)
    clients = [listener.connect() for _ in range(80)]
    await trio.testing.wait_all_tasks_blocked()
    answers = [await client.rest() for client in clients]
    assert sum(answer == b"" for answer in answers) == 80 - 64
    assert trio.current_time() <= 2
    assert read_answer(await listener.connect().rest()).status == 503


async def test_a_fault_in_turning_away_ends_that_connection_only(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    listener = FakeListener()
    serve = partial(serve_listeners, [listener], greet, handler_nursery=nursery, max_connections=1)
    await nursery.start(serve)
    assert await greeted(listener.connect())
    listener.hand_over(FaultyStream(stream_pair()[0]))
    assert read_answer(await listener.connect().rest()).status == 503
    assert "LookupError: a fault of ours" in caplog.text


async def test_cancelling_stops_accepting_and_leaves_connections_alone(nursery: trio.Nursery) -> None:
    listener = FakeListener()
    async with trio.open_nursery() as listening:
        await listening.start(partial(serve_listeners, [listener], greet, handler_nursery=nursery))
        client = listener.connect()
        assert await greeted(client)
        listening.cancel_scope.cancel()
    assert listener.closed
    begun = trio.current_time()
    assert await client.rest() == b""
    assert trio.current_time() - begun == 10


async def test_cancelling_the_handlers_passes(nursery: trio.Nursery) -> None:
    listener = FakeListener()
    async with trio.open_nursery() as handling:
        await nursery.start(partial(serve_listeners, [listener], greet, handler_nursery=handling))
        client = listener.connect()
        assert await greeted(client)
        handling.cancel_scope.cancel()
    assert await client.rest() == b""
    nursery.cancel_scope.cancel()


@pytest.mark.trio(run=trio.run)
async def test_accepted_sockets_do_not_wait_for_more_bytes(nursery: trio.Nursery) -> None:
    delays: list[int] = []

    async def look(stream: trio.abc.Stream, _: Visit) -> None:
        assert isinstance(stream, trio.SocketStream)
        delays.append(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(partial(serve_listeners, listeners, look, handler_nursery=nursery))
    async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as client:
        assert await client.receive_some(1) == b""
    assert delays[0] != 0
    nursery.cancel_scope.cancel()
