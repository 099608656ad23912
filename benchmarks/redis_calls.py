"""Calls per second and CPU per call: this wrapper and coredis on Trio, redis-py in threads, redis.asyncio.

    python benchmarks/redis_calls.py [--rounds 5] [--seconds 0.5]

Every call is EVALSHA of one small script, which gives back a JSON text of some 900 bytes that it has set;
nobody parses it. All talk to the same server in the same run, turn by turn, and the medians of the rounds
are compared as ratios, since absolute figures say more about the machine. The server is
PORTFOLIO_TEST_REDIS_URL, else a private one on a Unix socket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import coredis
import redis
import redis.asyncio
import trio
from _processes import private_redis

from portfolio_trio.redis import Script, open_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT = Script("touch", "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])")
# As long as the holdings of 30 names.
KEY, VALUE = "benchmark:{key}", json.dumps({f"NAME{place:02d}.X": place * 1234.5678 for place in range(30)})
CONCURRENCIES = (1, 16, 128)


class Figure(NamedTuple):
    """One engine at one concurrency: calls a second, microseconds of this process's CPU a call."""

    rate: float
    cpu: float


class Meter:
    """Counts calls until time is up, and the CPU this process spent on them."""

    def __init__(self, seconds: float) -> None:
        self._cpu = time.process_time()
        self._start = time.perf_counter()
        self._end = self._start + seconds

    @property
    def running(self) -> bool:
        """Whether to call again."""
        return time.perf_counter() < self._end

    def figure(self, calls: int) -> Figure:
        """The result."""
        wall = time.perf_counter() - self._start
        return Figure(calls / wall, (time.process_time() - self._cpu) / calls * 1e6)


def wrapper_on_trio(url: str, concurrency: int, seconds: float) -> Figure:
    """This package's client, one connection for all tasks."""

    async def main() -> Figure:
        async with open_redis(url, scripts=[SCRIPT]) as client:
            meter, counts = Meter(seconds), [0] * concurrency

            async def caller(number: int) -> None:
                while meter.running:
                    await client.run_script(SCRIPT, [KEY], [VALUE])
                    counts[number] += 1

            async with trio.open_nursery() as nursery:
                for number in range(concurrency):
                    nursery.start_soon(caller, number)
            return meter.figure(sum(counts))

    return trio.run(main)


def coredis_on_trio(url: str, concurrency: int, seconds: float) -> Figure:
    """Coredis on Trio, a pool that may hold as many connections as callers."""

    async def main() -> Figure:
        async with coredis.Redis.from_url(url, max_connections=concurrency) as client:
            await client.script_load(SCRIPT.source)
            meter, counts = Meter(seconds), [0] * concurrency

            async def caller(number: int) -> None:
                while meter.running:
                    await client.evalsha(SCRIPT.sha, keys=[KEY], args=[VALUE])
                    counts[number] += 1

            async with trio.open_nursery() as nursery:
                for number in range(concurrency):
                    nursery.start_soon(caller, number)
            return meter.figure(sum(counts))

    return trio.run(main)


def redis_asyncio(url: str, concurrency: int, seconds: float) -> Figure:
    """redis-py's own client on asyncio, as many connections as callers."""

    async def main() -> Figure:
        async with redis.asyncio.Redis.from_url(url, max_connections=concurrency) as client:
            await client.script_load(SCRIPT.source)
            # Connections are made before the clock runs.
            await asyncio.gather(*(client.ping() for _ in range(concurrency)))
            meter, counts = Meter(seconds), [0] * concurrency

            async def caller(number: int) -> None:
                while meter.running:
                    await client.evalsha(SCRIPT.sha, 1, KEY, VALUE)
                    counts[number] += 1

            await asyncio.gather(*(caller(number) for number in range(concurrency)))
            return meter.figure(sum(counts))

    return asyncio.run(main())


def redis_in_threads(url: str, concurrency: int, seconds: float) -> Figure:
    """redis-py's synchronous client, a thread and a connection per caller."""
    with redis.Redis.from_url(url, max_connections=concurrency) as client:
        client.script_load(SCRIPT.source)
        meter, counts = Meter(seconds), [0] * concurrency

        def caller(number: int) -> None:
            while meter.running:
                client.evalsha(SCRIPT.sha, 1, KEY, VALUE)
                counts[number] += 1

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return meter.figure(sum(counts))


ENGINES: dict[str, Callable[[str, int, float], Figure]] = {
    "wrapper on trio": wrapper_on_trio,
    "coredis on trio": coredis_on_trio,
    "redis.asyncio": redis_asyncio,
    "redis in threads": redis_in_threads,
}


@contextmanager
def server_url() -> Iterator[str]:
    """The environment's server, else a private one for the block."""
    if url := os.environ.get("PORTFOLIO_TEST_REDIS_URL"):
        yield url
        return
    with private_redis() as found:
        yield found.url


def measure(url: str, rounds: int, seconds: float) -> dict[tuple[str, int], Figure]:
    """Medians of rounds in which the engines take turns."""
    figures: dict[tuple[str, int], list[Figure]] = {}
    for _ in range(rounds):
        for concurrency in CONCURRENCIES:
            for name, engine in ENGINES.items():
                figures.setdefault((name, concurrency), []).append(engine(url, concurrency, seconds))
    return {
        key: Figure(statistics.median(f.rate for f in found), statistics.median(f.cpu for f in found))
        for key, found in figures.items()
    }


def report(figures: dict[tuple[str, int], Figure]) -> None:
    """A table with ratios to redis.asyncio."""
    print(f"{'engine':18} {'callers':>7} {'calls/s':>9} {'CPU us/call':>12} {'x redis.asyncio':>16}")
    for concurrency in CONCURRENCIES:
        base = figures["redis.asyncio", concurrency]
        for name in ENGINES:
            rate, cpu = figures[name, concurrency]
            print(f"{name:18} {concurrency:7} {rate:9,.0f} {cpu:12.1f} {rate / base.rate:16.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per engine, concurrency and round")
    options = parser.parse_args()
    with server_url() as url:
        report(measure(url, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
