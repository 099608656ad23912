"""CPU of the answers about a whole portfolio, from snapshot to text, compared with an analysis's arithmetic.

    python benchmarks/decisions.py

Each answer is the first one after a tick, for which the snapshot is taken anew, or a further one, for which
it is cached; it is compared with the arithmetic of an analysis that finds the same. Processor time of this
thread, the best of several slices: other programs cost it nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics import BUILT_IN, Bars, ReturnsCache, compute
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.session.decisions import Seen, prepare
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portfolio_trio.session.decisions import Question

SLICES = 7
SLICE_SECONDS = 0.1


def microseconds(call: Callable[[Seen], object], snapshots: Sequence[Seen]) -> float:
    """CPU of one call, which gets the snapshots in turn: the best of several slices."""
    snapshot = cycle(snapshots)
    call(next(snapshot))
    best = float("inf")
    for _ in range(SLICES):
        began, count = time.thread_time(), 0
        while time.thread_time() - began < SLICE_SECONDS:
            call(next(snapshot))
            count += 1
        best = min(best, (time.thread_time() - began) / count)
    return best * 1e6


def seen(count: int) -> Seen:
    """So many correlated random walks, in random sizes."""
    rng = np.random.default_rng(count)
    names = tuple(f"N{place:03}" for place in range(count))
    moves = rng.normal(0.0003, 0.01, (400, 1)) + rng.normal(0.0, 0.012, (400, count))
    closes = 100.0 * np.exp(np.cumsum(moves, axis=0))
    first = np.datetime64("2025-01-01")
    bars = Bars(tuple(str(first + day) for day in range(400)), names, closes)
    shares = (10.0 ** rng.uniform(-1.0, 2.0, count)).tolist()
    return Seen(
        holdings=dict(zip(names, shares, strict=True)),
        prices=dict(zip(names, closes[-1].tolist(), strict=True)),
        targets=NO_TARGETS,
        cache=ReturnsCache(bars),
        version=1,
        tick_id=1,
        as_of="2026-01-01T00:00:00.000Z",
    )


def next_tick(what: Seen) -> Seen:
    """The same at other prices: only the newest snapshot of a portfolio is cached."""
    return replace(what, prices={name: price * 1.001 for name, price in what.prices.items()}, tick_id=2)


def run_of_metrics(what: Seen) -> None:
    """The arithmetic of one analysis."""
    inputs = what.cache.inputs("N000", what.holdings, what.prices)
    for metric in BUILT_IN.values():
        compute(metric, inputs)


QUESTIONS: tuple[tuple[str, Question], ...] = (
    ("get_risk", GetRisk(action="get_risk")),
    ("what_if", AskWhatIf(action="what_if", trades={"N000": 1})),
    ("plan to weights", MakePlan(action="plan", to="weights", whole_shares=True)),
    ("plan to budgets", MakePlan(action="plan", to="budgets")),
    ("get_history", GetHistory(action="get_history")),
)


def main() -> None:
    """Print a row for each answer and number of holdings."""
    print(
        "| answer | holdings | first of a tick, us | of an analysis's | further ones, us | of an analysis's |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for count in (3, 30, 500):
        what = seen(count)
        cases = (what, next_tick(what)), (what,)
        analyses = [microseconds(run_of_metrics, snapshots) for snapshots in cases]
        for name, question in QUESTIONS:

            def answer(what: Seen, question: Question = question) -> str:
                return exact_json(prepare(question, what).compute())

            cells = [name, str(count)]
            for snapshots, one in zip(cases, analyses, strict=True):
                took = microseconds(answer, snapshots)
                cells += [f"{took:,.0f}", f"{took / one:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
