"""Opening a client; the URL selects the engine."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from portfolio_trio.redis._cluster import open_cluster
from portfolio_trio.redis._embedded import EmbeddedClient, EmbeddedServer
from portfolio_trio.redis._link import LinkOptions, default_backoff
from portfolio_trio.redis._network import open_network
from portfolio_trio.redis._url import is_cluster, parse_endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from redis.backoff import AbstractBackoff

    from portfolio_trio.redis._client import RedisClient
    from portfolio_trio.redis._script import Script


EMBEDDED = "embedded://"


def open_redis(
    url: str,
    *,
    scripts: Sequence[Script] = (),
    client_name: str = "portfolio-trio",
    max_pending: int = 10_000,
    max_unsent_bytes: int = 64 * 1024 * 1024,
    reply_timeout: float = 5.0,
    connect_timeout: float = 5.0,
    wall_clock: Callable[[], float] = time.time,
    backoff: AbstractBackoff | None = None,
    server: EmbeddedServer | None = None,
) -> AbstractAsyncContextManager[RedisClient]:
    """Open a client for the length of the block: connected, after the handshake, with the scripts loaded.

    Args:
        url: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` (TLS; ``?ssl_ca_certs=FILE``
            and so on as in redis-py), ``unix:///path/to.sock[?db=1]``, ``redis+cluster://host:port,host:port``,
            ``rediss+cluster://``, or ``embedded://`` for a Redis inside this process.
        scripts: Loaded on every connection to every node.
        client_name: The name shown by CLIENT LIST; no spaces.
        max_pending: Maximum number of commands without a reply, per node.
        max_unsent_bytes: Maximum number of bytes gathered for a send, per node.
        reply_timeout: Seconds a reply may take before the connection is closed and replaced.
        connect_timeout: Seconds for connecting, TLS, login and scripts together.
        wall_clock: Seconds since the epoch; used by the embedded engine to expire keys.
        backoff: Delay before each attempt to reconnect; by default 50 ms doubling to 2 s, with jitter.
        server: The embedded server to join; by default a new one that ends with the block.

    Raises:
        ValueError: The URL is not understood.
        CannotConnect: Nothing answers there, or it is not a Redis that speaks RESP3.
        WrongPassword: The user name or password was refused.
        WrongDatabase: The server has no such database.
        ScriptRejected: A script does not compile.
    """
    if url == EMBEDDED:
        return _open_embedded(server or EmbeddedServer(wall_clock), scripts)
    endpoints, cluster = parse_endpoints(url), is_cluster(url)
    options = LinkOptions(
        scripts=tuple(scripts),
        client_name=client_name,
        max_pending=max_pending,
        max_unsent_bytes=max_unsent_bytes,
        reply_timeout=reply_timeout,
        connect_timeout=connect_timeout,
        backoff=backoff or default_backoff(),
        cluster=cluster,
    )
    return open_cluster(endpoints, options) if cluster else open_network(endpoints[0], options)


@asynccontextmanager
async def _open_embedded(server: EmbeddedServer, scripts: Sequence[Script]) -> AsyncIterator[RedisClient]:
    with closing(EmbeddedClient(server, scripts)) as client:
        yield client
