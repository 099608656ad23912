"""Bars, portfolios and the textbook's arithmetic, for the tests of this folder."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from portfolio_trio.metrics import BUILT_IN, AnalysisInputs, Bars, MetricError, ReturnsCache, Targets, compute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


# The same examples in every run, and no clock: a failure is the code's, not the machine's.
LAW = settings(deadline=None, derandomize=True)

SATURDAY = 5


class Portfolio(NamedTuple):
    bars: Bars
    holdings: dict[str, float]
    prices: dict[str, float]

    def inputs(self, ticker: str, targets: Mapping[str, float] | None = None) -> AnalysisInputs:
        """What an analysis reads; the targets are both weights and budgets."""
        return ReturnsCache(self.bars, cash=("CASH", "USD")).inputs(
            ticker, self.holdings, self.prices, targets=Targets(targets, targets)
        )


def iso_dates(count: int) -> tuple[str, ...]:
    """Weekdays, oldest first."""
    days = (date(2020, 1, 1) + timedelta(days=day) for day in range(2 * count + 7))
    return tuple(islice((day.isoformat() for day in days if day.weekday() < SATURDAY), count))


def walk(names: Sequence[str], rows: int = 300, seed: int = 0) -> npt.NDArray[np.float64]:
    """Correlated random walks: closes of shape ``(rows, len(names))``."""
    random = np.random.default_rng(seed)
    market = random.normal(0.0003, 0.01, size=(rows, 1))
    own = random.normal(0.0, 0.012, size=(rows, len(names)))
    return 100.0 * np.exp(np.cumsum(market + own, axis=0))


def make_bars(names: Sequence[str], closes: npt.NDArray[np.float64]) -> Bars:
    return Bars(iso_dates(len(closes)), tuple(names), closes)


def make_portfolio(shares: Mapping[str, float], rows: int = 300, seed: int = 0) -> Portfolio:
    """Random walks for each name, the newest close as its live price."""
    closes = walk(list(shares), rows, seed)
    prices = dict(zip(shares, closes[-1].tolist(), strict=True))
    return Portfolio(make_bars(list(shares), closes), dict(shares), prices)


def outcome(name: str, inputs: AnalysisInputs) -> float | str:
    """The value of a metric, or the code of its error."""
    try:
        return compute(BUILT_IN[name], inputs).value
    except MetricError as error:
        return error.code


def outcomes(inputs: AnalysisInputs) -> dict[str, float | str]:
    return {name: outcome(name, inputs) for name in BUILT_IN}


def value(name: str, inputs: AnalysisInputs) -> float:
    return compute(BUILT_IN[name], inputs).value


def ewma_covariance(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """S straight from its definition, one product of two columns at a time."""
    weights = np.array([2.0 ** (-age / 63.0) for age in range(len(returns))][::-1])
    weights /= weights.sum()
    names = range(returns.shape[1])
    return np.array([[np.sum(weights * returns[:, i] * returns[:, j]) for j in names] for i in names])


@st.composite
def portfolios(draw: st.DrawFn, *, shorts: bool = True, least: int = 1, most: int = 8) -> Portfolio:
    """Random walks held in random sizes, over eight orders of magnitude."""
    count = draw(st.integers(least, most))
    names = [f"N{index}" for index in range(count)]
    sizes = draw(st.lists(st.floats(-4.0, 4.0), min_size=count, max_size=count))
    signs = draw(st.lists(st.sampled_from([1, -1] if shorts else [1]), min_size=count, max_size=count))
    shares = {name: sign * 10.0**size for name, size, sign in zip(names, sizes, signs, strict=True)}
    return make_portfolio(shares, draw(st.integers(254, 320)), draw(st.integers(0, 2**16)))
