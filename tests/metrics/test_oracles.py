"""The same numbers from independent libraries, on real daily prices of twenty stocks, 1990 to 2022."""

from __future__ import annotations

from functools import cache
from math import copysign
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypfopt.base_optimizer import portfolio_performance  # type: ignore[import-untyped]
from pypfopt.risk_models import exp_cov  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.stats import pearsonr  # type: ignore[import-untyped]
from skfolio.datasets import load_sp500_dataset  # type: ignore[import-untyped]
from skfolio.measures import (  # type: ignore[import-untyped]
    effective_number_assets,
    get_cumulative_returns,
    get_drawdowns,
)
from skfolio.moments import EWCovariance  # type: ignore[import-untyped]

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import BUILT_IN, AnalysisInputs, Bars, ReturnsCache, compute
from tests.metrics.support import LAW

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Covariance: TypeAlias = "Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]"
# The span of pandas, and so of PyPortfolioOpt, whose half-life is 63 rows.
SPAN = 2.0 / (1.0 - 2.0 ** (-1.0 / 63.0)) - 1.0
RELATIVE = 1e-9
# What is a difference of terms near 1 has their rounding, however small it is itself.
ABSOLUTE = 1e-12


@cache
def real_prices() -> Bars:
    frame = load_sp500_dataset()
    dates = tuple(stamp.date().isoformat() for stamp in frame.index)
    return Bars(dates, tuple(map(str, frame.columns)), frame.to_numpy(dtype=np.float64))


class Case(NamedTuple):
    """One random portfolio on one random day, and its plain returns."""

    inputs: AnalysisInputs
    returns: npt.NDArray[np.float64]
    closes: npt.NDArray[np.float64]

    @property
    def amounts(self) -> npt.NDArray[np.float64]:
        return self.inputs.shares * self.inputs.prices

    def compute(self, name: str) -> tuple[float, dict[str, object]]:
        result = compute(BUILT_IN[name], self.inputs)
        assert result.detail is not None
        return result.value, result.detail.model_dump()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    bars = real_prices()
    names = sorted(draw(st.sets(st.sampled_from(bars.tickers), min_size=2, max_size=7)))
    end = draw(st.integers(253, len(bars.dates)))
    known = Bars(bars.dates[end - 253 : end], bars.tickers, bars.closes[end - 253 : end])
    closes = known.closes[:, [known.column[name] for name in names]]
    amounts = st.floats(100.0, 100_000.0)
    values = [draw(amounts) * draw(st.sampled_from([1, 1, 1, -1])) for _ in names]
    prices = dict(zip(names, closes[-1].tolist(), strict=True))
    holdings = {name: value / prices[name] for name, value in zip(names, values, strict=True)}
    inputs = ReturnsCache(known).inputs(draw(st.sampled_from(names)), holdings, prices)
    return Case(inputs, pd.DataFrame(closes).pct_change().iloc[1:].to_numpy(), closes)


def skfolio_covariance(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    model = EWCovariance(half_life=63, assume_centered=True, nearest=False).fit(returns)
    return np.asarray(model.covariance_)


def pypfopt_covariance(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # It demeans: preceded by their own negatives the returns have mean 0, and the older half only
    # repeats every product with the same relative weight.
    both = pd.DataFrame(np.concatenate((-returns, returns)))
    return np.asarray(exp_cov(both, returns_data=True, span=SPAN, frequency=1))


ORACLES = pytest.mark.parametrize("covariance", [skfolio_covariance, pypfopt_covariance])
CASES = settings(LAW, max_examples=40)


def close(expected: float) -> object:
    return pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE)


def pearson(returns: npt.NDArray[np.float64], i: int, rest: npt.NDArray[np.float64]) -> object:
    own, others = returns[:, i], returns @ rest
    # Some of these stocks did not move for a whole month of 1991.
    return None if not own.any() or not others.any() else close(pearsonr(own, others).statistic)


@ORACLES
@CASES
@given(case=cases())
def test_portfolio_risk(covariance: Covariance, case: Case) -> None:
    s, w, i = covariance(case.returns), case.inputs.weights, case.inputs.index
    variance = w @ s @ w
    _, volatility, _ = portfolio_performance(w, None, 252.0 * s)
    share, detail = case.compute("portfolio_risk")
    assert share == close(w[i] * (s @ w)[i] / variance)
    assert detail == {
        "marginal": close(252.0 * (s @ w)[i] / volatility),
        "component": close(share * volatility),
        "portfolio_volatility": close(volatility),
        "volatility": close(np.sqrt(252.0 * s[i, i])),
        "beta": close((s @ w)[i] / variance),
        "share_per_weight": close(share / w[i]),
        "n_obs": 252,
    }


@ORACLES
@CASES
@given(case=cases())
def test_correlation(covariance: Covariance, case: Case) -> None:
    s, w, i = covariance(case.returns), case.inputs.weights, case.inputs.index
    rest = np.where(np.arange(len(w)) == i, 0.0, w)
    rest /= np.abs(rest).sum()
    deviations = np.sqrt(np.diag(s))
    with_each = {
        name: np.sign(w[j]) * s[i, j] / deviations[j] for j, name in enumerate(case.inputs.tickers) if j != i
    }
    year, quarter, month = (pearson(case.returns[-rows:], i, rest) for rows in (252, 63, 21))
    correlation, detail = case.compute("correlation")
    assert correlation == close((s @ rest)[i] / (deviations[i] * np.sqrt(rest @ s @ rest)))
    assert detail == {
        "pearson": year,
        "rolling_63": quarter,
        "rolling_21": month,
        "beta": close((s @ rest)[i] / (rest @ s @ rest)),
        "closest": max(with_each, key=with_each.__getitem__),
        "most_diversifying": min(with_each, key=with_each.__getitem__),
        "n_obs": 252,
    }


@ORACLES
@CASES
@given(case=cases())
def test_allocation_score(covariance: Covariance, case: Case) -> None:
    s, i = covariance(case.returns), case.inputs.index
    values, price = case.amounts, float(case.inputs.prices[i])
    sign, budget = copysign(1.0, values[i]), 1.0 / len(values)

    def excess(logarithm: float) -> float:
        m = values.copy()
        m[i] = sign * np.exp(logarithm)
        return float(m[i] * (s @ m)[i] / (m @ s @ m)) - budget

    score, detail = case.compute("allocation_score")
    assert score == close(-excess(np.log(abs(values[i]))))
    target = sign * np.exp(brentq(excess, 0.0, 25.0, xtol=1e-14, rtol=1e-14))
    trade = (target - values[i]) / price
    # The root is searched to 1e-13 of itself; a trade is the difference of two such values.
    assert detail == {
        "budget": canonical(budget),
        "target_value": close(target),
        "shares_to_trade": pytest.approx(trade, rel=RELATIVE, abs=1e-11 * abs(target) / price),
        "side": "buy" if trade > 0.0 else "sell",
    }


@CASES
@given(case=cases())
def test_concentration(case: Case) -> None:
    w, i = case.inputs.weights, case.inputs.index
    concentration, detail = case.compute("concentration")
    assert concentration == close(abs(case.amounts[i]) / np.abs(case.amounts).sum())
    ranks = pd.Series(np.abs(w)).rank(ascending=False, method="min")
    assert detail == {
        "weight": close(w[i]),
        "active_weight": close(abs(w[i]) - 1.0 / len(w)),
        "overweight": abs(w[i]) > 1.0 / len(w),
        "hhi": close(1.0 / effective_number_assets(w)),
        "effective_holdings": close(effective_number_assets(w)),
        "rank": int(ranks[i]),
    }


@ORACLES
@CASES
@given(case=cases())
def test_momentum(covariance: Covariance, case: Case) -> None:
    i = case.inputs.index
    own = case.returns[:, i]
    volatility = np.sqrt(252.0 * covariance(case.returns)[i, i])

    def compounded(start: int, end: int | None) -> float:
        return float(get_cumulative_returns(own[start:end], compounded=True)[-1]) - 1.0

    momentum, detail = case.compute("momentum")
    raw = compounded(-252, -21)
    assert momentum == close(case.inputs.weight * raw / volatility)
    assert detail == {
        "raw_12_1": close(raw),
        "return_1m": close(compounded(-21, None)),
        "return_3m": close(compounded(-63, None)),
        "return_6m": close(compounded(-126, None)),
        "volatility": close(volatility),
        "from_52_week_high": close(case.closes[-1, i] / case.closes[-252:, i].max() - 1.0),
    }
    drawdown = get_drawdowns(np.concatenate(([0.0], own[1:])), compounded=True)[-1]
    assert detail["from_52_week_high"] == close(drawdown)
