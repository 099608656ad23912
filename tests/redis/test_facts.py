"""The facts that servers report about themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.redis import ServerFacts, cluster_facts, open_redis, server_facts
from portfolio_trio.redis._facts import JsonModule, facts_of
from tests.support.processes import json_or_skip
from tests.support.redis_servers import private_cluster, private_server

REDIS = {
    "redis_version": "8.2.3",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "used_memory": 795048,
    "role": "master",
    "connected_slaves": 2,
    "cluster_enabled": 0,
    "modules": [{"name": "vectorset", "ver": 1}, {"name": "ReJSON", "ver": 20803}],
}
CONFIG = {"save": "3600 1", "appendfsync": "everysec"}


def test_redis_with_its_json() -> None:
    assert facts_of(REDIS, CONFIG, address="h:1") == ServerFacts(
        name="redis",
        version="8.2.3",
        address="h:1",
        modules=True,
        json=JsonModule("ReJSON", 20803),
        appendonly=True,
        fsync="everysec",
        snapshots=True,
        writing=True,
        eviction="noeviction",
        maxmemory=0,
        used_memory=795048,
        role="master",
        replicas=2,
        cluster=False,
    )


def test_valkey_says_its_own_version_and_not_that_of_redis() -> None:
    facts = facts_of(
        {"server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "9.1.2", "modules": []}, {}
    )
    assert (facts.name, facts.version, facts.modules, facts.json) == ("valkey", "9.1.2", True, None)
    assert facts_of({"modules": [{"name": "json", "ver": 10010}]}, {}).json == JsonModule("json", 10010)


@pytest.mark.parametrize(
    ("appendonly", "save", "durable"),
    [
        (1, "", True),
        (1, None, True),
        (0, "60 1", True),
        (None, "60 1", True),
        (0, "", False),
        (0, None, None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_durable_is_said_only_where_it_is_known(
    appendonly: int | None, save: str | None, *, durable: bool | None
) -> None:
    info = {} if appendonly is None else {"aof_enabled": appendonly}
    assert facts_of(info, {} if save is None else {"save": save}).durable is durable


@pytest.mark.parametrize("name", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_failed_write_is_noticed(name: str) -> None:
    assert facts_of({**REDIS, name: "err"}, CONFIG).writing is False


@given(st.sets(st.sampled_from(sorted(REDIS))), st.sets(st.sampled_from(sorted(CONFIG))))
def test_whatever_is_left_out_is_left_open(info: set[str], config: set[str]) -> None:
    whole = facts_of(REDIS, CONFIG)
    facts = facts_of(
        {name: value for name, value in REDIS.items() if name not in info},
        {name: value for name, value in CONFIG.items() if name not in config},
    )
    for name in ServerFacts.__dataclass_fields__:
        assert getattr(facts, name) in {getattr(whole, name), None} or name in {"modules", "writing"}


@pytest.mark.parametrize(("number", "text"), [(20803, "2.8.3"), (80200, "8.2.0"), (10010, "1.0.10")])
def test_the_version_of_a_module_is_written_as_people_do(number: int, text: str) -> None:
    assert JsonModule("ReJSON", number).version == text


@pytest.mark.anyio
async def test_a_server_is_asked() -> None:
    with private_server(
        json_or_skip(), "--appendonly", "yes", "--maxmemory-policy", "volatile-ttl"
    ) as server:
        async with open_redis(server.url) as client:
            facts = await server_facts(client)
    assert facts.version is not None
    assert (facts.appendonly, facts.fsync, facts.snapshots) == (True, "everysec", False)
    assert (facts.eviction, facts.role, facts.replicas, facts.cluster) == ("volatile-ttl", "master", 0, False)
    assert facts.address == server.socket


@pytest.mark.anyio
async def test_a_server_that_refuses_says_nothing() -> None:
    with private_server(json_or_skip()) as server:
        server.do("ACL SETUSER", "blind", "on", "nopass", "~*", "&*", "+@all", "-info", "-config", "-cluster")
        async with open_redis(f"unix://blind@{server.socket}?password=x") as client:
            facts = await server_facts(client)
            assert facts == ServerFacts("redis", address=server.socket)
            assert await cluster_facts(client) is None


@pytest.mark.anyio
async def test_a_cluster_is_asked_at_one_of_its_nodes() -> None:
    with private_cluster(json_or_skip()) as servers:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        async with open_redis(url) as client:
            facts, cluster = await server_facts(client), await cluster_facts(client)
    assert facts.cluster
    assert facts.address.endswith(" and 2 more")
    assert cluster is not None
    assert (cluster.state, cluster.primaries, cluster.nodes) == ("ok", 3, 3)


@pytest.mark.anyio
async def test_the_embedded_engine_says_that_nothing_is_kept() -> None:
    async with open_redis("embedded://") as client:
        facts = await server_facts(client)
    assert facts.embedded
    assert facts.durable is False


@pytest.mark.anyio
async def test_a_reply_of_another_shape_is_no_answer() -> None:
    async def odd() -> Any:
        return ["save", ""]

    from portfolio_trio.redis._facts import _told  # noqa: PLC0415 - the one private thing here

    assert await _told(odd()) == {}


def test_a_server_that_leaves_out_its_modules_has_none() -> None:
    facts = facts_of({"redis_version": "7.0.15"}, {})
    assert (facts.modules, facts.json) == (True, None)
    assert not facts_of({}, CONFIG).modules
