"""The facts a server reports: its version, its JSON module, its persistence and its eviction."""

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
# The names of the modules with JSON.* commands: RedisJSON, and Valkey's.
_JSON_MODULES: Final = ("ReJSON", "json")


@dataclass(frozen=True, slots=True)
class JsonModule:
    """The module with the JSON.* commands.

    Attributes:
        name: ``ReJSON`` (Redis) or ``json`` (Valkey).
        number: Its version: 20803 is 2.8.3.
    """

    name: str
    number: int

    @property
    def version(self) -> str:
        """In the usual notation."""
        return f"{self.number // 10_000}.{self.number // 100 % 100}.{self.number % 100}"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server, or one node of a cluster; None stands for facts it does not report.

    Attributes:
        name: ``redis``, ``valkey``, or ``embedded`` for the engine inside this process.
        version: For example ``8.2.3``.
        address: ``host:port`` or the path of a socket.
        modules: Whether it lists its modules; if so, ``json`` is None only if it has none.
        json: The module for JSON.
        appendonly: Whether it appends each write to a file.
        fsync: When that file is synced to disk: ``always``, ``everysec`` or ``no``.
        snapshots: Whether it writes snapshots of all its data.
        writing: Whether its last attempt to write either file succeeded.
        eviction: What it removes when ``maxmemory`` is reached: ``noeviction``, ``allkeys-lru``, ...
        maxmemory: In bytes; 0 means no limit.
        used_memory: Bytes.
        role: ``master`` or ``slave``, as in INFO.
        replicas: How many replicas are connected.
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
        """Whether it is the embedded engine."""
        return self.name == _EMBEDDED

    @property
    def durable(self) -> bool | None:
        """Whether data outlives the server's process; None if it does not say."""
        if self.appendonly or self.snapshots:
            return True
        return None if None in {self.appendonly, self.snapshots} else False


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A cluster, as seen by one of its nodes.

    Attributes:
        state: ``ok`` or ``fail``.
        primaries: How many primaries have slots.
        nodes: The number of nodes, replicas included.
    """

    state: str
    primaries: int
    nodes: int


async def server_facts(client: RedisClient) -> ServerFacts:
    """Ask a server for its facts; facts that the user has no permission to read are left out.

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
    """Ask a node about its cluster; None if it does not say.

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
    """The reply, or nothing if the server refuses or does not know the command."""
    try:
        told = await reply
    except (ResponseError, DataError):
        return {}
    return told if isinstance(told, Mapping) else {}


def facts_of(info: Mapping[str, Any], config: Mapping[str, Any], *, address: str = "") -> ServerFacts:
    """The facts in the replies of INFO and CONFIG GET, as redis-py converts them.

    Args:
        info: Empty if the server does not answer INFO.
        config: ``save`` and ``appendfsync``, each if the server reports it.
        address: The server's address.
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
