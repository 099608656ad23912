"""Five metrics from cached returns, compared with straightforward numpy for each and with skfolio.

Run it with the test dependencies installed::

    python benchmarks/metrics.py

Every figure is CPU time of this process. In each round all contenders take their turn, so a slow
moment of the machine falls on all of them; ratios are formed within a round and the median is shown.
All contenders return the same numbers, which is checked before anything is timed.

Then the whole arithmetic of an analysis with its texts, the first after a tick and a further one; and the
inputs of a snapshot where names of three calendars share a file: weekdays, weekdays with other holidays,
every day. With ``--before CHECKOUT`` an earlier version of the project takes its turn in the same rounds.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from _cpu_time import measure
from _earlier import earlier_metrics
from skfolio.moments import EWCovariance  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from portfolio_trio.metrics import BUILT_IN, AnalysisInputs, Bars, ReturnsCache, compute, compute_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

    import numpy.typing as npt

SIZES = (3, 30, 300, 500)
ANALYSED = (3, 30, 64, 300, 500)
TICKER = "N001"
SHORT_EVERY = 5


class Case(NamedTuple):
    """One portfolio as the server has it, and as arrays in the order of its columns."""

    cache: ReturnsCache
    holdings: dict[str, float]
    prices: dict[str, float]
    values: npt.NDArray[np.float64]
    ticks: Iterator[dict[str, float]]

    @property
    def closes(self) -> npt.NDArray[np.float64]:
        """Closing prices, shape ``(300, N)``."""
        return self.cache.bars.closes

    def inputs(self) -> AnalysisInputs:
        """Take a snapshot at the next tick, which is not cached."""
        return self.cache.inputs(TICKER, self.holdings, next(self.ticks))

    def again(self) -> AnalysisInputs:
        """Take the snapshot of a tick once more, as for the next ticker of one portfolio."""
        return self.cache.inputs(TICKER, self.holdings, self.prices)


def make_case(count: int) -> Case:
    """Correlated random walks, 300 bars, one short position in five."""
    random = np.random.default_rng(count)
    steps = random.normal(0.0, 0.012, size=(300, count)) + random.normal(0.0003, 0.01, size=(300, 1))
    closes = 100.0 * np.exp(np.cumsum(steps, axis=0))
    names = tuple(f"N{index:03d}" for index in range(count))
    days = np.busday_offset(np.datetime64("2024-01-01"), np.arange(300), "forward")
    bars = Bars(tuple(map(str, days)), names, closes)
    shares = random.uniform(1.0, 100.0, size=count) * np.where(np.arange(count) % SHORT_EVERY, 1.0, -1.0)
    prices = closes[-1]
    quoted = dict(zip(names, prices.tolist(), strict=True))
    # One name alone moves, by a hair: the contenders still say the same.
    moved = quoted | {names[0]: quoted[names[0]] * (1.0 + 1e-13)}
    return Case(
        ReturnsCache(bars),
        dict(zip(names, shares.tolist(), strict=True)),
        quoted,
        shares * prices,
        cycle((moved, quoted)),
    )


# --- the obvious numpy: each metric by itself, from closes and values ----------------------------------


def ewma_covariance(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The covariance matrix as one would write it down."""
    returns = np.diff(closes[-253:], axis=0) / closes[-253:-1]
    weights = 0.5 ** (np.arange(252)[::-1] / 63.0)
    weights /= weights.sum()
    # np.cov demeans, our covariance does not: give the product of the means back.
    mean = weights @ returns
    centred = np.cov(returns, rowvar=False, aweights=weights, ddof=0)
    matrix: npt.NDArray[np.float64] = np.atleast_2d(centred) + np.outer(mean, mean)
    return matrix


def numpy_risk(case: Case, index: int) -> float:
    """Share of variance."""
    weights = case.values / np.abs(case.values).sum()
    product = ewma_covariance(case.closes) @ weights
    return float(weights[index] * product[index] / (weights @ product))


def numpy_concentration(case: Case, index: int) -> float:
    """Share of gross value."""
    return float(abs(case.values[index]) / np.abs(case.values).sum())


def numpy_correlation(case: Case, index: int) -> float:
    """Correlation with the rest."""
    rest = case.values.copy()
    rest[index] = 0.0
    matrix = ewma_covariance(case.closes)
    return float((matrix @ rest)[index] / np.sqrt(matrix[index, index] * (rest @ matrix @ rest)))


def numpy_momentum(case: Case, index: int) -> float:
    """Weight times risk-adjusted 12-1 return."""
    weight = case.values[index] / np.abs(case.values).sum()
    variance = ewma_covariance(case.closes[:, [index, index]])[0, 0]
    raw = case.closes[-22, index] / case.closes[-253, index] - 1.0
    return float(weight * raw / np.sqrt(252.0 * variance))


def numpy_score(case: Case, index: int) -> float:
    """Budget less share of variance."""
    return 1.0 / len(case.values) - numpy_risk(case, index)


OBVIOUS: Mapping[str, Callable[[Case, int], float]] = {
    "portfolio_risk": numpy_risk,
    "concentration": numpy_concentration,
    "correlation": numpy_correlation,
    "momentum": numpy_momentum,
    "allocation_score": numpy_score,
}


def obvious(case: Case) -> dict[str, float]:
    """All five, one after the other."""
    return {name: function(case, 1) for name, function in OBVIOUS.items()}


# --- skfolio: one fit for all five ---------------------------------------------------------------------


def skfolio(case: Case) -> dict[str, float]:
    """All five from one covariance fitted by skfolio, which is kinder than a fit for each."""
    returns = np.diff(case.closes[-253:], axis=0) / case.closes[-253:-1]
    matrix = EWCovariance(half_life=63, assume_centered=True, nearest=False).fit(returns).covariance_
    weights = case.values / np.abs(case.values).sum()
    rest = np.where(np.arange(len(weights)) == 1, 0.0, weights)
    share = float(weights[1] * (matrix @ weights)[1] / (weights @ matrix @ weights))
    raw = case.closes[-22, 1] / case.closes[-253, 1] - 1.0
    return {
        "portfolio_risk": share,
        "concentration": abs(float(weights[1])),
        "correlation": float((matrix @ rest)[1] / np.sqrt(matrix[1, 1] * (rest @ matrix @ rest))),
        "momentum": float(weights[1] * raw / np.sqrt(252.0 * matrix[1, 1])),
        "allocation_score": 1.0 / len(weights) - share,
    }


# --- ours ----------------------------------------------------------------------------------------------


def values_only(case: Case) -> dict[str, float]:
    """A new snapshot of cached returns, and five values."""
    inputs = case.inputs()
    return {name: compute(metric, inputs, detail=False).value for name, metric in BUILT_IN.items()}


def everything(case: Case) -> dict[str, float]:
    """A new snapshot of cached returns with its hash, five values and their details."""
    inputs = case.inputs()
    _ = inputs.snapshot
    return {name: compute_text(metric, inputs).value for name, metric in BUILT_IN.items()}


def same_inputs(inputs: AnalysisInputs, *, detail: bool) -> None:
    """Five metrics of a snapshot that has been looked at before."""
    for metric in BUILT_IN.values():
        if detail:
            compute_text(metric, inputs)
        else:
            compute(metric, inputs, detail=False)


def check(case: Case) -> None:
    """Stop where the contenders do not say the same."""
    expected = everything(case)
    for contender in (values_only, obvious, skfolio):
        for name, value in contender(case).items():
            if not np.isclose(value, expected[name], rtol=1e-9, atol=1e-12):
                raise SystemExit(f"{contender.__name__} says {value} for {name}, not {expected[name]}")


def contest(case: Case, rounds: int) -> dict[str, list[float]]:
    """Every contender on one portfolio."""
    check(case)
    used = case.inputs()
    names = used.tickers
    return measure(
        {
            "build Y": partial(case.cache._build, names),  # noqa: SLF001 - what a closed bar costs
            "inputs at a new tick": case.inputs,
            "inputs at the same tick": case.again,
            "values, inputs used before": partial(same_inputs, used, detail=False),
            "values and details, inputs used before": partial(same_inputs, used, detail=True),
            "inputs and values": partial(values_only, case),
            "inputs, hash, values and details": partial(everything, case),
            "obvious numpy": partial(obvious, case),
            "skfolio": partial(skfolio, case),
        },
        rounds,
    )


def show(count: int, costs: Mapping[str, list[float]]) -> None:
    """Print medians, and ratios formed round by round."""
    print(f"\nN = {count}")
    for name, each in costs.items():
        print(f"  {name:<40}{median(each):>12.1f} us")
    new = [
        both - inputs
        for both, inputs in zip(costs["inputs and values"], costs["inputs at a new tick"], strict=True)
    ]
    print(f"  {'values of new inputs (difference)':<40}{median(new):>12.1f} us")
    for other in ("obvious numpy", "skfolio"):
        for ours in ("inputs and values", "inputs, hash, values and details"):
            ratios = [theirs / own for theirs, own in zip(costs[other], costs[ours], strict=True)]
            print(f"  {other + ' / ' + ours:<50}{median(ratios):>8.1f} x")


# --- one analysis --------------------------------------------------------------------------------------


def analyses(metrics: ModuleType, case: Case) -> dict[str, Callable[[], object]]:
    """The arithmetic and texts of one analysis: the first after a tick, and a further one."""
    bars = case.cache.bars
    cache = metrics.ReturnsCache(metrics.Bars(bars.dates, bars.tickers, bars.closes))
    again = cache.inputs(TICKER, case.holdings, case.prices)
    moved = [case.prices | {TICKER: case.prices[TICKER] * factor} for factor in (1.0, 1.001)]
    ticks = cycle(moved)
    # The server makes these once at a tick, for all sessions.
    columns = cycle([np.array([*prices.values(), 1.0]) for prices in moved])

    def first() -> AnalysisInputs:
        if hasattr(again.portfolio, "at_prices"):
            found: AnalysisInputs = again.portfolio.at_prices(next(columns)).of(TICKER)
        else:
            found = cache.inputs(TICKER, case.holdings, next(ticks))
        return found

    def further() -> AnalysisInputs:
        found: AnalysisInputs = cache.inputs(TICKER, case.holdings, case.prices)
        return found

    def texts(inputs: AnalysisInputs) -> None:
        _ = inputs.snapshot
        for metric in metrics.BUILT_IN.values():
            if hasattr(metrics, "compute_text"):
                metrics.compute_text(metric, inputs)
            else:
                metrics.compute(metric, inputs).detail.model_dump_json()

    return {"first of a tick": lambda: texts(first()), "further": lambda: texts(further())}


def compare_analyses(before: ModuleType | None, rounds: int) -> None:
    """Print the cost of one analysis for each size of portfolio."""
    print(f"\n{'one analysis, us':<20}{'first of a tick':>20}{'further':>20}")
    for count in ANALYSED:
        case = make_case(count)
        contenders = analyses(importlib.import_module("portfolio_trio.metrics"), case)
        kinds = list(contenders)
        if before is not None:
            contenders |= {f"{name}, before": each for name, each in analyses(before, case).items()}
        costs = measure(contenders, rounds)
        print(f"{f'N = {count}':<20}" + "".join(f"{median(costs[kind]):>20.1f}" for kind in kinds))
        if before is not None:
            pairs = [zip(costs[kind], costs[f"{kind}, before"], strict=True) for kind in kinds]
            print(
                f"{'  / before':<20}" + "".join(f"{median(a / b for a, b in pair):>20.2f}" for pair in pairs)
            )


# --- three calendars in one file -----------------------------------------------------------------------

DAYS = 1_500
UNIVERSE = 999


def three_calendars() -> Bars:
    """So many names, a third each of weekdays, of other holidays and of every day, over four years."""
    random = np.random.default_rng(0)
    steps = random.normal(0.0, 0.012, size=(DAYS, UNIVERSE)) + random.normal(0.0003, 0.01, size=(DAYS, 1))
    closes = 100.0 * np.exp(np.cumsum(steps, axis=0))
    days = np.datetime64("2022-01-01") + np.arange(DAYS)
    weekday, holiday = np.is_busday(days), np.arange(DAYS) % 29 == 0
    closes[np.ix_(~weekday, np.arange(UNIVERSE) % 3 < 2)] = np.nan  # noqa: PLR2004 - two of three
    closes[np.ix_(holiday, np.arange(UNIVERSE) % 3 == 1)] = np.nan
    return Bars(tuple(map(str, days)), tuple(f"N{index:03d}" for index in range(UNIVERSE)), closes)


def snapshots(metrics: ModuleType, bars: Bars, names: Sequence[str]) -> dict[str, Callable[[], object]]:
    """The cost of a snapshot of these names: cached, for a new set, and after a closed bar."""
    known = metrics.Bars(bars.dates, bars.tickers, bars.closes)
    newest = bars.closes[np.isfinite(bars.closes).cumsum(axis=0).argmax(axis=0), np.arange(len(bars.tickers))]
    prices = dict(zip(bars.tickers, newest.tolist(), strict=True))
    holdings = dict.fromkeys(names, 10.0)
    cache = metrics.ReturnsCache(known)
    # Two ticks in turns, so that no snapshot is one that was kept.
    ticks = cycle((prices | {names[0]: 1.01 * prices[names[0]]}, prices))
    held = tuple(sorted(names))
    return {
        "inputs": lambda: cache.inputs(names[0], holdings, next(ticks)),
        "build Y": partial(cache._build, held),  # noqa: SLF001 - what a set that is new costs
        "build Y, new bars": lambda: metrics.ReturnsCache(known)._build(held),  # noqa: SLF001
    }


def compare_calendars(before: ModuleType | None, rounds: int) -> None:
    """Print the costs of sets of names within one file of three calendars."""
    ours = importlib.import_module("portfolio_trio.metrics")
    mixed = three_calendars()
    rows = np.flatnonzero(np.isfinite(mixed.closes[:, 0]))
    weekdays = Bars(
        tuple(mixed.dates[row] for row in rows),
        mixed.tickers[::3],
        mixed.closes[rows, ::3],
    )
    files: list[tuple[str, Bars, Sequence[str]]] = []
    for count in (3, 30, 300):
        one = weekdays.tickers[:count]
        files += [
            (f"N = {count}, a file of weekdays", weekdays, one),
            (f"N = {count}, weekday names in a file of three calendars", mixed, one),
            (f"N = {count}, names of three calendars", mixed, mixed.tickers[:count]),
        ]
    for title, bars, names in files:
        contenders = snapshots(ours, bars, names)
        if before is not None:
            contenders |= {f"{name}, before": each for name, each in snapshots(before, bars, names).items()}
        costs = measure(contenders, rounds)
        print(f"\n{title}")
        for name in ("inputs", "build Y", "build Y, new bars"):
            ratio = ""
            if before is not None:
                pairs = zip(costs[name], costs[f"{name}, before"], strict=True)
                ratio = f"{median(own / old for own, old in pairs):>10.2f} x before"
            print(f"  {name:<40}{median(costs[name]):>12.1f} us{ratio}")


def main() -> None:
    """Print the table for each size of portfolio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default 15)")
    parser.add_argument(
        "--before", type=Path, help="a checkout of an earlier version, to compare inputs with"
    )
    parser.add_argument("--calendars-only", action="store_true", help="only the file of three calendars")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    print(f"CPU time, one BLAS thread, median of {rounds} interleaved rounds, L = 252")
    # A second thread would count twice for whoever multiplies large matrices, which is not us.
    with threadpool_limits(1):
        for count in () if arguments.calendars_only else SIZES:
            show(count, contest(make_case(count), rounds))
        before = None if arguments.before is None else earlier_metrics(arguments.before)
        if not arguments.calendars_only:
            compare_analyses(before, rounds)
        compare_calendars(before, rounds)


if __name__ == "__main__":
    main()
