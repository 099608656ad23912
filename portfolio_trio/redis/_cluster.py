"""A client of a cluster: one link per primary, commands routed by slot."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError
from typing_extensions import override

from portfolio_trio.nurseries import background
from portfolio_trio.redis._client import RedisClient
from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._link import Link
from portfolio_trio.redis._routes import Ask, Routes, merge
from portfolio_trio.redis._scan import scan_pages
from portfolio_trio.redis._slots import SlotMap, slot_of
from portfolio_trio.redis._statistics import ClientStatistics
from portfolio_trio.redis._subscriber import subscribed
from portfolio_trio.redis.errors import CannotConnect, CommandRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStream, TaskGroup

    from portfolio_trio.redis._commands import Arg
    from portfolio_trio.redis._link import LinkOptions
    from portfolio_trio.redis._pipeline import Call
    from portfolio_trio.redis._pubsub import Subscription
    from portfolio_trio.redis._slots import Node
    from portfolio_trio.redis._url import Endpoint

_SLOTS = pack(("CLUSTER", "SLOTS"))
_COMMAND = pack(("COMMAND",))
_MAX_HOPS = 8
_HOP_SECONDS = 0.05
_UNSETTLED_SECONDS = 0.25


class ClusterClient(RedisClient):
    """Commands go to the primary of their keys' slot; those without keys to any primary, or to all.

    Args:
        seeds: Any nodes of the cluster.
        options: How every link behaves.
        tasks: Runs the links and the task that keeps the map up to date.
    """

    def __init__(self, seeds: Sequence[Endpoint], options: LinkOptions, tasks: TaskGroup) -> None:
        super().__init__()
        self._seeds = seeds
        self._options = options
        self._tasks = tasks
        self._map = SlotMap()
        self._routes = Routes(())
        self._links: dict[Node, Link] = {}
        self._stale = anyio.Event()

    async def start(self) -> None:
        """Read the slot map and the command table from a seed, and connect to every primary.

        Raises:
            CannotConnect: No seed answers, it is not a cluster, or a primary cannot be reached.
            WrongPassword: The user name or password was refused.
        """
        await self._learn_from_seeds()
        for node in self._map.primaries:
            link = self._links[node] = Link(self._seeds[0].at(*node), self._options)
            await self._tasks.start(link.run)
        self._tasks.start_soon(self._keep_map)

    # A reply has whatever type the server sends (ANN401).
    @override
    async def _call(self, args: tuple[Arg, ...], keys: Sequence[Arg] | None, *, repeatable: bool) -> Any:
        packed = pack(args)
        if not keys:
            keys = await self._keys_of(args)
            if not keys:
                return await self._keyless(args, packed, repeatable=repeatable)
        return await self._on_slot(slot_of(keys), packed, repeatable=repeatable)

    @override
    def _begin(self, args: tuple[Arg, ...], key: Arg) -> Call | None:
        return self._link(self._map.owner(slot_of((key,)))).begin(pack(args))

    @override
    async def scan_keys(self, match: str, *, count: int = 1000) -> AsyncGenerator[list[bytes]]:
        for node in self._map.primaries:
            # If the caller stops early, this closes it immediately instead of leaving it to the garbage
            # collector.
            async with aclosing(scan_pages(self._link(node), match, count)) as pages:
                async for page in pages:
                    yield page

    @override
    def subscribe(self, *channels: str, max_waiting: int = 1000) -> AbstractAsyncContextManager[Subscription]:
        # Messages reach every node, so subscribe on any, and on another if that one is lost.
        async def dial_any(_endpoint: Endpoint) -> ByteStream:
            return await self._options.dial(self._any_link().endpoint)

        options = replace(self._options, dial=dial_any)
        return subscribed(self._seeds[0], options, channels, max_waiting)

    @override
    def statistics(self) -> ClientStatistics:
        return ClientStatistics(tuple(link.statistics() for link in self._links.values()))

    @property
    @override
    def many_keys(self) -> bool:
        return False

    @property
    @override
    def ready(self) -> bool:
        return self._map.covered and all(self._link(node).ready for node in self._map.primaries)

    async def _keys_of(self, args: tuple[Arg, ...]) -> Sequence[Arg]:
        keys = self._routes.keys(args)
        if keys is Ask.SERVER:
            found: Sequence[Arg] = await self._any_link().call(
                pack(("COMMAND", "GETKEYS", *args)), repeatable=True
            )
            return found
        return keys

    async def _keyless(self, args: tuple[Arg, ...], packed: bytes, *, repeatable: bool) -> Any:  # noqa: ANN401
        if str(args[0]).upper() == "SCAN":
            raise CommandRefused("SCAN covers only one node; iterate over client.scan_keys(pattern)")
        route = self._routes.route(args)
        if not route.everywhere:
            return await self._any_link().call(packed, repeatable=repeatable)
        nodes = self._map.primaries
        return merge(
            route.merge, [await self._link(node).call(packed, repeatable=repeatable) for node in nodes]
        )

    async def _on_slot(self, slot: int, packed: bytes, *, repeatable: bool) -> Any:  # noqa: ANN401
        link = self._link(self._map.owner(slot))
        asking = False
        for _hop in range(_MAX_HOPS):
            try:
                return await (link.ask(packed) if asking else link.call(packed, repeatable=repeatable))
            except MovedError as error:
                link, asking = await self._moved(error, link), False
            except AskError as error:
                link, asking = await self._reach(self._node_in(error, link)), True
            except TryAgainError:
                await anyio.sleep(_HOP_SECONDS)
            except ClusterDownError as error:
                self._stale.set()
                raise Unavailable(f"the cluster is down: {error}; it was not run") from error
            except Unavailable:
                self._stale.set()
                raise
        raise Unavailable(f"the cluster sent slot {slot} from node to node {_MAX_HOPS} times; it was not run")

    async def _moved(self, error: MovedError, link: Link) -> Link:
        node = self._node_in(error, link)
        self._map.move(error.slot_id, node)
        self._stale.set()
        return await self._reach(node)

    def _node_in(self, error: AskError, link: Link) -> Node:
        host, port = error.node_addr
        return (host or link.endpoint.host, port)

    def _link(self, node: Node) -> Link:
        """The link to a node, started if it is new; it never stops trying to connect."""
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = Link(self._seeds[0].at(*node), self._options, patient=True)
            self._tasks.start_soon(link.run)
        return link

    async def _reach(self, node: Node) -> Link:
        link = self._link(node)
        if not link.ready:
            await link.resolved()
        return link

    def _any_link(self) -> Link:
        """A primary that is ready, else any primary."""
        links = [self._link(node) for node in self._map.primaries]
        ready = [link for link in links if link.ready] or links
        if not ready:
            raise Unavailable("no node of the cluster is known")
        return random.choice(ready)  # noqa: S311 - spreads load, guards nothing

    async def _keep_map(self) -> None:
        """Read the map again after a redirect or a loss, until every primary is ready."""
        while True:
            await self._stale.wait()
            self._stale = anyio.Event()
            await self._learn()
            await anyio.sleep(_UNSETTLED_SECONDS)
            if not self.ready:
                self._stale.set()

    async def _learn(self) -> None:
        for link in [link for link in self._links.values() if link.ready]:
            try:
                self._take(await link.call(_SLOTS), link.endpoint.host)
            except RedisError:
                continue
            return
        try:
            await self._learn_from_seeds()
        except RedisError:
            # No node answers now; the caller will retry.
            return

    def _take(self, reply: Sequence[Sequence[Any]], host: str) -> None:
        self._map.load(reply, host)
        primaries = set(self._map.primaries)
        for node in primaries:
            self._link(node)
        for node in [node for node, link in self._links.items() if node not in primaries and not link.ready]:
            self._links.pop(node).stop()

    async def _learn_from_seeds(self) -> None:
        failure: RedisError = CannotConnect("the cluster URL names no node")
        for seed in self._seeds:
            try:
                await self._learn_from(seed)
            except RedisError as error:
                failure = error
            else:
                return
        raise failure

    async def _learn_from(self, seed: Endpoint) -> None:
        link = Link(seed, replace(self._options, scripts=()))
        async with background() as tasks:
            await tasks.start(link.run)
            try:
                reply = await link.call(_SLOTS)
            except ResponseError as error:
                raise CannotConnect(
                    f"{seed.address} is not part of a cluster ({error}); use redis://"
                ) from error
            self._routes = Routes(await link.call(_COMMAND))
        self._map.load(reply, seed.host)
        if not self._map.primaries:
            raise CannotConnect(f"the cluster at {seed.address} serves no slots yet; finish setting it up")


@asynccontextmanager
async def open_cluster(seeds: Sequence[Endpoint], options: LinkOptions) -> AsyncIterator[ClusterClient]:
    """A client of a cluster, ready when this yields."""
    async with background() as tasks:
        client = ClusterClient(seeds, options, tasks)
        await client.start()
        yield client
