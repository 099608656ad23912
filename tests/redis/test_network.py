"""The multiplexed connection against a real server, on Trio and on asyncio."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from redis.exceptions import NoScriptError, ResponseError

from portfolio_trio.redis import Message, Missed, Script, State, open_redis
from portfolio_trio.redis.errors import (
    CannotConnect,
    CommandRefused,
    ReadOnlyServer,
    ReplyOverdue,
    ScriptRejected,
    Unavailable,
    WrongDatabase,
    WrongPassword,
)
from tests.support.redis_servers import Command, free_port, private_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio.redis import RedisClient
    from tests.support.redis_servers import Server

pytestmark = pytest.mark.anyio

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")
COUNT = Script("count", "return redis.call('INCR', KEYS[1])")
BOUND_SECONDS = 30


async def until_served(call: Callable[[], Awaitable[object]]) -> list[Unavailable]:
    """Call until it is answered; the failures on the way."""
    failures = []
    with anyio.fail_after(BOUND_SECONDS):
        while True:
            try:
                await call()
            except Unavailable as error:
                failures.append(error)
                await anyio.sleep(0.01)
            else:
                return failures


async def test_commands_of_redis_py(server: Server) -> None:
    async with open_redis(server.url, client_name="tester") as client:
        assert await client.set("k", "v", ex=100)
        assert await client.get("k") == b"v"
        assert await client.hset("h", mapping={"a": 1}) == 1
        assert await client.hgetall("h") == {b"a": b"1"}
        assert await client.register_script("return ARGV[1]")(args=["x"]) == b"x"
        assert sorted([key async for key in client.scan_iter("*")]) == [b"h", b"k"]
        assert (await client.config_get("maxmemory"))["maxmemory"] == "0"
        assert await client.client_getname() in {"tester", b"tester"}
        assert "redis_version" in await client.info("server")
        with pytest.raises(ResponseError, match="wrong kind"):
            await client.lpush("k", "x")
        assert client.ready
        assert client.many_keys


async def test_database_of_the_url(server: Server) -> None:
    async with open_redis(f"{server.url}?db=3") as third, open_redis(server.url) as first:
        await third.set("k", "v")
        assert await first.get("k") is None
        assert await third.get("k") == b"v"


async def test_keys_come_in_pages_and_each_once(server: Server) -> None:
    async with open_redis(server.url) as client:
        await client.mset({f"portfolio:{number}": "x" for number in range(2500)})
        await client.set("other", "x")
        pages = [page async for page in client.scan_keys("portfolio:*", count=500)]
        assert all(pages)
        assert len(pages) > 2
        assert len({key for page in pages for key in page}) == 2500


async def test_thousands_of_calls_most_cancelled_and_no_reply_goes_astray(server: Server) -> None:
    choice = random.Random(8)
    outcome = {"answered": 0, "cancelled": 0}

    async def call(client: RedisClient, number: int) -> None:
        delay = choice.choice([0.0, 0.0, 0.001, 0.005])
        with anyio.move_on_after(delay) as scope:
            if number % 2:
                reply = await client.run_script(ECHO, [f"k{number}"], [number])
                assert reply == [b"k%d" % number, b"%d" % number]
            else:
                assert await client.echo(f"e{number}") == b"e%d" % number
            outcome["answered"] += 1
        outcome["cancelled"] += scope.cancelled_caught

    async with open_redis(server.url, scripts=[ECHO]) as client:
        for batch in range(20):
            async with anyio.create_task_group() as tasks:
                for number in range(250):
                    tasks.start_soon(call, client, batch * 250 + number)
        assert await client.run_script(ECHO, ["last"], ["one"]) == [b"last", b"one"]
        assert client.statistics().reconnects == 0
        assert client.statistics().pending == 0
    assert outcome["answered"] + outcome["cancelled"] == 5000
    assert outcome["cancelled"] > 2500


async def test_a_cancelled_caller_does_not_stop_its_command(server: Server) -> None:
    async with open_redis(server.url, scripts=[COUNT]) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(client.run_script, COUNT, ["n"], [])
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        count = int(await client.get("n") or 0)
        assert 0 <= count <= 100
        assert await client.run_script(COUNT, ["n"], []) == count + 1


async def test_scripts_survive_a_flush(server: Server) -> None:
    async with open_redis(server.url, scripts=[COUNT]) as client:
        assert await client.script_exists(COUNT.sha) == [True]
        assert await client.run_script(COUNT, ["n"], []) == 1
        server.do("SCRIPT FLUSH")
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.run_script, COUNT, ["n"], [])
        assert await client.get("n") == b"21"
        server.do("SCRIPT FLUSH")
        with pytest.raises(NoScriptError):
            await client.evalsha(COUNT.sha, 1, "n")


async def test_one_call_for_each_of_many_keys(server: Server) -> None:
    keys = [f"n{number}" for number in range(100)]
    async with open_redis(server.url, scripts=[COUNT, ECHO]) as client:
        assert await client.run_script_each(COUNT, keys, []) == [1] * 100
        server.do("SCRIPT FLUSH")
        assert await client.run_script_each(COUNT, keys, []) == [2] * 100
        replies = await client.run_script_each(ECHO, keys, ["x"])
        assert replies == [[key.encode(), b"x"] for key in keys]
        server.do("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        await until_served(lambda: client.run_script_each(ECHO, keys, ["y"]))
        assert await client.run_script_each(ECHO, keys[:2], ["z"]) == [[b"n0", b"z"], [b"n1", b"z"]]
        server.do("DEL", "n3")
        server.do("RPUSH", "n3", "x")
        with pytest.raises(ResponseError):
            await client.run_script_each(COUNT, keys, [])


async def test_client_kill_is_survived(server: Server) -> None:
    async with open_redis(server.url, scripts=[COUNT]) as client:
        await client.ping()
        server.do("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        failures = await until_served(lambda: client.set("k", "v"))
        assert all(isinstance(error, Unavailable) for error in failures)
        assert await client.run_script(COUNT, ["n"], []) == 1
        assert client.statistics().reconnects == 1


async def test_kill_nine_and_restart(own_server: Server) -> None:
    async with open_redis(own_server.url, scripts=[COUNT]) as client:
        own_server.pause()
        failures: list[Unavailable] = []

        async def wait_for_reply() -> None:
            try:
                await client.set("k", "v")
            except Unavailable as error:
                failures.append(error)

        with anyio.fail_after(BOUND_SECONDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(wait_for_reply)
                await anyio.wait_all_tasks_blocked()
                own_server.kill()
            assert [error.sent for error in failures] == [True] * 10
            with pytest.raises(Unavailable) as caught:
                await client.get("k")
        assert not caught.value.sent
        assert client.statistics().state in {State.WAITING, State.CONNECTING}
        own_server.start()
        await until_served(client.ping)
        assert client.statistics().state is State.READY
        assert await client.run_script(COUNT, ["n"], []) == 1


async def test_a_server_that_stops_answering_is_noticed(own_server: Server) -> None:
    async with open_redis(own_server.url, reply_timeout=0.2) as client:
        own_server.pause()
        with anyio.fail_after(BOUND_SECONDS), pytest.raises(ReplyOverdue) as caught:
            await client.set("k", "v")
        assert caught.value.sent
        own_server.resume()
        await until_served(lambda: client.set("k", "v"))


async def test_a_read_only_replica_is_left_and_the_primary_found_again(own_server: Server) -> None:
    async with open_redis(own_server.url, scripts=[COUNT]) as client:
        own_server.do("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ReadOnlyServer) as caught:
            await client.run_script(COUNT, ["n"], [])
        assert not caught.value.sent
        own_server.do("REPLICAOF", "NO", "ONE")
        await until_served(lambda: client.run_script(COUNT, ["n"], []))
        assert client.statistics().reconnects >= 1
        assert await client.get("n") == b"1"


async def test_maxmemory_is_an_error_and_not_a_loss(own_server: Server) -> None:
    async with open_redis(own_server.url) as client:
        own_server.do("CONFIG SET", "maxmemory", "1")
        with pytest.raises(ResponseError, match="maxmemory"):
            await client.set("k", "v")
        own_server.do("CONFIG SET", "maxmemory", "0")
        assert await client.set("k", "v")
        assert client.statistics().reconnects == 0


async def test_passwords(command: Command) -> None:
    with private_server(command, "--requirepass", "right") as server:
        async with open_redis(f"{server.url}?password=right") as client:
            assert await client.ping()
        for url in (f"{server.url}?password=wrong", server.url):
            with pytest.raises(WrongPassword, match="check user and password in the URL"):
                async with open_redis(url):
                    pytest.fail("let in without the password")


async def test_what_stops_the_start(server: Server) -> None:
    with pytest.raises(WrongDatabase, match="no database 99"):
        async with open_redis(f"{server.url}?db=99"):
            pytest.fail("no such database")
    with pytest.raises(ScriptRejected, match="script broken"):
        async with open_redis(server.url, scripts=[Script("broken", "return (")]):
            pytest.fail("a broken script was taken")
    with pytest.raises(CannotConnect, match="start a server there") as caught:
        async with open_redis("redis://127.0.0.1:1"):
            pytest.fail("nobody listens there")
    assert "\n" not in str(caught.value)
    with pytest.raises(CannotConnect):
        async with open_redis("unix:///nowhere/redis.sock"):
            pytest.fail("nobody listens there")
    with pytest.raises(CannotConnect, match="not part of a cluster"):
        async with open_redis(f"redis+cluster://{tcp_address(server)}"):
            pytest.fail("a single server is no cluster")


def tcp_address(server: Server) -> str:
    """The address of a server that so far listens on a socket only."""
    port = free_port()
    server.do("CONFIG SET", "port", port)
    return f"127.0.0.1:{port}"


async def test_commands_that_would_break_the_connection_are_refused(server: Server) -> None:
    async with open_redis(server.url) as client:
        for command in ("SUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF", "RESET", "WATCH k", "BLPOP k 0"):
            with pytest.raises(CommandRefused):
                await client.execute_command(*command.split())
        assert await client.ping()


async def test_pub_sub_has_its_own_connection_and_heals(server: Server) -> None:
    async with open_redis(server.url) as client, client.subscribe("a", "b") as messages:
        await client.publish("a", "1")
        await client.publish("b", "2")
        with anyio.fail_after(BOUND_SECONDS):
            assert [await anext(messages), await anext(messages)] == [
                Message(b"a", b"1"),
                Message(b"b", b"2"),
            ]
            server.do("CLIENT KILL", "TYPE", "pubsub")
            assert isinstance(await anext(messages), Missed)
            await client.publish("a", "3")
            assert await anext(messages) == Message(b"a", b"3")
        assert client.statistics().reconnects == 0


async def test_the_bodys_own_exception_comes_out_as_it_is(server: Server) -> None:
    with pytest.raises(KeyError):
        async with open_redis(server.url) as client, client.subscribe("c"):
            raise KeyError("mine")


async def test_large_values_go_both_ways(server: Server) -> None:
    value = random.Random(1).randbytes(3_000_000)
    async with open_redis(server.url) as client:

        async def there_and_back(key: str) -> None:
            await client.set(key, value)
            assert await client.get(key) == value

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(there_and_back, f"k{number}")
