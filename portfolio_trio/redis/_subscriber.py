"""A separate pub/sub connection."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
from redis.exceptions import RedisError

from portfolio_trio.nurseries import background
from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._link import Link
from portfolio_trio.redis._pubsub import Message, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portfolio_trio.redis._connection import Connection
    from portfolio_trio.redis._link import LinkOptions
    from portfolio_trio.redis._url import Endpoint

# A listener sends nothing by itself, so only a PING shows that the peer has vanished.
_ASK_SECONDS = 10.0


class _Subscriber:
    """Turns the messages of successive connections into one stream."""

    def __init__(self, channels: tuple[str, ...], subscription: Subscription) -> None:
        self._channels = channels
        self._subscription = subscription
        self._before = False

    async def setup(self, connection: Connection) -> None:
        """Subscribe on a new connection; a PING confirms that the server accepted it."""
        connection.say(pack(("SUBSCRIBE", *self._channels)))
        ping = connection.submit(pack(("PING",)))
        await ping.done.wait()
        # A refused SUBSCRIBE is answered instead of the PING.
        if isinstance(ping.reply, Exception):
            raise ping.reply
        if self._before:
            self._subscription.miss("the connection was lost and restored")
        self._before = True

    def on_push(self, message: list[Any]) -> None:
        """Keep published messages; ignore confirmations."""
        kind, channel, data = message[:3]
        if kind == b"message":
            self._subscription.put(Message(channel, data))


@asynccontextmanager
async def subscribed(
    endpoint: Endpoint, options: LinkOptions, channels: tuple[str, ...], max_waiting: int
) -> AsyncIterator[Subscription]:
    """Subscribe for the length of the block; after a loss, reconnect and mark the gap in the stream."""
    subscription = Subscription(max_waiting)
    subscriber = _Subscriber(channels, subscription)
    link = Link(endpoint, replace(options, scripts=()), on_push=subscriber.on_push, setup=subscriber.setup)
    async with background() as tasks:
        await tasks.start(link.run)
        tasks.start_soon(_ask, link)
        yield subscription


async def _ask(link: Link) -> None:
    ping = pack(("PING",))
    while True:
        await anyio.sleep(_ASK_SECONDS)
        try:
            await link.call(ping)
        except RedisError:
            # The link reconnects by itself, and the subscription marks the gap.
            continue
