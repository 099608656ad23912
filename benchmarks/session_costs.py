"""The cost of a session: bytes in Redis, and the bytes and CPU of one revaluation.

    python benchmarks/session_costs.py [--short] [--full] [--json PATH]

memory:  growth of Redis' ``used_memory`` per session, by holdings and stored results. The results are those
         of a real analysis.
sweeps:  bytes to and from Redis (INFO stats) and CPU of Redis and of the process that sweeps, per session, in
         one call for many keys and in one key a call, as on a cluster.
growth:  resident memory of a server before its first sweep, and the most while it sweeps; with ``--full``
         over 100,000 sessions, else over 10,000.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import trio
from _options import Options, run
from _processes import drive, free_port, pin, private_redis, server, server_core
from _report import table
from _sessions import AS_OF, fill, session_id, ticks
from market_sweep import one_key

from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, all_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _processes import Redis

    from portfolio_trio.market import Tick

HOLDINGS: Final = (3, 10, 30)
RESULTS: Final = (0, 100, 1_000)
# Sessions of one measurement of memory; fewer where each is large.
SESSIONS: Final = {0: 5_000, 100: 500, 1_000: 100}
SWEPT: Final = 10_000
BATCH, ONE_KEY = "many keys a call", "one key a call"
TICK_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.02


def measure(options: Options) -> dict[str, Any]:
    """Measure one after the other."""
    pin(0, server_core())
    texts = _real_results()
    memory = [_memory(held, count, texts) for held in HOLDINGS for count in RESULTS]
    sweeps = [row for held in HOLDINGS for row in _sweeps(held, options.rounds)]
    return {"memory": memory, "sweeps": sweeps, "growth": [_growth(100_000 if options.full else 10_000)]}


def _real_results() -> list[str]:
    """The results of one analysis as a server records them."""
    with private_redis() as found:
        port = free_port()
        words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", found.url]
        with server("server", words, port) as target:
            drive(target, "--mode", "analyze", "--clients", 1, "--seconds", 0.2, "--warm-up", 0.1)
        with found.client() as client:
            (key,) = client.scan_iter("portfolio:*")
            (texts,) = json.loads(client.execute_command("JSON.GET", key, "$.analysis_results"))
    return [json.dumps(text, separators=(",", ":")) for text in texts[-5:]]


def _memory(held: int, results: int, texts: Sequence[str]) -> dict[str, Any]:
    sessions, tick = SESSIONS[results], next(ticks())
    with private_redis() as found:
        # Scripts and connections are there before as they are after.
        trio.run(fill, found.url, 1, tick, held)
        before = _used(found)
        trio.run(fill, found.url, sessions + 1, tick, held)
        if results:
            trio.run(_record, found.url, sessions, results, texts)
        grown = (_used(found) - before) / sessions
    size = sum(map(len, texts)) / len(texts)
    return {"holdings": held, "results": results, "bytes": round(grown), "result_text_bytes": round(size)}


def _used(found: Redis) -> int:
    with found.client() as client:
        used: int = client.info("memory")["used_memory"]
    return used


async def _record(url: str, sessions: int, results: int, texts: Sequence[str]) -> None:
    """Give each session a number of results."""
    async with open_redis(url, scripts=all_scripts()) as client:
        store = PortfolioStore(client)
        for number in range(sessions):
            name = session_id(number)
            run_ = await store.start_analysis(name, ticker="N00", started_at=AS_OF, tick_id=1)
            for _ in range(results // len(texts)):
                await store.record_results(
                    name, run_id=run_.run_id, version=run_.version, results=texts, at=AS_OF
                )


def _sweeps(held: int, rounds: int) -> list[dict[str, Any]]:
    with private_redis() as found:
        all_ticks = ticks()
        trio.run(fill, found.url, SWEPT, next(all_ticks), held)
        turns: dict[str, list[dict[str, float]]] = {BATCH: [], ONE_KEY: []}
        for _ in range(rounds):
            for way, taken in turns.items():
                taken.append(trio.run(_swept, found, way, next(all_ticks)))
    return [
        {
            "holdings": held,
            "way": way,
            **{key: statistics.median(turn[key] for turn in taken) for key in taken[0]},
        }
        for way, taken in turns.items()
    ]


async def _swept(found: Redis, way: str, tick: Tick) -> dict[str, float]:
    """One sweep: what it took, per session."""
    async with open_redis(found.url, scripts=all_scripts()) as client:
        store = PortfolioStore(one_key(client) if way == ONE_KEY else client)
        before, own, began = _counters(found), time.process_time(), time.perf_counter()
        report = await store.revalue_all(tick)
        took, own = time.perf_counter() - began, time.process_time() - own
        after = _counters(found)
    used = {key: (after[key] - before[key]) / report.revalued for key in after}
    return {
        "per_s": report.revalued / took,
        "sent": used["total_net_input_bytes"],
        "received": used["total_net_output_bytes"],
        "redis_us": 1e6 * (used["used_cpu_user"] + used["used_cpu_sys"]),
        "sweeper_us": 1e6 * own / report.revalued,
    }


def _counters(found: Redis) -> dict[str, float]:
    with found.client() as client:
        counters: dict[str, Any] = {**client.info("stats"), **client.info("cpu")}
    keys = ("total_net_input_bytes", "total_net_output_bytes", "used_cpu_user", "used_cpu_sys")
    return {key: float(counters[key]) for key in keys}


def _growth(sessions: int) -> dict[str, Any]:
    with private_redis() as found:
        trio.run(fill, found.url, sessions, next(ticks()))
        port = free_port()
        words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", found.url]
        words += ["--market-update-interval-seconds", str(TICK_SECONDS)]
        with server("server", words, port) as target:
            before = target.resident_bytes
            seen, until = [], time.monotonic() + 6 * TICK_SECONDS
            while time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
                seen.append(target.resident_bytes)
            quarter = len(seen) // 4
            return {
                "sessions": sessions,
                "before_kib": before / 1024,
                "first_quarter_kib": max(seen[:quarter]) / 1024,
                "last_quarter_kib": max(seen[-quarter:]) / 1024,
            }


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    heads = {
        "memory": ("holdings", "results", "bytes a session", "bytes of a result's text"),
        "sweeps": ("holdings", "way", "sessions/s", "sent B", "received B", "Redis us", "sweeper us"),
        "growth": ("sessions", "KiB at start", "most in the first quarter", "most in the last"),
    }
    for name, head in heads.items():
        print(table(head, [tuple(row.values()) for row in figures[name]]), end="\n\n")


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=0)
