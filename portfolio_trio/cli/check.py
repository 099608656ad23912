"""``portfolio-trio check``: whether ``serve`` would work with a Redis, and how fast it is."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from redis.exceptions import RedisError

from portfolio_trio.cli._output import say
from portfolio_trio.local_redis import LocalRedisError, at_hand
from portfolio_trio.redis import Message, cluster_facts, open_redis, server_facts
from portfolio_trio.server import engine
from portfolio_trio.store import (
    PortfolioStore,
    RunSuperseded,
    ScriptsNotFound,
    StoreError,
    Workers,
    all_scripts,
    check_engine,
    key_of,
)
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portfolio_trio.redis import RedisClient

ROUND_TRIPS: Final = 500
BATCH_SECONDS: Final = 5.0

# The state in which the self-test leaves its session.
_LEFT: Final = {
    "holdings": {"AAPL": 2, "MSFT": 2},
    "version": 3,
    "total_value": 600,
    "current_analysis": None,
    "analysis_results": [{"n": 2}],
}


class CheckError(Exception):
    """``serve`` would not work; the message says why and what to do."""


@dataclass(frozen=True)
class _Tick:
    """Prices for the self-test."""

    tick_id: int
    as_of: str
    prices: Mapping[str, float] = field(default_factory=lambda: {"AAPL": 100.0, "MSFT": 50.0})


async def check(url: str, say: Callable[[str], None] = say) -> None:
    """Connect, try everything the server needs, and report the findings, line by line.

    Raises:
        CheckError: The server could not use this Redis.
    """
    try:
        async with at_hand(url) as at, open_redis(at, scripts=all_scripts()) as client:
            await _introduce(client, say)
            await check_engine(client)
            say("JSON, Lua    every command of the scripts works as expected")
            await _self_test(client)
            say("scripts      a session was opened, analysed, fenced, edited, revalued and removed")
            await _try_batches(client)
            say("pub/sub      a batch from one worker to another arrived")
            p50, p99 = await _round_trips(client)
            say(f"round trip   p50 {p50:.0f} us, p99 {p99:.0f} us ({ROUND_TRIPS} pings, one after another)")
    except (LocalRedisError, RedisError, StoreError, ScriptsNotFound, ValueError) as error:
        raise CheckError(f"serve would not work: {error}") from error


async def _introduce(client: RedisClient, say: Callable[[str], None]) -> None:
    """Report all facts about the server; those it does not tell are unknown."""
    facts = await server_facts(client)
    if facts.embedded:
        say("connected    to the embedded engine: nothing is kept when the server ends")
        return
    say(f"connected    to {engine.name(facts)}")
    say(f"JSON module  {engine.json(facts)}")
    say(f"persistence  {engine.persistence(facts)}")
    say(f"memory       {engine.memory(facts)}")
    say(f"role         {engine.role(facts, await cluster_facts(client) if facts.cluster else None)}")
    for warning in engine.warnings(facts):
        say(f"warning      {warning}")


async def _self_test(client: RedisClient) -> None:
    """Run every script once, on a temporary session that is removed at the end."""
    session = f"check-{secrets.token_hex(16)}"
    store = PortfolioStore(client, ttl_seconds=60, max_results=1)
    at = rfc3339(time.time())
    try:
        await store.open_session(session, holdings={"AAPL": 1}, tick=_Tick(1, at), at=at)
        stale = await store.start_analysis(session, ticker="AAPL", started_at=at, tick_id=1)
        run = await store.start_analysis(session, ticker="AAPL", started_at=at, tick_id=1)
        record = partial(
            store.record_results, session, version=run.version, results=['{"n":1}', '{"n":2}'], at=at
        )
        try:
            await record(run_id=stale.run_id)
        except RunSuperseded:
            pass
        else:
            raise CheckError("serve would not work: a superseded run could write")
        await record(run_id=run.run_id, finish=True, recorded=0)
        await store.set_holdings(session, {"AAPL": 2}, tick=_Tick(1, at), at=at)
        await store.trade(session, "MSFT", 2, tick=_Tick(1, at), at=at)
        await store.revalue([session], tick=_Tick(2, at, {"AAPL": 200.0, "MSFT": 100.0}))
        document = await store.get_document(session)
        found = {name: document[name] for name in _LEFT}
        if found != _LEFT:
            raise CheckError(f"serve would not work: the scripts left {found} instead of {_LEFT}")
    finally:
        await client.delete(key_of(session))


async def _try_batches(client: RedisClient) -> None:
    """Send a batch to itself, as workers do to each other."""
    me = f"check-{secrets.token_hex(16)}"
    workers = Workers(client, me, source="check", ttl=BATCH_SECONDS, lease=BATCH_SECONDS)
    with trio.move_on_after(BATCH_SECONDS):
        async with workers.listen() as heard:
            await workers.send_batch(me, "hello")
            async for message in heard:
                # Messages of a running market arrive as well.
                if isinstance(message, Message) and message.data == b"hello":
                    return
    raise CheckError("serve would not work: published messages do not arrive; allow channels portfolio-*")


async def _round_trips(client: RedisClient) -> tuple[float, float]:
    """Median and 99th percentile of PING, in microseconds."""
    took = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        await client.ping()
        took.append((time.perf_counter() - start) * 1e6)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]
