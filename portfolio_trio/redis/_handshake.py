"""The handshake of a new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from portfolio_trio.redis._commands import pack
from portfolio_trio.redis.errors import (
    CannotConnect,
    ScriptRejected,
    Unavailable,
    WrongDatabase,
    WrongPassword,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.redis._connection import Connection
    from portfolio_trio.redis._script import Script
    from portfolio_trio.redis._url import Endpoint


async def greet(
    connection: Connection,
    endpoint: Endpoint,
    client_name: str,
    scripts: Sequence[Script],
    *,
    cluster: bool,
) -> None:
    """Agree on RESP3, log in, name the connection, choose the database, load the scripts.

    Everything is sent at once. The last command is PING, because a server that is still loading its data
    answers all the others.

    Raises:
        WrongPassword: The user name or password was refused.
        WrongDatabase: The server has no such database.
        ScriptRejected: A script does not compile.
        CannotConnect: Not a Redis that speaks RESP3, or a node of a cluster where none is expected.
        redis.exceptions.BusyLoadingError: The server still loads its data.
    """
    hello = connection.submit(pack(("HELLO", "3", *_auth(endpoint), "SETNAME", client_name)))
    select = connection.submit(pack(("SELECT", endpoint.database))) if endpoint.database else None
    loads = [connection.submit(pack(("SCRIPT", "LOAD", script.source))) for script in scripts]
    ping = connection.submit(pack(("PING",)))
    await ping.done.wait()
    if isinstance(hello.reply, Exception):
        _refused(endpoint, hello.reply)
    if not cluster and _mode(hello.reply) == b"cluster":
        raise CannotConnect(
            f"Redis at {endpoint.address} is a node of a cluster: use redis+cluster:// in the URL"
        )
    if select is not None and isinstance(select.reply, ResponseError):
        raise WrongDatabase(
            f"Redis at {endpoint.address} has no database {endpoint.database} ({select.reply}); "
            "name another in the URL"
        )
    if isinstance(ping.reply, Exception):
        raise ping.reply
    for script, load in zip(scripts, loads, strict=True):
        if isinstance(load.reply, Exception):
            raise ScriptRejected(f"script {script.name} was not loaded: {load.reply}")


def _mode(hello: object) -> object:
    """The server's mode from the reply to HELLO: standalone, sentinel or cluster."""
    return hello.get(b"mode") if isinstance(hello, dict) else None


def _auth(endpoint: Endpoint) -> tuple[str, ...]:
    if not endpoint.username and not endpoint.password:
        return ()
    return ("AUTH", endpoint.username or "default", endpoint.password)


def _refused(endpoint: Endpoint, error: Exception) -> NoReturn:
    if isinstance(error, AuthenticationError):
        raise WrongPassword(
            f"Redis at {endpoint.address} refused the login ({error}); check user and password in the URL"
        ) from error
    if isinstance(error, Unavailable):
        raise CannotConnect(f"{endpoint.address} ended the handshake ({error}); is it a Redis?") from error
    if isinstance(error, BusyLoadingError) or not isinstance(error, RedisError):
        raise error
    raise CannotConnect(
        f"Redis at {endpoint.address} refused the handshake ({error}); RESP3 takes Redis 6 or later"
    ) from error
