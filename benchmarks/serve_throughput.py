"""Analyses per second, and the time to the first and the last of five results, at 1 to 256 clients.

    python benchmarks/serve_throughput.py [--short] [--before CHECKOUT] [--json PATH]

Each client holds a portfolio of its own, 3 to 30 of 60 names; ours and the tuned peer are also driven with
one portfolio for all clients. Against the peer (FastAPI) and against the limit (a bare trio-websocket
server). The servers take turns, so that a slow moment of the machine falls on all of them, and ratios are
formed within a turn.

The tuned peer has everything of ours that helps it: the metrics, their texts, and one script for an
analysis. It also runs with a call for each result, as an application of its kind would do it; and, with
``--before``, with such calls and the metrics of an earlier version: 88549b8 was the last one before returns
were folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from _contenders import EARLIER, LIMIT, OURS, PER_RESULT, TUNED, UNTUNED, WHOLE_DOCUMENT, contenders
from _options import Options, run
from _processes import drive
from _report import Bar, bars_table, ratios, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _processes import Server

COMMON: Final = ", one portfolio for all"
ALL: Final = (1, 16, 64, 256)
# The untuned peer runs out of connections at 64 clients and then answers some of them never.
PLAN: Final[Mapping[str, tuple[int, ...]]] = {
    OURS: ALL,
    TUNED: ALL,
    PER_RESULT: ALL,
    UNTUNED: (1, 16, 64),
    WHOLE_DOCUMENT: (1, 16),
    LIMIT: ALL,
}
SHORT_PLAN: Final[Mapping[str, tuple[int, ...]]] = {
    **PLAN,
    PER_RESULT: (1, 16),
    UNTUNED: (1, 16),
    LIMIT: (1, 16),
}
# What analyses per second, and CPU of one, should be as multiples of another server's; CPU at 16 clients.
RATES: Final[Mapping[str, Mapping[int, float]]] = {
    WHOLE_DOCUMENT: {1: 25, 16: 25},
    EARLIER: {1: 2.4, 16: 4.5, 64: 5.5, 256: 5.5},
    PER_RESULT: {1: 2.2, 16: 3.7, 64: 4.5, 256: 4.5},
}
CPU: Final = {EARLIER: 0.2, PER_RESULT: 0.28, LIMIT: 1.1}

_Figures = dict[tuple[str, int], list[dict[str, Any]]]


def measure(options: Options) -> dict[str, Any]:
    """Run all turns; return rows, and the ratios with their goals."""
    plan = SHORT_PLAN if options.short else PLAN
    if options.before:
        plan = {**plan, EARLIER: plan[PER_RESULT]}
    figures: _Figures = {}
    with contenders(list(plan), options.before) as servers:
        for round_number in range(options.rounds):
            for clients in ALL:
                names = [name for name in plan if clients in plan[name]]
                # The order changes from round to round.
                for name in names[round_number % len(names) :] + names[: round_number % len(names)]:
                    figures.setdefault((name, clients), []).append(_turn(servers[name], clients, options))
                    if clients == 16 and name in {OURS, TUNED}:  # noqa: PLR2004 - the size that CPU is told for
                        turn = _turn(servers[name], clients, options, "--portfolios", "common")
                        figures.setdefault((name + COMMON, clients), []).append(turn)
    return {"rows": _rows(figures), "bars": _bars(figures)}


def _turn(target: Server, clients: int, options: Options, *more: str) -> dict[str, Any]:
    return drive(target, "--mode", "analyze", "--clients", clients, "--seconds", options.seconds, *more)


def _rows(figures: _Figures) -> list[dict[str, Any]]:
    return [
        {"server": name, "clients": clients, **{key: middle(each, key) for key in each[0]}}
        for (name, clients), each in sorted(figures.items(), key=lambda item: item[0][1])
    ]


def middle(runs: list[dict[str, Any]], key: str) -> float | None:
    """The median over runs of one figure; None where some run has none."""
    values = [run[key] for run in runs]
    return None if None in values else sorted(values)[len(values) // 2]


def _bars(figures: _Figures) -> list[Bar]:
    def values(name: str, clients: int, key: str) -> list[float]:
        return [run[key] or 0.0 for run in figures[name, clients]]

    def against(name: str, clients: int, key: str, more: str = "") -> tuple[float, ...]:
        return ratios(values(OURS + more, clients, key), values(name + more, clients, key))

    others = [
        name for name in (WHOLE_DOCUMENT, UNTUNED, EARLIER, PER_RESULT, TUNED, LIMIT) if (name, 16) in figures
    ]
    rates = [
        Bar(
            f"analyses/s, {clients} clients, / {name}",
            against(name, clients, "per_s"),
            least=RATES.get(name, {}).get(clients),
        )
        for name in others
        for clients in ALL
        if (name, clients) in figures
    ]
    cpu = [
        Bar(f"CPU per analysis, 16 clients, / {name}", against(name, 16, "server_cpu_us"), most=CPU.get(name))
        for name in others
    ]
    spread = ratios(values(OURS, 256, "last_p99_ms"), values(OURS, 256, "last_p50_ms"))
    return [
        *rates,
        *cpu,
        Bar(f"CPU per analysis, 16 clients, / {TUNED}{COMMON}", against(TUNED, 16, "server_cpu_us", COMMON)),
        Bar("lost results, 256 clients", tuple(values(OURS, 256, "lost")), most=0, unit=""),
        Bar("p99 / p50 of the last result, 256 clients", spread, most=4),
    ]


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    head = (
        "server",
        "clients",
        "analyses/s",
        "first p50",
        "p99",
        "last p50",
        "p99 ms",
        "lost",
        "CPU us",
        "busy",
    )
    keys = (
        "server", "clients", "per_s", "first_p50_ms", "first_p99_ms",
        "last_p50_ms", "last_p99_ms", "lost", "server_cpu_us", "server_busy",
    )  # fmt: skip
    print(table(head, [[row[key] for key in keys] for row in figures["rows"]]))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=3.0, before="compare with a peer that has its metrics, too")
