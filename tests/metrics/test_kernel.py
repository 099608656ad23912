"""The sums from which every metric is computed: the same digits for one holding as for all."""

from __future__ import annotations

from math import copysign, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import BUILT_IN, MetricError, ReturnsCache, compute
from portfolio_trio.metrics.allocation_score import budget_gap
from portfolio_trio.metrics.correlation import CorrelationDetail, rest_correlation
from portfolio_trio.metrics.kernel import Moments
from portfolio_trio.metrics.portfolio_risk import risk_share
from tests.metrics.support import LAW, Portfolio, make_bars, make_portfolio, outcomes, portfolios, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.metrics import AnalysisInputs
    from portfolio_trio.metrics.portfolio import PortfolioInputs


def whole(portfolio: Portfolio) -> PortfolioInputs:
    return ReturnsCache(portfolio.bars, cash=("CASH",)).portfolio(portfolio.holdings, portfolio.prices)


def all_moments(inputs: PortfolioInputs) -> list[Moments]:
    *columns, variance = inputs.all_moments()
    return [Moments._make([*map(float, row), variance]) for row in zip(*columns, strict=True)]


@LAW
@given(portfolios(most=16), st.booleans())
def test_one_holding_has_the_moments_it_has_among_all(portfolio: Portfolio, cash: bool) -> None:  # noqa: FBT001
    if cash:
        portfolio = portfolio._replace(
            holdings=portfolio.holdings | {"CASH": 1e4}, prices=portfolio.prices | {"CASH": 1.0}
        )
    inputs = whole(portfolio)
    everyone = all_moments(inputs)
    # By the bits: -0.0 is not 0.0.
    assert [list(map(float.hex, each)) for each in everyone] == [
        list(map(float.hex, portfolio.inputs(ticker).moments)) for ticker in inputs.tickers
    ]


@pytest.mark.parametrize("count", [12, 32, 33, 65, 300, 500])
def test_so_it_is_in_large_portfolios(count: int) -> None:
    names = {f"N{index:03d}": (1.0 + index % 7) * (-1.0 if index % 5 == 0 else 1.0) for index in range(count)}
    names["N001"] = 1e6
    inputs = whole(make_portfolio(names, seed=count))
    everyone = all_moments(inputs)
    for index in (0, 1, 2, count // 2, count - 1):
        assert inputs.moments(index) == everyone[index]


@settings(LAW, max_examples=30)
@given(portfolios(most=6))
def test_rows_of_all_moments_are_the_metrics(portfolio: Portfolio) -> None:
    inputs = whole(portfolio)

    def said(compute: Callable[[], float]) -> float | str:
        try:
            return canonical(compute())
        except MetricError as error:
            return error.code

    for index, (ticker, moments) in enumerate(zip(inputs.tickers, all_moments(inputs), strict=True)):
        found = outcomes(portfolio.inputs(ticker))
        budget = inputs.budgets[index]
        assert said(lambda m=moments: risk_share(m)) == found["portfolio_risk"]  # type: ignore[misc]
        assert said(lambda m=moments, t=ticker: rest_correlation(t, m)) == found["correlation"]  # type: ignore[misc]
        assert (
            said(lambda m=moments, t=ticker, b=budget: budget_gap(t, m, b))  # type: ignore[misc]
            == found["allocation_score"]
        )


@settings(LAW, max_examples=30)
@given(st.floats(-9.0, 0.0), st.integers(0, 2**16), st.integers(2, 20))
def test_the_rest_is_right_beside_a_stock_that_moves_a_billion_times_more(
    exponent: float, seed: int, count: int
) -> None:
    # In value it is a small part, in risk next to all: what subtracting it leaves would be noise.
    names = [f"N{index:02d}" for index in range(count)]
    closes = walk(names, seed=seed)
    closes[:, 1:] = 100.0 * (closes[:, 1:] / 100.0) ** (10.0**exponent)
    prices = dict(zip(names, closes[-1].tolist(), strict=True))
    portfolio = Portfolio(make_bars(names, closes), dict.fromkeys(names, 1.0), prices)
    inputs = portfolio.inputs("N00")
    rest = inputs.values.copy()
    rest[0] = 0.0
    z = (rest / np.abs(rest).sum()) @ inputs.history.weighted
    own = inputs.history.weighted[0]
    expected = float(own @ z) / sqrt(float(own @ own) * float(z @ z))
    assert rest_correlation("N00", inputs.moments) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert inputs.moments.rest_variance == pytest.approx(float(z @ z), rel=1e-9)


def test_signs_of_a_hedge_survive() -> None:
    inputs = whole(make_portfolio({"A": 3.0, "B": -2.0, "C": 1.0}))
    weights = [each.weight for each in all_moments(inputs)]
    assert [copysign(1.0, weight) for weight in weights] == [1.0, -1.0, 1.0]
    assert sum(map(abs, weights)) == pytest.approx(1.0, rel=1e-15)


def test_a_small_position_beside_much_cash_has_its_value() -> None:
    portfolio = make_portfolio({"A": 1.0, "B": -2.0})
    beside = portfolio._replace(
        holdings=portfolio.holdings | {"CASH": 1e15}, prices=portfolio.prices | {"CASH": 1.0}
    )
    expected = portfolio.prices["A"] + 2.0 * portfolio.prices["B"]
    inputs = whole(beside)
    assert inputs.moments(inputs.place["CASH"]).rest_gross == pytest.approx(expected, rel=1e-15)
    assert beside.inputs("CASH").moments.rest_variance == pytest.approx(
        whole(portfolio).moments(0).portfolio_variance, rel=1e-12
    )


def check_windows(inputs: AnalysisInputs) -> CorrelationDetail:
    """The correlations over windows are those of the textbook, with the others added up."""
    detail = compute(BUILT_IN["correlation"], inputs).detail
    assert isinstance(detail, CorrelationDetail)
    returns = inputs.weighted_returns.T * inputs.history.undo_weights
    rest = inputs.rest_weights @ returns
    np.testing.assert_allclose(inputs.plain_rest_returns, rest, rtol=1e-9, atol=1e-14)
    found = (detail.rolling_21, detail.rolling_63, detail.pearson)
    for rows, said in zip((21, 63, 252), found, strict=True):
        expected = np.corrcoef(returns[inputs.index, -rows:], rest[-rows:])[0, 1]
        assert said == pytest.approx(expected, rel=1e-9, abs=1e-12)
    return detail


@pytest.mark.parametrize("count", [32, 33, 300])
@pytest.mark.parametrize("large", [100.0, 1e12])
def test_windows_of_large_portfolios(count: int, large: float) -> None:
    names = {f"N{index:03d}": (1.0 + index % 7) * (-1.0 if index % 5 == 0 else 1.0) for index in range(count)}
    portfolio = make_portfolio(names | {"N001": large}, seed=count)
    for ticker in ("N000", "N001", f"N{count - 1:03d}"):
        check_windows(portfolio.inputs(ticker))


@settings(LAW, max_examples=30)
@given(portfolios(least=3, most=6))
def test_windows_and_neighbours_of_one_set_of_names_are_those_of_each_portfolio(portfolio: Portfolio) -> None:
    cache = ReturnsCache(portfolio.bars)
    all_long = {name: abs(shares) for name, shares in portfolio.holdings.items()}
    for holdings in (all_long, portfolio.holdings):
        for ticker in holdings:
            inputs = cache.inputs(ticker, holdings, portfolio.prices)
            detail = check_windows(inputs)
            weighted = inputs.weighted_returns
            volatilities = np.sqrt((weighted**2).sum(axis=0))
            signed = np.sign(inputs.values) * (weighted.T @ weighted[:, inputs.index]) / volatilities
            order = [each for each in np.argsort(signed).tolist() if each != inputs.index]
            assert detail.closest == inputs.tickers[order[-1]]
            assert detail.most_diversifying == inputs.tickers[order[0]]
