"""The embedded engine: shared or new, with a clock of the test's choice, behaving like a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from redis.exceptions import ResponseError

from portfolio_trio.redis import EmbeddedServer, Message, Missed, Script, open_redis
from portfolio_trio.redis.errors import CommandRefused, ScriptRejected, Unavailable
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient
    from portfolio_trio.redis._commands import Arg
    from tests.support.redis_servers import Server

pytestmark = pytest.mark.anyio

ECHO = Script("echo", "return {KEYS[1], ARGV[1], tonumber(ARGV[1]), redis.call('GET', KEYS[1])}")


async def test_keys_expire_to_the_second_on_the_given_clock() -> None:
    clock = ManualClock()
    async with open_redis("embedded://", wall_clock=clock) as client:
        await client.set("k", "v", ex=10)
        assert await client.ttl("k") == 10
        clock.time += 9.999
        assert await client.get("k") == b"v"
        await client.expire("k", 5)
        clock.time += 4
        assert await client.ttl("k") == 1
        clock.time += 1.001
        assert await client.get("k") is None
        assert [page async for page in client.scan_keys("*")] == []
        assert await client.time() == (int(clock.time), round(clock.time % 1 * 1e6))


async def test_scripts_see_the_given_clock() -> None:
    clock = ManualClock()
    expire = Script("expire", "redis.call('SET', KEYS[1], 'v', 'EX', 2) return redis.call('TIME')[1]")
    async with open_redis("embedded://", scripts=[expire], wall_clock=clock) as client:
        assert await client.run_script(expire, ["k"], []) == str(int(clock.time)).encode()
        clock.time += 3
        assert await client.exists("k") == 0


async def test_fresh_unless_shared() -> None:
    server = EmbeddedServer()
    async with (
        open_redis("embedded://", server=server) as one,
        open_redis("embedded://", server=server) as two,
        open_redis("embedded://") as other,
    ):
        await one.set("k", "v")
        assert await two.get("k") == b"v"
        assert await other.get("k") is None
    async with open_redis("embedded://", server=server) as again:
        assert await again.get("k") == b"v"


async def test_messages_reach_every_subscriber_of_the_server() -> None:
    server = EmbeddedServer()
    async with (
        open_redis("embedded://", server=server) as one,
        open_redis("embedded://", server=server) as two,
        two.subscribe("a", "b", max_waiting=2) as messages,
    ):
        await one.publish("a", "1")
        await one.publish("c", "nobody listens")
        await one.publish("b", "2")
        assert await anext(messages) == Message(b"a", b"1")
        assert await anext(messages) == Message(b"b", b"2")
        for number in range(3):
            await one.publish("a", number)
        assert await anext(messages) == Missed("the reader was too slow")
        assert await anext(messages) == Message(b"a", b"1")
    async with open_redis("embedded://", server=server) as later:
        assert await later.publish("a", "after") == 0


async def test_a_waiting_subscriber_is_woken() -> None:
    async with (
        open_redis("embedded://") as client,
        client.subscribe("a") as messages,
        anyio.create_task_group() as tasks,
    ):

        async def publish() -> None:
            await anyio.wait_all_tasks_blocked()
            await client.publish("a", "x")

        tasks.start_soon(publish)
        with anyio.fail_after(10):
            assert await anext(messages) == Message(b"a", b"x")


async def test_a_cancelled_call_has_not_run() -> None:
    async with open_redis("embedded://") as client:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.set("k", "v")
        assert await client.get("k") is None


async def test_errors_are_those_of_a_server() -> None:
    async with open_redis("embedded://") as client:
        with pytest.raises(ResponseError):
            await client.execute_command("NONSENSE")
        with pytest.raises(CommandRefused):
            await client.blpop("k")
        unknown = Script("never loaded", "return 7")
        assert await client.run_script(unknown, [], []) == 7
    assert not client.ready
    with pytest.raises(Unavailable):
        await client.get("k")
    with pytest.raises(ScriptRejected, match="broken"):
        async with open_redis("embedded://", scripts=[Script("broken", "return (")]):
            pytest.fail("a script that does not compile was taken")


SAME: list[tuple[Arg, ...]] = [
    ("SET", "s", "1"), ("GET", "s"), ("GET", "none"), ("TYPE", "s"), ("EXISTS", "s", "none"), ("INCR", "s"),
    ("HSET", "h", "f", "1.5"), ("HGETALL", "h"), ("ZADD", "z", "1.5", "m"), ("ZSCORE", "z", "m"),
    ("ZRANGE", "z", 0, -1, "WITHSCORES"), ("RPUSH", "l", "a", "b"), ("LRANGE", "l", 0, -1),
    ("SADD", "set", "x"), ("SMEMBERS", "set"), ("TTL", "s"), ("EXPIRE", "s", 100), ("TTL", "s"),
    ("LPOP", "none"), ("PING",), ("GET", "l"), ("EVALSHA", "a" * 40, 0),
    ("EVAL", "return {1, 'a', redis.status_reply('X'), {}, false, 3.7}", 0),
    ("EVAL", "return redis.status_reply('OK')", 0),
    ("EVAL", "return nil", 0),
    ("EVAL", "return redis.call('HGETALL', KEYS[1])", 1, "h"),
    ("EVAL", "return redis.call('ZSCORE', KEYS[1], 'm')", 1, "z"),
    ("EVAL", "return redis.error_reply('BAD thing')", 0),
]  # fmt: skip


async def outcome(client: RedisClient, command: tuple[Arg, ...], *, shaped: bool) -> object:
    try:
        if shaped:
            return await client.execute_command(*command)
        return await client._call(command, None, repeatable=False)
    except ResponseError as error:
        return type(error)


async def test_replies_have_the_shape_of_a_real_server(server: Server) -> None:
    """Raw and shaped; errors by class."""

    async def outcomes(url: str) -> list[object]:
        found: list[object] = []
        async with open_redis(url, scripts=[ECHO]) as client:
            for command in SAME:
                for shaped in (True, False):
                    found.append(await outcome(client, command, shaped=shaped))  # noqa: PERF401 - in order, awaited
            await client.set("e", "v")
            found.append(await client.run_script(ECHO, ["e"], ["2"]))
        return found

    assert await outcomes("embedded://") == await outcomes(server.url)
