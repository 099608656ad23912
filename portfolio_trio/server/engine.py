"""Describing the Redis of a server: in one line when it starts, in several by ``check``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from portfolio_trio.redis import NO_EVICTION

if TYPE_CHECKING:
    from portfolio_trio.redis import ClusterFacts, ServerFacts

log: Final = logging.getLogger(__name__)

_MEGABYTE: Final = 1_000_000


def announce(facts: ServerFacts) -> None:
    """Log the engine of a server, and warn of settings that could lose sessions."""
    log.info(
        "store in use",
        extra={
            "event": "store",
            "engine": facts.name,
            # The embedded engine has none of its own.
            **({} if facts.version is None else {"version": facts.version}),
            "about": summary(facts),
        },
    )
    for warning in warnings(facts):
        log.warning("the store could lose sessions", extra={"event": "store_warning", "reason": warning})


def summary(facts: ServerFacts) -> str:
    """One line: the engine and its address, its JSON module, persistence and eviction."""
    if facts.embedded:
        return "embedded engine: sessions live in this process and are lost when it ends"
    eviction = "" if facts.eviction in {None, NO_EVICTION} else f"; eviction: {facts.eviction}"
    return f"Redis: {name(facts)}; JSON: {json(facts)}; persistence: {persistence(facts)}{eviction}"


def warnings(facts: ServerFacts) -> list[str]:
    """Conditions that could lose sessions, and what to do about them; one line each."""
    found = []
    if facts.eviction not in {None, NO_EVICTION}:
        found.append(
            f"Redis removes keys when its memory is full (maxmemory-policy {facts.eviction}), so sessions "
            "could vanish: set it to noeviction"
        )
    if facts.writing is False:
        found.append("the last attempt of Redis to write its data to disk failed: see its log")
    return found


def name(facts: ServerFacts) -> str:
    """The server's name, version and address."""
    return f"{facts.name} {facts.version or 'of unknown version'} at {facts.address}"


def json(facts: ServerFacts) -> str:
    """The module with the JSON.* commands."""
    if facts.json is not None:
        return f"{facts.json.name} {facts.json.version}"
    return "no known module" if facts.modules else "unknown"


def persistence(facts: ServerFacts) -> str:
    """The persistence: what outlives the server's process."""
    if facts.durable is None:
        return "unknown"
    if not facts.durable:
        return "off (nothing is kept when Redis ends)"
    file = f"append-only file ({facts.fsync})" if facts.fsync else "append-only file"
    ways = [*([file] if facts.appendonly else []), *(["snapshots"] if facts.snapshots else [])]
    return " and ".join(ways)


def memory(facts: ServerFacts) -> str:
    """Memory used, its limit, and the eviction policy."""
    if facts.maxmemory is None or facts.used_memory is None:
        return "unknown"
    limit = f"{facts.maxmemory / _MEGABYTE:.0f} MB at most" if facts.maxmemory else "no limit"
    return f"{facts.used_memory / _MEGABYTE:.1f} MB used, {limit}; eviction {facts.eviction or 'unknown'}"


def role(facts: ServerFacts, cluster: ClusterFacts | None) -> str:
    """Whether it accepts writes, and its replicas or cluster."""
    if facts.role is None:
        return "unknown"
    own = f"primary with {facts.replicas or 0} replicas" if facts.role == "master" else "replica"
    if not facts.cluster:
        return f"{own}, no cluster"
    if cluster is None:
        return f"{own} in a cluster of unknown state"
    return f"{own}; cluster {cluster.state}, {cluster.primaries} primaries of {cluster.nodes} nodes"
