"""Laws for every portfolio, long or short, of any size."""

from __future__ import annotations

from fractions import Fraction
from math import copysign, isclose, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portfolio_trio.metrics import BUILT_IN, ReturnsCache, compute
from portfolio_trio.metrics.allocation_score import AllocationScoreDetail
from tests.metrics.support import (
    LAW,
    Portfolio,
    ewma_covariance,
    make_bars,
    make_portfolio,
    outcomes,
    portfolios,
    value,
    walk,
)

if TYPE_CHECKING:
    from random import Random


@LAW
@given(portfolios())
def test_shares_of_risk_and_of_value_sum_to_one_and_scores_to_zero(portfolio: Portfolio) -> None:
    sums = dict.fromkeys(("portfolio_risk", "concentration", "allocation_score"), 0.0)
    sizes = dict.fromkeys(sums, 0.0)
    for ticker in portfolio.holdings:
        inputs = portfolio.inputs(ticker)
        for name in sums:
            each = value(name, inputs)
            sums[name] += each
            sizes[name] += abs(each)
    tolerance = {name: 1e-12 * max(1.0, size) for name, size in sizes.items()}
    assert sums["portfolio_risk"] == pytest.approx(1.0, abs=tolerance["portfolio_risk"])
    assert sums["concentration"] == pytest.approx(1.0, abs=tolerance["concentration"])
    assert sums["allocation_score"] == pytest.approx(0.0, abs=tolerance["allocation_score"])


@LAW
@given(portfolios(), st.randoms(use_true_random=False))
def test_order_of_holdings_and_of_columns_does_not_matter(portfolio: Portfolio, random: Random) -> None:
    names = list(portfolio.holdings)
    shuffled = random.sample(names, len(names))
    columns = [portfolio.bars.column[name] for name in shuffled]
    other = Portfolio(
        make_bars(shuffled, portfolio.bars.closes[:, columns]),
        {name: portfolio.holdings[name] for name in shuffled},
        {name: portfolio.prices[name] for name in reversed(shuffled)},
    )
    ours, theirs = portfolio.inputs(names[0]), other.inputs(names[0])
    assert ours.snapshot == theirs.snapshot
    assert outcomes(ours) == outcomes(theirs)


@LAW
@given(portfolios(), st.integers(-40, 40))
def test_scale_of_holdings_does_not_matter(portfolio: Portfolio, exponent: int) -> None:
    scaled = portfolio._replace(
        holdings={name: shares * 2.0**exponent for name, shares in portfolio.holdings.items()}
    )
    assert outcomes(scaled.inputs("N0")) == outcomes(portfolio.inputs("N0"))


@LAW
@given(portfolios())
def test_a_portfolio_turned_round_keeps_its_risk_and_turns_its_momentum(portfolio: Portfolio) -> None:
    turned = portfolio._replace(holdings={name: -shares for name, shares in portfolio.holdings.items()})
    ours, theirs = portfolio.inputs("N0"), turned.inputs("N0")
    for name in ("portfolio_risk", "concentration", "allocation_score"):
        assert value(name, ours) == value(name, theirs)
    assert value("momentum", ours) == -value("momentum", theirs)
    if ours.count > 1:
        assert value("correlation", ours) == -value("correlation", theirs)


@LAW
@given(portfolios(least=2))
def test_momentum_sums_to_the_portfolios(portfolio: Portfolio) -> None:
    closes, bars = portfolio.bars.closes, portfolio.bars
    values = np.array([portfolio.holdings[name] * portfolio.prices[name] for name in bars.tickers])
    returns = (closes[1:] / closes[:-1] - 1.0)[-252:]
    volatility = np.sqrt(252.0 * np.diag(ewma_covariance(returns)))
    scaled = (closes[-22] / closes[-253] - 1.0) / volatility
    expected = float(values @ scaled / np.abs(values).sum())
    total = sum(value("momentum", portfolio.inputs(name)) for name in bars.tickers)
    assert total == pytest.approx(expected, rel=1e-9, abs=1e-12)


@LAW
@given(portfolios(least=2), st.data())
def test_the_trade_named_puts_the_position_on_its_budget(portfolio: Portfolio, data: st.DataObject) -> None:
    budgets = data.draw(
        st.none() | st.fixed_dictionaries({name: st.floats(0.05, 1.0) for name in portfolio.holdings})
    )
    inputs = portfolio.inputs("N0", budgets)
    result = compute(BUILT_IN["allocation_score"], inputs)
    detail = result.detail
    assert isinstance(detail, AllocationScoreDetail)
    assert detail.target_value is not None
    assert detail.shares_to_trade is not None
    size = copysign(1.0, inputs.weight) * detail.target_value
    assert size > 0.0
    # The direction: the sign of the score, unless rounding decides.
    if not isclose(size, abs(float(inputs.values[0])), rel_tol=1e-9):
        assert copysign(1.0, result.value) == copysign(1.0, size - abs(float(inputs.values[0])))
    # The distance: the share after the trade, all other share counts as they were. At the new size
    # a share is only as exact as the shares bought; where the trade cancels the position out, they
    # are what counts.
    after = detail.target_value / portfolio.prices["N0"]
    assert after == pytest.approx(portfolio.holdings["N0"] + detail.shares_to_trade, rel=1e-9)
    traded = portfolio._replace(holdings=portfolio.holdings | {"N0": after})
    assert value("portfolio_risk", traded.inputs("N0")) == pytest.approx(detail.budget, rel=1e-9)


@LAW
@given(portfolios(least=2))
def test_a_budget_of_nothing_is_reached_by_closing_or_by_the_hedge_that_cancels(
    portfolio: Portfolio,
) -> None:
    inputs = portfolio.inputs("N0", {name: 1.0 for name in portfolio.holdings if name != "N0"})
    result = compute(BUILT_IN["allocation_score"], inputs)
    assert isinstance(result.detail, AllocationScoreDetail)
    target = result.detail.target_value
    assert target is not None
    assume(target != 0.0)
    traded = portfolio._replace(holdings=portfolio.holdings | {"N0": target / portfolio.prices["N0"]})
    assert value("portfolio_risk", traded.inputs("N0")) == pytest.approx(0.0, abs=1e-9)


@settings(LAW, max_examples=25)
@given(st.floats(-12.0, -5.0), st.integers(0, 2**16))
def test_correlation_is_right_where_the_rest_is_next_to_nothing(exponent: float, seed: int) -> None:
    portfolio = make_portfolio(
        {"BIG": 1e6, "A": 1e6 * 10.0**exponent, "B": -0.7e6 * 10.0**exponent}, seed=seed
    )
    inputs = portfolio.inputs("BIG")
    exact = [[Fraction(each) for each in row] for row in inputs.history.weighted.tolist()]
    values = [Fraction(each) for each in inputs.values.tolist()]
    own, others = (
        exact[inputs.index],
        [
            sum((values[j] * exact[j][row] for j in range(3) if j != inputs.index), Fraction(0))
            for row in range(inputs.n_obs)
        ],
    )
    cross = sum((a * b for a, b in zip(own, others, strict=True)), Fraction(0))
    squares = sum(a * a for a in own) * sum(b * b for b in others)
    expected = copysign(sqrt(cross * cross / squares), cross)
    assert value("correlation", inputs) == pytest.approx(expected, rel=1e-9)


@LAW
@given(
    st.sampled_from([1e15, 1.0, 1e-9]),
    st.sampled_from([-1e15, 1e15, 1e-9]),
    st.sampled_from([1e9, 1.0, 1e-9]),
    st.sampled_from([1e9, 1e-9]),
)
def test_extreme_shares_and_prices_give_numbers_or_codes(
    first: float, second: float, first_price: float, second_price: float
) -> None:
    names = ("A", "B")
    closes = walk(names) / 100.0 * np.array([first_price, second_price])
    holdings = {"A": first, "B": second}
    portfolio = Portfolio(make_bars(names, closes), holdings, {"A": first_price, "B": second_price})
    for ticker in names:
        found = outcomes(portfolio.inputs(ticker))
        assert all(isinstance(each, float) for each in found.values()), found
        assert -1.0 <= float(found["correlation"]) <= 1.0
    alone = portfolio._replace(holdings={"A": first})
    assert value("portfolio_risk", alone.inputs("A")) == 1.0


def test_one_cache_answers_every_ticker_and_session_alike() -> None:
    portfolio = make_portfolio({"A": 3.0, "B": -2.0, "C": 5.0})
    cache = ReturnsCache(portfolio.bars)
    for _ in range(2):
        for ticker in portfolio.holdings:
            ours = cache.inputs(ticker, portfolio.holdings, portfolio.prices)
            assert outcomes(ours) == outcomes(portfolio.inputs(ticker))
