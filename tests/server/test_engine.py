"""The description of the Redis a server uses."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from portfolio_trio.logs import fields_of
from portfolio_trio.redis import ClusterFacts, JsonModule, ServerFacts
from portfolio_trio.server import engine

WHOLE = ServerFacts(
    name="redis",
    version="8.2.3",
    address="127.0.0.1:6379",
    modules=True,
    json=JsonModule("ReJSON", 20803),
    appendonly=True,
    fsync="everysec",
    snapshots=False,
    writing=True,
    eviction="noeviction",
    maxmemory=0,
    used_memory=1_234_567,
    role="master",
    replicas=1,
    cluster=False,
)


def test_one_line_says_what_a_server_works_with() -> None:
    assert engine.summary(WHOLE) == (
        "Redis: redis 8.2.3 at 127.0.0.1:6379; JSON: ReJSON 2.8.3; persistence: append-only file (everysec)"
    )
    assert engine.warnings(WHOLE) == []


@pytest.mark.parametrize(
    ("facts", "end"),
    [
        (replace(WHOLE, snapshots=True), "persistence: append-only file (everysec) and snapshots"),
        (replace(WHOLE, fsync=None), "persistence: append-only file"),
        (replace(WHOLE, appendonly=False, snapshots=True), "persistence: snapshots"),
        (replace(WHOLE, appendonly=False), "persistence: off (nothing is kept when Redis ends)"),
        (replace(WHOLE, appendonly=False, snapshots=None), "persistence: unknown"),
        (replace(WHOLE, eviction="allkeys-lru"), "; eviction: allkeys-lru"),
        (
            ServerFacts("redis", address="h:1"),
            "redis of unknown version at h:1; JSON: unknown; persistence: unknown",
        ),
        (ServerFacts("embedded", appendonly=False, snapshots=False), "are lost when it ends"),
    ],
)
def test_what_it_keeps_and_what_is_unknown(facts: ServerFacts, end: str) -> None:
    assert engine.summary(facts).endswith(end)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_eviction_is_warned_of(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine.announce(replace(WHOLE, eviction=policy))
    said, warned = caplog.records
    assert (said.levelno, warned.levelno) == (logging.INFO, logging.WARNING)
    reason = str(fields_of(warned)["reason"])
    assert policy in reason
    assert "sessions could vanish: set it to noeviction" in reason


def test_a_failed_write_is_warned_of() -> None:
    assert engine.warnings(replace(WHOLE, writing=False)) == [
        "the last attempt of Redis to write its data to disk failed: see its log"
    ]
    assert engine.warnings(replace(WHOLE, writing=None, eviction=None)) == []


def test_memory() -> None:
    assert engine.memory(WHOLE) == "1.2 MB used, no limit; eviction noeviction"
    assert engine.memory(replace(WHOLE, maxmemory=50_000_000, eviction=None)) == (
        "1.2 MB used, 50 MB at most; eviction unknown"
    )
    assert engine.memory(replace(WHOLE, maxmemory=None)) == "unknown"


def test_role() -> None:
    cluster = ClusterFacts("ok", primaries=3, nodes=6)
    assert engine.role(WHOLE, None) == "primary with 1 replicas, no cluster"
    assert engine.role(replace(WHOLE, role="slave"), None) == "replica, no cluster"
    assert engine.role(replace(WHOLE, cluster=True), cluster) == (
        "primary with 1 replicas; cluster ok, 3 primaries of 6 nodes"
    )
    assert (
        engine.role(replace(WHOLE, cluster=True), None)
        == "primary with 1 replicas in a cluster of unknown state"
    )
    assert engine.role(replace(WHOLE, role=None), None) == "unknown"


def test_json_that_is_no_module_of_a_known_name() -> None:
    assert engine.json(replace(WHOLE, json=None)) == "no known module"
