"""What a server says of itself: its version, its JSON, what it keeps and what it gives up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import DataError, ResponseError

from portfolio_trio.redis._embedded import EmbeddedClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from portfolio_trio.redis._client import RedisClient

NO_EVICTION: Final = "noeviction"
_EMBEDDED: Final = "embedded"
# What modules that answer JSON.* call themselves: RedisJSON, and the one of Valkey.
_JSON_MODULES: Final = ("ReJSON", "json")


@dataclass(frozen=True, slots=True)
class JsonModule:
    """The module that answers JSON.*.

    Attributes:
        name: As it calls itself: ``ReJSON`` (Redis), ``json`` (Valkey).
        number: Its version: 20803 is 2.8.3.
    """

    name: str
    number: int

    @property
    def version(self) -> str:
        """As people write it."""
        return f"{self.number // 10_000}.{self.number // 100 % 100}.{self.number % 100}"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server, or one node of a cluster; None stands for what it does not say.

    Attributes:
        name: ``redis``, ``valkey``, or ``embedded`` for the engine inside this process.
        version: For example ``8.2.3``.
        address: Where it is: ``host:port`` or the path of a socket.
        modules: Whether it tells its modules; then ``json`` is None only where it has none.
        json: The module for JSON.
        appendonly: Whether it appends each write to a file.
        fsync: When that file is brought to disk: ``always``, ``everysec`` or ``no``.
        snapshots: Whether it writes all its data to a file from time to time.
        writing: Whether its last attempt to write either file succeeded.
        eviction: What it removes when ``maxmemory`` is reached: ``noeviction``, ``allkeys-lru``, ...
        maxmemory: Bytes; 0 is no limit.
        used_memory: Bytes.
        role: ``master`` or ``slave``, as INFO has it.
        replicas: How many are connected.
        cluster: Whether it is a node of a cluster.
    """

    name: str
    version: str | None = None
    address: str = ""
    modules: bool = False
    json: JsonModule | None = None
    appendonly: bool | None = None
    fsync: str | None = None
    snapshots: bool | None = None
    writing: bool | None = None
    eviction: str | None = None
    maxmemory: int | None = None
    used_memory: int | None = None
    role: str | None = None
    replicas: int | None = None
    cluster: bool | None = None

    @property
    def embedded(self) -> bool:
        """Whether it is the engine inside this process."""
        return self.name == _EMBEDDED

    @property
    def durable(self) -> bool | None:
        """Whether anything outlives the server's process; None where it does not say."""
        if self.appendonly or self.snapshots:
            return True
        return None if None in {self.appendonly, self.snapshots} else False


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A cluster as one of its nodes sees it.

    Attributes:
        state: ``ok`` or ``fail``.
        primaries: How many hold slots.
        nodes: How many there are, replicas included.
    """

    state: str
    primaries: int
    nodes: int


async def server_facts(client: RedisClient) -> ServerFacts:
    """Ask a server about itself; what its user may not ask is left open.

    Raises:
        Unavailable: The connection was lost.
    """
    if isinstance(client, EmbeddedClient):
        return ServerFacts(_EMBEDDED, appendonly=False, snapshots=False)
    first, *more = (node.address for node in client.statistics().nodes)
    return facts_of(
        await _told(client.info()),
        {**await _told(client.config_get("save")), **await _told(client.config_get("appendfsync"))},
        address=f"{first} and {len(more)} more" if more else first,
    )


async def cluster_facts(client: RedisClient) -> ClusterFacts | None:
    """Ask a node about its cluster; None where it does not say.

    Raises:
        Unavailable: The connection was lost.
    """
    told = await _told(client.cluster("INFO"))
    try:
        return ClusterFacts(
            str(told["cluster_state"]), int(told["cluster_size"]), int(told["cluster_known_nodes"])
        )
    except (KeyError, ValueError):
        return None


async def _told(reply: Awaitable[Any]) -> Mapping[str, Any]:
    """A reply, or nothing where the server refuses the question or does not know it."""
    try:
        told = await reply
    except (ResponseError, DataError):
        return {}
    return told if isinstance(told, Mapping) else {}


def facts_of(info: Mapping[str, Any], config: Mapping[str, Any], *, address: str = "") -> ServerFacts:
    """The facts in the replies of INFO and CONFIG GET, as redis-py shapes them.

    Args:
        info: Empty where the server does not answer it.
        config: ``save`` and ``appendfsync``, each where the server tells.
        address: Where it is.
    """
    name = str(info.get("server_name", "redis"))
    version = info.get(f"{name}_version") or info.get("redis_version")
    modules = info.get("modules")
    appendonly = _flag(info, "aof_enabled")
    save = config.get("save")
    return ServerFacts(
        name=name,
        version=None if version is None else str(version),
        address=address,
        # A server without modules may leave their section out.
        modules=bool(info),
        json=_json_of(modules or ()),
        appendonly=appendonly,
        fsync=config.get("appendfsync") if appendonly else None,
        snapshots=None if save is None else bool(save),
        writing=_writing(info),
        eviction=info.get("maxmemory_policy"),
        maxmemory=info.get("maxmemory"),
        used_memory=info.get("used_memory"),
        role=info.get("role"),
        replicas=info.get("connected_slaves"),
        cluster=_flag(info, "cluster_enabled"),
    )


def _flag(info: Mapping[str, Any], name: str) -> bool | None:
    found = info.get(name)
    return None if found is None else bool(int(found))


def _writing(info: Mapping[str, Any]) -> bool | None:
    states = [info[name] for name in ("aof_last_write_status", "rdb_last_bgsave_status") if name in info]
    return all(state == "ok" for state in states) if states else None


def _json_of(modules: Iterable[Mapping[str, Any]]) -> JsonModule | None:
    for each in modules:
        if each["name"] in _JSON_MODULES:
            return JsonModule(str(each["name"]), int(each["ver"]))
    return None
