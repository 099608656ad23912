"""Sessions per second of one market tick over all sessions, compared with two simpler methods.

    python benchmarks/market_sweep.py [--short] [--full] [--json PATH]

sweep:       `PortfolioStore.revalue_all`: SCAN, then one script call for many keys after another.
one key:     the same on a client that takes one key a call, as on a cluster.
ready bytes: the single-key script, every command packed beforehand, written to a raw socket 512 at a time
             and answered to hiredis: what the plain way can reach at most. Finding the keys is not in it.
one by one:  the single-key script with redis-py, each call after the last, which is a simple loop.

All of them in one process and one run, over 1,000 and 10,000 sessions of ten holdings; with ``--full``
over 100,000, too.
"""

from __future__ import annotations

import json
import socket
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis
import trio
from _options import Options, run
from _processes import pin, private_redis, server_core
from _report import Bar, bars_table, ratios, table
from _sessions import fill, session_id
from _sessions import ticks as all_ticks
from typing_extensions import override

from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, all_scripts
from portfolio_trio.store.scripts import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _processes import Redis

    from portfolio_trio.market import Tick
    from portfolio_trio.redis import RedisClient

WINDOW: Final = 512
# One by one, no more than this many: a rate does not need all of them.
ONE_BY_ONE: Final = 2_000
SWEEP, SINGLE, READY, LOOP = "sweep", "one key a call", "ready bytes", "one by one"


def one_key(client: RedisClient) -> RedisClient:
    """The same client, saying that a script may take one key only."""

    class Single(type(client)):  # type: ignore[misc] # whichever class the URL led to
        @property
        @override
        def many_keys(self) -> bool:
            return False

    client.__class__ = Single
    return client


def sweep(url: str, sessions: int, ticks: Iterator[Tick], *, single: bool) -> float:
    """Sessions per second of the store's sweep."""

    async def main() -> float:
        async with open_redis(url, scripts=all_scripts()) as client:
            store = PortfolioStore(one_key(client) if single else client)
            tick = next(ticks)
            began = time.perf_counter()
            report = await store.revalue_all(tick)
            took = time.perf_counter() - began
            if report.revalued != sessions:
                raise SystemExit(f"the sweep revalued {report.revalued} of {sessions}")
            return sessions / took

    return trio.run(main)


def _packed(sessions: Sequence[int], tick: Tick) -> list[bytes]:
    """One EVALSHA for each session."""
    prices = "{" + ",".join(f'"{name}":{price:.17g}' for name, price in tick.prices.items()) + "}"
    sha = script("revalue").sha
    words = [("EVALSHA", sha, "1", f"portfolio:{{{session_id(number)}}}") for number in sessions]
    return [hiredis.pack_command((*each, str(tick.tick_id), tick.as_of, prices)) for each in words]  # type: ignore[arg-type] # hiredis declares a tuple of one


def _exchange(side: socket.socket, reader: hiredis.Reader, commands: Sequence[bytes]) -> None:
    """Send commands in one piece and take all their replies."""
    side.sendall(b"".join(commands))
    left = len(commands)
    while left:
        reply = reader.gets()
        if reply is NotImplemented:
            reader.feed(side.recv(1 << 16))
        elif isinstance(reply, list) and reply[0][0] == b"ok":
            left -= 1
        else:
            raise SystemExit(f"a session was not revalued: {reply!r}")


def ready_bytes(found: Redis, sessions: int, ticks: Iterator[Tick]) -> float:
    """Sessions per second of a bare pipeline."""
    commands = _packed(range(sessions), next(ticks))
    reader = hiredis.Reader(notEnoughData=NotImplemented)
    with socket.socket(socket.AF_UNIX) as side:
        side.connect(str(found.path))
        began = time.perf_counter()
        for at in range(0, sessions, WINDOW):
            _exchange(side, reader, commands[at : at + WINDOW])
        return sessions / (time.perf_counter() - began)


def one_by_one(found: Redis, sessions: int, ticks: Iterator[Tick]) -> float:
    """Sessions per second of a loop."""
    tick, sha = next(ticks), script("revalue").sha
    prices = json.dumps(dict(tick.prices))
    with found.client() as client:
        began = time.perf_counter()
        for number in range(sessions):
            key = f"portfolio:{{{session_id(number)}}}"
            client.evalsha(sha, 1, key, tick.tick_id, tick.as_of, prices)
        return sessions / (time.perf_counter() - began)


def measure(options: Options) -> dict[str, Any]:
    """Take turns at each size; return rows and ratios."""
    pin(0, server_core())
    sizes = [1_000, 10_000] if not options.full else [1_000, 10_000, 100_000]
    rates: dict[tuple[int, str], list[float]] = {}
    ticks = all_ticks()
    for size in sizes:
        with private_redis() as found:
            trio.run(fill, found.url, size, next(ticks))
            ways: dict[str, Callable[[], float]] = {
                SWEEP: lambda url=found.url, size=size: sweep(url, size, ticks, single=False),  # type: ignore[misc]
                SINGLE: lambda url=found.url, size=size: sweep(url, size, ticks, single=True),  # type: ignore[misc]
                READY: lambda found=found, size=size: ready_bytes(found, size, ticks),  # type: ignore[misc]
                LOOP: lambda found=found, size=size: one_by_one(found, min(size, ONE_BY_ONE), ticks),  # type: ignore[misc]
            }
            for round_number in range(options.rounds):
                names = list(ways)
                for name in names[round_number % 4 :] + names[: round_number % 4]:
                    rates.setdefault((size, name), []).append(ways[name]())
    return {"rows": _rows(rates), "bars": _bars(rates, sizes)}


def _rows(rates: dict[tuple[int, str], list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "sessions": size,
            "way": name,
            "per_s": statistics.median(each),
            "least": min(each),
            "most": max(each),
        }
        for (size, name), each in rates.items()
    ]


def _bars(rates: dict[tuple[int, str], list[float]], sizes: Sequence[int]) -> list[Bar]:
    bars = []
    for size in sizes:
        limit, swept, single = rates[size, READY], rates[size, SWEEP], rates[size, SINGLE]
        bars += [
            Bar(f"sweep / ready bytes, {size:,} sessions", ratios(swept, limit), least=1),
            Bar(f"sweep, one key a call / ready bytes, {size:,} sessions", ratios(single, limit), least=0.7),
            Bar(f"sweep / one by one, {size:,} sessions", ratios(swept, rates[size, LOOP])),
        ]
    flat = ratios(rates[sizes[-1], SWEEP], rates[sizes[0], SWEEP])
    return [*bars, Bar(f"sessions/s at {sizes[-1]:,} / at {sizes[0]:,}", flat, least=0.9)]


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    head = ("sessions", "way", "sessions/s", "min", "max")
    rows = [[row[key] for key in ("sessions", "way", "per_s", "least", "most")] for row in figures["rows"]]
    print(table(head, rows))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=0)
