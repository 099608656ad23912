"""The CPU of an analysis by the number of names held: between two ticks, and the first after a tick.

    python benchmarks/names.py [--short] [--json PATH]

Sixteen clients, each with a portfolio of its own of 600 names, ask one after another for each name they hold.
One server has a market at rest, the other one a tick for each analysis, which costs nothing by itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from _options import Options, run
from _processes import HERE, Server, drive, free_port, private_redis, server
from _report import Bar, bars_table, ratios, table

CLIENTS: Final = 16
NAMES: Final = (3, 30, 500)
SERVERS: Final = {"between ticks": [], "first of a tick": ["--ticking"]}


def measure(options: Options) -> dict[str, Any]:
    """Take turns; return rows and ratios."""
    cpu: dict[tuple[str, int], list[float]] = {}
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = {}
        for name, flags in SERVERS.items():
            port, found = free_port(), stack.enter_context(private_redis())
            words = [str(HERE / "ticking_server.py"), "--port", str(port), "--redis-url", found.url, *flags]
            servers[name] = stack.enter_context(server(name, words, port))
        for _ in range(options.rounds):
            for name, target in servers.items():
                for count in NAMES:
                    row = _turn(target, count, options.seconds)
                    rows.append({"server": name, "names": count, **row})
                    cpu.setdefault((name, count), []).append(row["server_cpu_us"])
    return {"rows": rows, "bars": _bars(cpu)}


def _turn(target: Server, names: int, seconds: float) -> dict[str, Any]:
    return drive(target, "--mode", "analyze", "--clients", CLIENTS, "--seconds", seconds, "--names", names)


def _bars(cpu: dict[tuple[str, int], list[float]]) -> list[Bar]:
    goals = {30: 1.4, 500: 3.5}
    few = NAMES[0]
    return [
        Bar(
            f"CPU of an analysis, {name}, {count} names / {few}",
            ratios(cpu[name, count], cpu[name, few]),
            most=goal,
        )
        for name in SERVERS
        for count, goal in goals.items()
    ]


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    keys = ("server", "names", "per_s", "server_cpu_us", "lost", "errors")
    head = ("server", "names", "analyses/s", "CPU us", "lost", "errors")
    print(table(head, [[row[key] for key in keys] for row in figures["rows"]]))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=10, seconds=2.0)
