"""The cost of an idle connection: memory, CPU, and the time to accept it.

    python benchmarks/connections.py [--short] [--json PATH]

Each turn opens a thousand (and, without ``--short``, ten thousand) sockets of as many sessions on a server
that has just been started, and holds them until each has been pinged. Memory is what the process then has
grown by, divided by the sockets. Pings come every five seconds, four times as often as by default.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from _contenders import OURS, TUNED, contenders
from _options import Options, run
from _processes import drive
from _report import Bar, bars_table, ratios, table

if TYPE_CHECKING:
    from collections.abc import Iterable

PING_SECONDS: Final = 5.0
# A round of pings of ten thousand takes two seconds.
HOLD_SECONDS: Final = 1.6 * PING_SECONDS
PINGS: Final = MappingProxyType(
    {OURS: ("--ping-interval-seconds", str(PING_SECONDS)), TUNED: ("--ping-seconds", str(PING_SECONDS))}
)
MOST_KIB: Final = 16


def measure(options: Options) -> dict[str, Any]:
    """Open connections on fresh servers; return rows and ratios."""
    sizes = (1_000,) if options.short else (1_000, 10_000)
    rounds = 1 if options.short else min(options.rounds, 3)
    rows = [row for _ in range(rounds) for size in sizes for row in _turn(size)]
    return {"rows": rows, "bars": _bars(rows, sizes)}


def _turn(size: int) -> Iterable[dict[str, Any]]:
    for name in (OURS, TUNED):
        # Fresh, since memory that was freed is used again and would hide what a connection holds.
        with contenders([name], flags=PINGS) as servers:
            # The first few fill caches.
            drive(servers[name], "--mode", "analyze", "--clients", 16, "--seconds", 0.5)
            figures = drive(servers[name], "--mode", "idle", "--clients", size, "--seconds", HOLD_SECONDS)
            yield {"server": name, "size": size, **figures}


def _bars(rows: list[dict[str, Any]], sizes: Iterable[int]) -> list[Bar]:
    def values(name: str, size: int, key: str) -> list[float]:
        return [row[key] for row in rows if row["server"] == name and row["size"] == size]

    bars = []
    for size in sizes:
        held = tuple(value / 1024 for value in values(OURS, size, "bytes_per_connection"))
        accepted = ratios(values(OURS, size, "accepted_per_s"), values(TUNED, size, "accepted_per_s"))
        memory = ratios(
            values(OURS, size, "bytes_per_connection"), values(TUNED, size, "bytes_per_connection")
        )
        bars += [
            Bar(f"memory of one of {size:,} idle connections", held, most=MOST_KIB, unit="KiB"),
            Bar(f"memory / peer's, {size:,}", memory),
            Bar(f"accepted per second / peer's, {size:,}", accepted),
            Bar(f"CPU of {size:,} idle connections", tuple(values(OURS, size, "idle_cpu_percent")), unit="%"),
            Bar(
                f"CPU of {size:,} idle connections / peer's",
                ratios(values(OURS, size, "idle_cpu_percent"), values(TUNED, size, "idle_cpu_percent")),
            ),
            Bar(
                f"CPU of accepting one of {size:,} / peer's",
                ratios(values(OURS, size, "accept_cpu_us"), values(TUNED, size, "accept_cpu_us")),
            ),
        ]
    return bars


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    head = (
        "server", "connections", "alive", "pinged", "accepted/s", "accept CPU us", "bytes each", "idle CPU %",
    )  # fmt: skip
    keys = (
        "server", "size", "connections", "pinged", "accepted_per_s",
        "accept_cpu_us", "bytes_per_connection", "idle_cpu_percent",
    )  # fmt: skip
    print(table(head, [[row[key] for key in keys] for row in figures["rows"]]))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=3, seconds=1.0)
