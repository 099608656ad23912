"""Plain HTTP: every request of any bytes has its named answer, in bounded time."""

import json
import logging

import pytest
import trio
import trio.testing

from tests.http.frames import head, plain_head, read_answer
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer
from tests.support.streams import BrokenStream, Kept, NarrowStream, RecordingStream, SlicingStream

pytestmark = VIRTUAL_TIME


async def test_health_is_answered_and_the_connection_closed(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().ask(plain_head(b"/health"))
    assert answer.status == 200
    assert json.loads(answer.body) == {"status": "ok"}
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"


async def test_head_gets_the_head_of_get(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(plain_head(b"/health", method=b"HEAD"))
    answer = read_answer(await client.rest(), head_only=True)
    assert answer.status == 200
    assert answer.headers["content-length"] == "15"


@pytest.mark.parametrize("target", [b"/", b"/healthy", b"/health/", b"/ws", b"*", b"/%2e%2e/health"])
async def test_unknown_paths_are_not_found(memory_server: MemoryServer, target: bytes) -> None:
    answer = await memory_server.connect().ask(plain_head(target))
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not_found"


async def test_wrong_method_names_the_right_ones(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().ask(plain_head(b"/health", method=b"DELETE"))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    answer = await memory_server.connect().ask(plain_head(b"/echo"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (bytes(range(128, 256)), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS hello
        (b"GET /health HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (plain_head(b"/\xc3"), 400),
        (plain_head(b"/%ff"), 400),
        (plain_head(b"/%00"), 400),
        (plain_head(b"/health?x=%ff"), 400),
        (plain_head(b"//[::1/health"), 400),
        (plain_head(b"/health?" + b"&".join([b"a=1"] * 100)), 400),
    ],
)
async def test_bad_http_is_answered_by_name(memory_server: MemoryServer, data: bytes, status: int) -> None:
    answer = await memory_server.connect().ask(data)
    assert answer.status == status
    assert json.loads(answer.body)["code"] == "bad_request"


async def test_paths_and_queries_are_decoded(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().ask(
        plain_head(b"/he%61lth?token=a%20b&empty=&token=c", x_note=b"one")
    )
    assert answer.status == 200
    request = memory_server.requests[0]
    assert request.head.path == "/health"
    assert request.head.query == {"token": "c", "empty": ""}
    assert request.head.header("X-Note") == "one"
    assert request.head.header("absent") is None
    assert request.peer is None


async def test_a_target_in_absolute_form_is_understood(memory_server: MemoryServer) -> None:
    assert (await memory_server.connect().ask(plain_head(b"http://localhost/health"))).status == 200


async def test_secrets_stay_out_of_the_repr(memory_server: MemoryServer) -> None:
    await memory_server.connect().ask(plain_head(b"/health?token=hush", authorization=b"Bearer hush"))
    assert "hush" not in repr(memory_server.requests[0])


@pytest.mark.parametrize("size", [16_385, 20_000, 1_000_000])
async def test_a_head_over_the_limit_is_refused(memory_server: MemoryServer, size: int) -> None:
    start = b"GET /health HTTP/1.1\r\nHost: a\r\nX: "
    answer = await memory_server.connect().ask(start + b"x" * (size - len(start) - 4) + b"\r\n\r\n")
    assert answer.status == 431
    assert json.loads(answer.body)["code"] == "head_too_large"


async def test_a_head_of_just_the_limit_is_served(memory_server: MemoryServer) -> None:
    start = b"GET /health HTTP/1.1\r\nHost: a\r\nX: "
    answer = await memory_server.connect().ask(start + b"x" * (16_384 - len(start) - 4) + b"\r\n\r\n")
    assert answer.status == 200


async def test_a_slow_head_is_answered_408_at_its_deadline(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    begun = trio.current_time()
    await client.send(b"GET /health HT")
    answer = read_answer(await client.rest())
    assert answer.status == 408
    assert trio.current_time() - begun == 10


async def test_a_head_that_drips_is_bound_by_one_deadline(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drip, client.stream)
        assert read_answer(await client.rest()).status == 408
        assert trio.current_time() - begun == 10
        nursery.cancel_scope.cancel()


async def _drip(stream: trio.abc.SendStream) -> None:
    await stream.send_all(b"GET /health HTTP/1.1\r\n")
    while True:
        await trio.sleep(0.9)
        await stream.send_all(b"X: y\r\n")


async def test_a_client_that_says_nothing_is_closed_in_silence(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    begun = trio.current_time()
    assert await client.rest() == b""
    assert trio.current_time() - begun == 10


async def test_connect_and_close_costs_nothing(memory_server: MemoryServer) -> None:
    begun = trio.current_time()
    for _ in range(50):
        await memory_server.connect().stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0
    assert trio.current_time() == begun


async def test_a_client_that_leaves_amid_its_head_is_let_go(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(b"GET /hea")
    await client.stream.send_eof()
    assert read_answer(await client.rest()).status == 400
    gone = memory_server.connect()
    await gone.send(b"GET /hea")
    await gone.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0


async def test_a_reset_connection_is_no_error(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    def reset(stream: trio.abc.HalfCloseableStream) -> trio.abc.Stream:
        wrapped = BrokenStream(stream)
        wrapped.broken = True
        return wrapped

    memory_server.connect(reset)
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0
    assert not caplog.records


async def test_a_connection_reset_amid_a_body_is_no_error(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = Kept(BrokenStream)
    client = memory_server.connect(server)
    await client.send(plain_head(b"/echo", method=b"POST", content_length=b"10"))
    await trio.testing.wait_all_tasks_blocked()
    server.stream.broken = True
    await client.send(b"12345")
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0
    assert not caplog.records


async def test_a_head_in_single_bytes_is_served(memory_server: MemoryServer) -> None:
    client = memory_server.connect(lambda stream: SlicingStream(stream, lambda: 1))
    assert (await client.ask(plain_head(b"/health"))).status == 200


async def test_a_body_is_collected(memory_server: MemoryServer) -> None:
    body = bytes(range(256)) * 200
    request = plain_head(b"/echo", method=b"POST", content_length=str(len(body)).encode()) + body
    client = memory_server.connect(lambda stream: SlicingStream(stream, lambda: 1_000))
    assert (await client.ask(request)).body == body
    chunked = (
        plain_head(b"/echo", method=b"POST", transfer_encoding=b"chunked")
        + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert (await memory_server.connect().ask(chunked)).body == b"abcde"


async def test_a_body_over_the_limit_is_refused(memory_server: MemoryServer) -> None:
    announced = plain_head(b"/echo", method=b"POST", content_length=b"65537", expect=b"100-continue")
    assert (await memory_server.connect().ask(announced + b"x" * 65_537)).status == 413
    chunked = plain_head(b"/echo", method=b"POST", transfer_encoding=b"chunked")
    assert (
        await memory_server.connect().ask(chunked + b"11000\r\n" + b"x" * 0x11000 + b"\r\n0\r\n\r\n")
    ).status == 413


async def test_a_slow_body_is_answered_408(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    begun = trio.current_time()
    await client.send(plain_head(b"/echo", method=b"POST", content_length=b"10") + b"12345")
    assert read_answer(await client.rest()).status == 408
    assert trio.current_time() - begun == 10


@pytest.mark.parametrize("body", [b"zz\r\n", b"fffffffffffffffffffff\r\n"])
async def test_a_broken_body_is_answered_400(memory_server: MemoryServer, body: bytes) -> None:
    request = plain_head(b"/echo", method=b"POST", transfer_encoding=b"chunked") + body
    assert (await memory_server.connect().ask(request)).status == 400


async def test_a_body_that_ends_early_is_answered_400(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(plain_head(b"/echo", method=b"POST", content_length=b"10") + b"123")
    await client.stream.send_eof()
    assert read_answer(await client.rest()).status == 400


async def test_who_waits_for_100_continue_gets_it(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(plain_head(b"/echo", method=b"POST", content_length=b"3", expect=b"100-continue"))
    assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
    await client.send(b"abc")
    assert read_answer(await client.rest()).body == b"abc"


async def test_a_refused_request_is_not_told_to_go_on(memory_server: MemoryServer) -> None:
    for target, size, status in ((b"/nowhere", b"3", 404), (b"/echo", b"99999999", 413)):
        request = plain_head(target, method=b"POST", content_length=size, expect=b"100-continue")
        assert (await memory_server.connect().ask(request)).status == status


async def test_a_route_that_fails_is_answered_500_and_logged(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await memory_server.connect().ask(plain_head(b"/broken"))
    assert answer.status == 500
    assert b"a route that fails" not in answer.body
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_route_that_hangs_is_answered_503(memory_server: MemoryServer) -> None:
    begun = trio.current_time()
    answer = await memory_server.connect().ask(plain_head(b"/slow"))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert trio.current_time() - begun == 30


async def test_a_client_that_never_reads_its_answer_is_dropped(memory_server: MemoryServer) -> None:
    client = memory_server.connect(lambda stream: NarrowStream(stream, 20))
    await client.send(plain_head(b"/health"))
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 1
    await trio.sleep(10)
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0


async def test_a_client_that_never_closes_is_dropped(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.send(plain_head(b"/health"))
    await trio.sleep(1.9)
    assert memory_server.open == 1
    await trio.sleep(0.2)
    assert memory_server.open == 0


async def test_a_client_that_sends_for_ever_is_dropped(memory_server: MemoryServer) -> None:
    """The drain after an answer is bounded in bytes as well as in time."""
    server = Kept(RecordingStream)
    client = memory_server.connect(server)
    await client.send(b"nonsense\r\n\r\n" + b"x" * 20_000_000)
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0
    assert sum(map(len, server.stream.received)) < 17_000_000


@pytest.mark.parametrize("stage", [b"", b"GET /hea", plain_head(b"/slow"), head()])
async def test_cancellation_passes_at_each_stage(stage: bytes) -> None:
    async with trio.open_nursery() as nursery:
        inner = MemoryServer(nursery)
        client = inner.connect()
        await client.send(stage)
        await trio.testing.wait_all_tasks_blocked()
        assert inner.open == 1
        nursery.cancel_scope.cancel()
    assert inner.open == 0
    assert b"500" not in await client.rest()
