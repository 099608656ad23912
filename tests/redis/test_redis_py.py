"""Every private part of redis-py and fakeredis that the wrapper relies on, by name."""

from __future__ import annotations

import importlib
import inspect

import pytest

from portfolio_trio.redis import Script, open_redis
from portfolio_trio.redis._redis_py import parse_error, response_callbacks

NAMES = [
    "redis._parsers.Encoder",
    "redis._parsers.base.BaseParser.parse_error",
    "redis._parsers.base.BaseParser.EXCEPTION_CLASSES",
    "redis._parsers.response_callbacks.get_response_callbacks",
    "redis.asyncio.connection.RedisSSLContext",
    "redis.asyncio.connection.SSLConnection",
    "redis.asyncio.connection.UnixDomainSocketConnection",
    "redis.asyncio.connection.parse_url",
    "redis.client.EMPTY_RESPONSE",
    "redis.commands.AsyncCoreCommands",
    "redis.commands.AsyncRedisModuleCommands",
    "redis.commands.READ_COMMANDS",
    "redis.crc.key_slot",
    "redis.event.EventDispatcher",
    "fakeredis._core.Database.expired",
    "fakeredis._socket.FakeSocket.time",
    "fakeredis._socket.FakeSocket.sendall",
    "fakeredis._socket.FakeSocket.close",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_still_there(name: str) -> None:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return
    pytest.fail(f"{name} is gone")


def test_the_private_functions_still_take_what_we_give() -> None:
    from redis._parsers.response_callbacks import get_response_callbacks  # noqa: PLC0415 - one of the names above

    assert list(inspect.signature(get_response_callbacks).parameters) == ["user_protocol", "legacy_responses"]
    assert type(parse_error("NOSCRIPT No matching script")).__name__ == "NoScriptError"
    # Callbacks are looked up by upper-case names.
    assert all(name == name.upper() for name in response_callbacks())


@pytest.mark.trio
async def test_what_the_mixins_ask_of_a_client() -> None:
    async with open_redis("embedded://") as client:
        # AsyncScript hashes with get_encoder(), having found no connection_pool.
        assert not hasattr(client, "connection_pool")
        script = client.register_script("return ARGV[1]")
        assert script.sha == Script("x", "return ARGV[1]").sha
        assert await script(args=["y"]) == b"y"
        # json() of redis-py registers callbacks at each call, so one object is kept.
        assert client.json() is client.json()
        with pytest.raises(TypeError, match="no encoder"):
            client.json(encoder=object())
        # Methods of the mixins give awaitables through execute_command.
        assert await client.hset("h", mapping={"a": "1"}) == 1
        assert await client.hgetall("h") == {b"a": b"1"}
