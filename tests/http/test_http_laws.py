"""Laws for any bytes in any slices, and for the small sans-I/O parts."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_trio.http import Head, Response
from tests.http.frames import plain_head, read_answer
from tests.http.memory_server import MemoryServer, run_in_virtual_time
from tests.support.streams import SlicingStream


def test_an_answer_never_has_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Response.json({"value": float("nan")})


def test_repeated_headers_are_joined() -> None:
    request = Head(method="GET", path="/", query={}, headers=((b"a", b"1"), (b"b", b"2"), (b"a", b"3")))
    assert request.header("A") == "1, 3"
    assert request.tokens("a") == ("1", "3")


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=300), prefix=st.sampled_from([b"", b"GET /health HTTP/1.1\r\n", b"POST /echo "])
)
def test_any_bytes_get_a_whole_answer(data: bytes, prefix: bytes) -> None:
    run_in_virtual_time(_any_bytes, prefix + data)


async def _any_bytes(data: bytes) -> None:
    async with trio.open_nursery() as nursery:
        memory_server = MemoryServer(nursery)
        client = memory_server.connect()
        await client.send(data)
        answer = await client.rest()
        assert answer == b"" or read_answer(answer).status in {200, 400, 404, 405, 408, 426, 431, 501, 505}
        assert (await memory_server.connect().ask(plain_head(b"/health"))).status == 200


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1), body=st.binary(max_size=500))
def test_slices_make_no_difference(sizes: list[int], body: bytes) -> None:
    run_in_virtual_time(_sliced, sizes, body)


async def _sliced(sizes: list[int], body: bytes) -> None:
    turns = iter(sizes * 1_000)
    async with trio.open_nursery() as nursery:
        client = MemoryServer(nursery).connect(lambda stream: SlicingStream(stream, lambda: next(turns)))
        request = plain_head(b"/echo", method=b"POST", content_length=str(len(body)).encode()) + body
        assert (await client.ask(request)).body == body
