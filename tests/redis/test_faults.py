"""A faulty connection between the client and a real server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from portfolio_trio.redis import Script
from portfolio_trio.redis._link import LinkOptions
from portfolio_trio.redis._network import NetworkClient, open_network
from portfolio_trio.redis._url import parse_endpoints
from portfolio_trio.redis.errors import Unavailable
from tests.support.redis_streams import Middle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.redis_servers import Server

pytestmark = pytest.mark.anyio

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")
ADD = Script("add", "return redis.call('SADD', KEYS[1], ARGV[1])")
BOUND_SECONDS = 30


@asynccontextmanager
async def through(middle: Middle, server: Server) -> AsyncIterator[NetworkClient]:
    (endpoint,) = parse_endpoints(server.url)
    options = LinkOptions(scripts=(ECHO, ADD), dial=middle, reply_timeout=0.5)
    with anyio.fail_after(BOUND_SECONDS):
        async with open_network(endpoint, options) as client:
            yield client


@pytest.mark.parametrize("middle", [Middle(one_byte=True), Middle(delay=0.002)], ids=["one byte", "delay"])
async def test_slices_and_delays_change_nothing(server: Server, middle: Middle) -> None:
    async def call(client: NetworkClient, number: int) -> None:
        with anyio.move_on_after(0.003 if number % 3 == 0 else BOUND_SECONDS):
            assert await client.run_script(ECHO, [f"k{number}"], [number]) == [
                b"k%d" % number,
                b"%d" % number,
            ]

    async with through(middle, server) as client, anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(call, client, number)


@pytest.mark.parametrize("fault", ["reset", "half_close", "silent"])
async def test_after_a_fault_it_serves_again_and_every_acknowledged_write_is_there_once(
    server: Server, fault: str
) -> None:
    middle = Middle()
    acknowledged: set[int] = set()
    unsent: set[int] = set()

    async def write(client: NetworkClient, number: int) -> None:
        try:
            assert await client.run_script(ADD, ["set"], [number]) == 1
            acknowledged.add(number)
        except Unavailable as error:
            if not error.sent:
                unsent.add(number)

    async with through(middle, server) as client:
        # Silence takes a whole reply_timeout to notice.
        rounds = 1 if fault == "silent" else 3
        for batch in range(rounds):
            async with anyio.create_task_group() as tasks:
                for number in range(batch * 50, batch * 50 + 50):
                    tasks.start_soon(write, client, number)
                await anyio.lowlevel.checkpoint()
                break_it(middle, fault)
            await until_ready(client)
        assert client.statistics().reconnects == rounds
        await write(client, 1000)
        found = {int(member) for member in await client.smembers("set")}
        assert acknowledged <= found
        assert not unsent & found
        assert 1000 in acknowledged
        assert client.statistics().pending == 0


def break_it(middle: Middle, fault: str) -> None:
    stream = middle.streams[-1]
    if fault == "silent":
        stream.silent = True
    else:
        getattr(stream, fault)()


async def until_ready(client: NetworkClient) -> None:
    # A link tells when its next attempt is over; a few may fail first.
    while not client.link.ready:
        await client.link.resolved()


async def test_a_read_is_sent_again_after_a_loss_and_a_write_is_not(server: Server) -> None:
    middle = Middle()
    outcomes: list[object] = []

    async def note(call: Callable[[], Awaitable[object]]) -> None:
        try:
            outcomes.append(await call())
        except Unavailable as error:
            outcomes.append(error.sent)

    async with through(middle, server) as client:
        await client.set("k", "v")
        middle.streams[-1].silent = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(note, partial(client.get, "k"))
            tasks.start_soon(note, partial(client.set, "k", "w"))
            await anyio.wait_all_tasks_blocked()
            middle.streams[-1].reset()
        assert sorted(outcomes, key=str) == [True, b"v"]
