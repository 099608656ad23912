"""A real cluster of three primaries: routing, moving slots, and losing a primary."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from portfolio_trio.redis import Message, RedisClient, Script, open_redis
from portfolio_trio.redis._slots import slot_of
from portfolio_trio.redis.errors import CannotConnect, CommandRefused, CrossSlot, Unavailable
from tests.support.redis_servers import Command, Server, node_id, private_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

SET = Script("set", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
COUNT = Script("count", "return redis.call('INCR', KEYS[1])")
BOUND_SECONDS = 40


@pytest.fixture(scope="module")
def cluster(command: Command) -> Iterator[list[Server]]:
    with private_cluster(command) as servers:
        yield servers


@pytest.fixture
def nodes(cluster: list[Server]) -> list[Server]:
    for node in cluster:
        node.do("FLUSHALL")
    return cluster


@asynccontextmanager
async def opened(nodes: list[Server]) -> AsyncIterator[RedisClient]:
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    with anyio.fail_after(BOUND_SECONDS):
        async with open_redis(url, scripts=[SET, COUNT]) as client:
            yield client


async def test_a_node_of_it_is_refused_where_one_server_is_named(nodes: list[Server]) -> None:
    url = f"redis://127.0.0.1:{nodes[0].port}"
    with pytest.raises(CannotConnect, match=r"use redis\+cluster://") as refused:
        async with open_redis(url):
            pytest.fail("it came in")
    assert "MOVED" not in str(refused.value)


async def test_commands_and_scripts_reach_the_node_of_their_key(nodes: list[Server]) -> None:
    async with opened(nodes) as client:
        assert client.ready
        assert not client.many_keys
        assert client.statistics().connections == 3

        async def write(number: int) -> None:
            assert await client.run_script(SET, [f"k{number}"], [number]) == b"%d" % number

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(write, number)
        assert await client.get("k7") == b"7"
        assert [node.do("DBSIZE") > 50 for node in nodes] == [True] * 3
        assert await client.dbsize() == 300
        pages = [page async for page in client.scan_keys("k*", count=50)]
        assert sorted(key for page in pages for key in page) == sorted(
            b"k%d" % number for number in range(300)
        )
        assert len(await client.keys("k*")) == 300
        assert await client.script_exists(COUNT.sha) == [True]
        assert await client.register_script("return ARGV[1]")(args=["x"]) == b"x"
        assert await client.execute_command("SINTERCARD", 1, "none") == 0  # keys only the server can tell


async def test_one_call_for_each_of_many_keys_over_every_node(nodes: list[Server]) -> None:
    keys = [f"k{number}" for number in range(200)]
    async with opened(nodes) as client:
        assert await client.run_script_each(SET, keys, ["v"]) == [b"v"] * 200
        nodes[1].do("SCRIPT FLUSH")
        assert await client.run_script_each(SET, keys, ["w"]) == [b"w"] * 200
        assert sum(int(str(node.do("DBSIZE"))) for node in nodes) == 200


async def test_what_no_single_node_can_do_is_refused(nodes: list[Server]) -> None:
    async with opened(nodes) as client:
        with pytest.raises(CrossSlot, match="tag"):
            await client.run_script(SET, ["a", "b"], ["x"])
        with pytest.raises(CrossSlot):
            await client.mget("a", "b")
        with pytest.raises(CommandRefused, match="scan_keys"):
            await client.scan()
        assert await client.mset({"{t}a": "1", "{t}b": "2"})
        assert await client.mget("{t}a", "{t}b") == [b"1", b"2"]


async def test_messages_reach_subscribers_on_any_node(nodes: list[Server]) -> None:
    async with opened(nodes) as client, client.subscribe("c") as messages:
        await client.publish("c", "x")
        assert await anext(messages) == Message(b"c", b"x")


async def test_scripts_survive_a_flush_on_every_node(nodes: list[Server]) -> None:
    async with opened(nodes) as client:
        for node in nodes:
            node.do("SCRIPT FLUSH")
        for number in range(30):
            assert await client.run_script(SET, [f"k{number}"], ["x"]) == b"x"


async def test_a_slot_moves_while_it_is_used(nodes: list[Server]) -> None:
    """ASK while it moves, MOVED once it has; then back, so that the next test finds the map as it was."""
    slot = slot_of(["{t}"])
    async with opened(nodes) as client:
        await client.set("{t}old", "1")
        for _there_and_back in range(2):
            source = next(node for node in nodes if owns(node, slot))
            target = nodes[(nodes.index(source) + 1) % 3]
            target.do("CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
            source.do("CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))
            # Gone from the source: it sends us on with ASK, and the write lands on the target.
            source.do("MIGRATE", "127.0.0.1", target.port, "{t}old", 0, 5000)
            assert await client.get("{t}old") == b"1"
            assert await client.run_script(COUNT, ["{t}n"], []) is not None
            for key in source.do("CLUSTER GETKEYSINSLOT", slot, 100):
                source.do("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
            for node in (target, source, *nodes):
                node.do("CLUSTER SETSLOT", slot, "NODE", node_id(target))
            assert await client.get("{t}old") == b"1"
        assert await client.get("{t}n") == b"2"
        assert client.ready


def owns(node: Server, slot: int) -> bool:
    """Whether the node is the primary of a slot, by its own account."""
    name = node_id(node).encode()
    return any(
        first <= slot <= last and primary[2] == name for first, last, primary, *_ in node.do("CLUSTER SLOTS")
    )


async def test_a_primary_is_killed_and_its_replica_takes_over(command: Command) -> None:
    with private_cluster(command, replicas=1) as nodes:
        keys = {f"k{number}" for number in range(60)}
        async with opened(nodes) as client:
            for key in keys:
                await client.run_script(SET, [key], ["before"])
            nodes[0].do("WAIT", 1, 5000)
            nodes[0].kill()
            failures = 0
            for key in keys:
                failures += await until_written(client, key)
            assert failures
            for key in keys:
                assert await client.get(key) == b"after"
            assert client.ready
            ports = {node.address for node in client.statistics().nodes}
            assert f"127.0.0.1:{nodes[3].port}" in ports
            # The killed node comes back as a replica and changes nothing.
            nodes[0].start()
            assert await client.run_script(COUNT, ["n"], []) == 1


async def until_written(client: RedisClient, key: str) -> int:
    failures = 0
    while True:
        try:
            await client.run_script(SET, [key], ["after"])
        except Unavailable:
            failures += 1
            await anyio.sleep(0.02)
        else:
            return failures
