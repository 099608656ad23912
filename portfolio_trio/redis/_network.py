"""A client of one server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from portfolio_trio.nurseries import background
from portfolio_trio.redis._client import RedisClient
from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._link import Link
from portfolio_trio.redis._scan import scan_pages
from portfolio_trio.redis._statistics import ClientStatistics
from portfolio_trio.redis._subscriber import subscribed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from portfolio_trio.redis._commands import Arg
    from portfolio_trio.redis._link import LinkOptions
    from portfolio_trio.redis._pipeline import Call
    from portfolio_trio.redis._pubsub import Subscription
    from portfolio_trio.redis._url import Endpoint


class NetworkClient(RedisClient):
    """Sends all commands over one link."""

    def __init__(self, endpoint: Endpoint, options: LinkOptions) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._options = options
        self.link = Link(endpoint, options)

    # A reply is whatever the server says (ANN401); one server accepts any keys (ARG002).
    @override
    async def _call(self, args: tuple[Arg, ...], keys: Sequence[Arg] | None, *, repeatable: bool) -> Any:
        return await self.link.call(pack(args), repeatable=repeatable)

    @override
    def _begin(self, args: tuple[Arg, ...], key: Arg) -> Call | None:
        return self.link.begin(pack(args))

    @override
    def scan_keys(self, match: str, *, count: int = 1000) -> AsyncGenerator[list[bytes]]:
        return scan_pages(self.link, match, count)

    @override
    def subscribe(self, *channels: str, max_waiting: int = 1000) -> AbstractAsyncContextManager[Subscription]:
        return subscribed(self._endpoint, self._options, channels, max_waiting)

    @override
    def statistics(self) -> ClientStatistics:
        return ClientStatistics((self.link.statistics(),))

    @property
    @override
    def many_keys(self) -> bool:
        return True

    @property
    @override
    def ready(self) -> bool:
        return self.link.ready


@asynccontextmanager
async def open_network(endpoint: Endpoint, options: LinkOptions) -> AsyncIterator[NetworkClient]:
    """A client of one server, ready when this yields."""
    client = NetworkClient(endpoint, options)
    async with background() as tasks:
        await tasks.start(client.link.run)
        yield client
