"""From a switch being sent to the first result of the new ticker, with metrics of 2 to 5 seconds outstanding.

    python benchmarks/switch_latency.py [--short] [--json PATH]

The first metric of each run is there at once and four are outstanding when the client switches, after a
random time below two seconds. The measure is a round trip (``get_portfolio``) on the same server, with the
same sockets open, just before and after: one right behind the other (idle), and each after as long a rest as
lies between two switches (rested). A core that has slept for milliseconds finds its caches cold, which a
switch pays for and back-to-back round trips do not. A second run without think time shows the server under
as many switches as it takes; there the clients wait for each other, which is no property of a switch.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from _contenders import OURS, TUNED
from _options import Options, run
from _processes import HERE, Server, drive, free_port, private_redis, server
from _report import Bar, bars_table, ratios, table

CLIENTS: Final = 64
COMMANDS: Final = {
    OURS: [str(HERE / "slow_metrics_server.py")],
    TUNED: [str(HERE / "peers" / "fastapi_server.py"), "--variant", "tuned", "--delays", "2,5"],
}
# Mean seconds between two switches of one client; twice that is below the shortest delay.
THINK: Final = {"thinking": 0.75, "without a pause": 0.0}


def measure(options: Options) -> dict[str, Any]:
    """Take turns; return rows and ratios."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = {}
        for name, command in COMMANDS.items():
            port, found = free_port(), stack.enter_context(private_redis())
            words = [*command, "--port", str(port), "--redis-url", found.url]
            servers[name] = stack.enter_context(server(name, words, port))
        for _ in range(options.rounds):
            for kind, think in list(THINK.items())[: 1 if options.short else None]:
                rows += [_turn(each, kind, think, options.seconds) for each in servers.values()]
    return {"rows": rows, "bars": _bars(rows)}


def _turn(target: Server, kind: str, think: float, seconds: float) -> dict[str, Any]:
    figures = drive(
        target, "--mode", "switch", "--clients", CLIENTS, "--think", think,
        "--seconds", seconds, "--warm-up", 1.0, "--count", 200,
    )  # fmt: skip
    cpu_us = 1e6 * figures["server_busy"] / figures["per_s"]
    return {"server": target.name, "kind": kind, "cpu_us": cpu_us, **figures}


def _bars(rows: list[dict[str, Any]]) -> list[Bar]:
    def values(name: str, kind: str, key: str) -> list[float]:
        return [row[key] or 0.0 for row in rows if row["server"] == name and row["kind"] == kind]

    def against_peer(key: str, kind: str = "thinking") -> tuple[float, ...]:
        return ratios(values(OURS, kind, key), values(TUNED, kind, key))

    calm, full = THINK
    p99, idle = values(OURS, calm, "switch_p99_ms"), values(OURS, calm, "idle_p50_ms")
    bars = [
        Bar("p99 of a switch / median idle round trip", ratios(p99, idle), most=5),
        Bar("p50 / median idle round trip", ratios(values(OURS, calm, "switch_p50_ms"), idle)),
        Bar("p99 / median rested round trip", ratios(p99, values(OURS, calm, "rested_p50_ms"))),
        Bar("p99 / p99 of the idle round trip", ratios(p99, values(OURS, calm, "idle_p99_ms"))),
        Bar("p50 of a switch / peer's", against_peer("switch_p50_ms"), most=1),
        Bar("p99 of a switch / peer's", against_peer("switch_p99_ms"), most=1),
        Bar("CPU of a switch / peer's", against_peer("cpu_us")),
        Bar("stale results", tuple(row["stale"] for row in rows if row["server"] == OURS), most=0, unit=""),
    ]
    if pushed := against_peer("per_s", full):
        bars.append(Bar("switches/s without a pause / peer's", pushed))
        bars.append(Bar("CPU of a switch without a pause / peer's", against_peer("cpu_us", full)))
    return bars


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    head = (
        "server",
        "clients",
        "switches/s",
        "p50 ms",
        "p99 ms",
        "idle p50",
        "idle p99",
        "rested p50",
        "stale",
        "CPU us",
    )
    keys = (
        "per_s", "switch_p50_ms", "switch_p99_ms", "idle_p50_ms", "idle_p99_ms", "rested_p50_ms", "stale",
        "cpu_us",
    )  # fmt: skip
    rows = [[row["server"], row["kind"], *(row[key] for key in keys)] for row in figures["rows"]]
    print(table(head, rows))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=6.0)
