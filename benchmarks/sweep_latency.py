"""The effect of a market tick on clients: their latency while sweeps run, compared with a market at rest.

    python benchmarks/sweep_latency.py [--short] [--full] [--json PATH]

One Redis holds 10,000 sessions of ten holdings (``--full``: 100,000, too). In turns a server whose market
ticks every 10 ms, so that one sweep follows the other, and a server whose market stands still serve 16
sockets which ask at random moments, half of the time for the portfolio and half for an analysis: some 200
requests a second, an open loop. Both have the same Redis; which comes first alternates.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import trio
from _options import Options, run
from _processes import drive, free_port, private_redis, server
from _report import Bar, bars_table, ratios, table
from _sessions import fill, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _processes import Redis

CLIENTS: Final = 16
THINK: Final = 0.08
# Seconds between two ticks. A sweep that takes longer is followed by the next at once.
INTERVAL: Final = {"at rest": 86_400.0, "sweeping": 0.01}
REST, SWEEPING = INTERVAL


def measure(options: Options) -> dict[str, Any]:
    """Take turns at each size; return rows and ratios."""
    sizes = [10_000, 100_000] if options.full else [10_000]
    rows: list[dict[str, Any]] = []
    for size in sizes:
        with private_redis() as found:
            trio.run(fill, found.url, size, next(ticks()))
            for number in range(options.rounds):
                for market in list(INTERVAL)[:: -1 if number % 2 else 1]:
                    figures = _turn(found, market, options.seconds)
                    rows.append({"sessions": size, "market": market, **figures})
    return {"rows": rows, "bars": [bar for size in sizes for bar in _bars(rows, size)]}


def _turn(found: Redis, market: str, seconds: float) -> dict[str, Any]:
    port = free_port()
    words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", found.url]
    words += ["--market-update-interval-seconds", str(INTERVAL[market])]
    with server(market, words, port) as target:
        before, began = _revalued(found), time.perf_counter()
        figures = drive(
            target, "--mode", "visit", "--clients", CLIENTS, "--think", THINK,
            "--seconds", seconds, "--warm-up", 1.0,
        )  # fmt: skip
        rate = (_revalued(found) - before) / (time.perf_counter() - began)
    return {**figures, "revalued_per_s": round(rate)}


def _revalued(found: Redis) -> int:
    """How many sessions have been revalued so far: one JSON.MSET each, and the clients cause few beside."""
    with found.client() as client:
        counts: dict[str, Any] = client.info("commandstats")
    calls: int = counts.get("cmdstat_JSON.MSET", {}).get("calls", 0)
    return calls


def _bars(rows: Sequence[dict[str, Any]], size: int) -> list[Bar]:
    def pairs(key: str) -> tuple[float, ...]:
        sweeping, rest = (
            [row[key] or 0.0 for row in rows if (row["sessions"], row["market"]) == (size, market)]
            for market in (SWEEPING, REST)
        )
        return ratios(sweeping, rest)

    lost = tuple(row["lost"] + row["errors"] for row in rows if row["sessions"] == size)
    return [
        Bar(f"get_portfolio p99, sweeping / at rest, {size:,} sessions", pairs("portfolio_p99_ms"), most=2),
        Bar(f"analysis p99, sweeping / at rest, {size:,} sessions", pairs("analysis_p99_ms"), most=2),
        Bar("get_portfolio p50, sweeping / at rest", pairs("portfolio_p50_ms")),
        Bar("analysis p50, sweeping / at rest", pairs("analysis_p50_ms")),
        Bar("lost answers and errors", lost, most=0, unit=""),
    ]


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    head = (
        "sessions", "market", "requests/s", "portfolio p50 ms", "p99", "analysis p50 ms", "p99",
        "revalued/s", "busy",
    )  # fmt: skip
    keys = (
        "sessions", "market", "per_s", "portfolio_p50_ms", "portfolio_p99_ms", "analysis_p50_ms",
        "analysis_p99_ms", "revalued_per_s", "server_busy",
    )  # fmt: skip
    print(table(head, [[row[key] for key in keys] for row in figures["rows"]]))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=9, seconds=4.0)
