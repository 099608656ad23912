"""Cash: it has weight, but does not move, carries no risk, and imposes no calendar."""

from __future__ import annotations

from math import copysign, isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import (
    BUILT_IN,
    METHOD_VERSION,
    MetricError,
    Receipt,
    ReturnsCache,
    compute,
    recompute,
)
from portfolio_trio.metrics.allocation_score import AllocationScoreDetail
from tests.metrics.support import LAW, Portfolio, make_portfolio, outcomes, portfolios, value
from tests.metrics.test_calendars import read


def with_cash(portfolio: Portfolio, amount: float) -> Portfolio:
    return portfolio._replace(
        holdings=portfolio.holdings | {"CASH": amount}, prices=portfolio.prices | {"CASH": 1.0}
    )


def trade(portfolio: Portfolio, ticker: str) -> AllocationScoreDetail:
    detail = compute(BUILT_IN["allocation_score"], portfolio.inputs(ticker)).detail
    assert isinstance(detail, AllocationScoreDetail)
    return detail


@pytest.mark.parametrize("amount", [50_000.0, -20_000.0])
def test_it_weighs_and_carries_no_risk(amount: float) -> None:
    plain = make_portfolio({"A": 100.0, "B": 30.0})
    both = with_cash(plain, amount)
    cash = both.inputs("CASH")
    assert outcomes(cash) == {
        "portfolio_risk": 0.0,
        "concentration": canonical(abs(amount) / cash.gross),
        "correlation": "zero_variance",
        "momentum": "zero_variance",
        "allocation_score": "zero_variance",
    }
    assert cash.target == pytest.approx(1.0 / 3.0)
    assert cash.budgets.tolist() == [0.5, 0.5, 0.0]
    for ticker in ("A", "B"):
        ours, theirs = both.inputs(ticker), plain.inputs(ticker)
        assert ours.gross == pytest.approx(theirs.gross + abs(amount))
        assert ours.n_obs == theirs.n_obs
        for name in ("portfolio_risk", "allocation_score", "correlation"):
            assert value(name, ours) == pytest.approx(value(name, theirs), rel=1e-12)
    assert sum(value("allocation_score", both.inputs(name)) for name in ("A", "B")) == pytest.approx(
        0.0, abs=1e-12
    )


def test_a_column_of_its_name_imposes_no_calendar() -> None:
    plain = make_portfolio({"A": 1.0, "B": 1.0, "CASH": 500.0})
    closes = plain.bars.closes.copy()
    closes[:, 2] = np.nan
    closes[-3:, 2] = 1.0
    bars = type(plain.bars)(plain.bars.dates, plain.bars.tickers, closes)
    column = Portfolio(bars, plain.holdings, plain.prices | {"CASH": 1.0}).inputs("A")
    none = Portfolio(bars.until("2000-01-01"), plain.holdings, plain.prices)
    assert column.n_obs == 252
    without = type(bars)(bars.dates, ("A", "B"), closes[:, :2])
    alone = Portfolio(without, plain.holdings, plain.prices | {"CASH": 1.0}).inputs("A")
    assert (alone.snapshot, outcomes(alone)) == (column.snapshot, outcomes(column))
    # Where it is not called cash, a name with three closes is one with too few.
    named = ReturnsCache(bars).inputs("A", plain.holdings, plain.prices | {"CASH": 1.0})
    assert (named.n_obs, named.history.culprits) == (2, ("CASH",))
    assert named.snapshot != column.snapshot
    # And too few of the others are never due to it.
    with pytest.raises(MetricError) as caught:
        compute(BUILT_IN["portfolio_risk"], none.inputs("CASH"))
    assert (caught.value.code, caught.value.tickers) == ("insufficient_history", ("A", "B"))


@pytest.mark.parametrize("rows", [0, 300])
def test_nothing_but_cash(rows: int) -> None:
    bars = make_portfolio({"A": 1.0}, rows=300).bars.until("2000-01-01" if not rows else "2030-01-01")
    one = Portfolio(bars, {"CASH": 1000.0}, {"CASH": 1.0}).inputs("CASH")
    assert outcomes(one) == {
        "portfolio_risk": "zero_portfolio_variance",
        "concentration": 1.0,
        "correlation": "no_other_holdings",
        "momentum": "zero_variance",
        "allocation_score": "zero_portfolio_variance",
    }
    assert one.last_bar is None
    assert one.close_at(-1) == 1.0
    two = Portfolio(bars, {"CASH": 1000.0, "USD": -10.0}, {"CASH": 1.0, "USD": 1.0})
    found = outcomes(two.inputs("USD"))
    assert (found["correlation"], found["momentum"]) == ("zero_variance", "zero_variance")
    assert found["portfolio_risk"] == found["allocation_score"] == "zero_portfolio_variance"


@pytest.mark.parametrize("cash", [("CASH",), ()])
def test_twelve_rounds_of_its_own_advice_lead_to_the_budgets(cash: tuple[str, ...]) -> None:
    mixed = read("two_stocks_and_cash.csv")
    holdings = {"AAPL": 100.0, "MSFT": 10.0, "CASH": 5000.0}
    mixed = mixed._replace(holdings=holdings, cash=frozenset(cash))
    bars, prices = mixed.bars(), mixed.prices
    cache = ReturnsCache(bars, cash=cash)
    for _ in range(12):
        for ticker in ("AAPL", "MSFT"):
            result = compute(BUILT_IN["allocation_score"], cache.inputs(ticker, holdings, prices))
            assert isinstance(result.detail, AllocationScoreDetail)
            assert result.detail.budget == 0.5
            shares = result.detail.shares_to_trade
            assert shares is not None
            holdings[ticker] += shares
            holdings["CASH"] -= shares * prices[ticker]
    for ticker in ("AAPL", "MSFT"):
        inputs = cache.inputs(ticker, holdings, prices)
        assert value("portfolio_risk", inputs) == pytest.approx(0.5, abs=1e-9)
        assert abs(value("allocation_score", inputs)) < 1e-9
        assert holdings[ticker] > 1.0


@LAW
@given(portfolios(least=2), st.sampled_from([-1.0, 1.0]), st.floats(-2.0, 6.0))
def test_the_trade_named_puts_the_position_on_its_budget_beside_cash_too(
    portfolio: Portfolio, sign: float, size: float
) -> None:
    portfolio = with_cash(portfolio, sign * 10.0**size)
    inputs = portfolio.inputs("N0")
    result = compute(BUILT_IN["allocation_score"], inputs)
    detail = result.detail
    assert isinstance(detail, AllocationScoreDetail)
    assert detail.budget == canonical(1.0 / (len(portfolio.holdings) - 1))
    if detail.target_value is None:
        # The rest is nearly all cash: it moves too little to be told from nothing.
        assert inputs.rest_variance <= 1e-24
        return
    target = copysign(1.0, inputs.weight) * detail.target_value
    if not isclose(target, abs(float(inputs.values[inputs.index])), rel_tol=1e-9):
        assert copysign(1.0, result.value) == copysign(1.0, target - abs(float(inputs.values[inputs.index])))
    after = portfolio._replace(
        holdings=portfolio.holdings | {"N0": detail.target_value / portfolio.prices["N0"]}
    )
    assert value("portfolio_risk", after.inputs("N0")) == pytest.approx(detail.budget, rel=1e-9)


@LAW
@given(portfolios(most=1), st.floats(-3.0, 9.0))
def test_all_risk_is_that_of_the_only_name_that_moves(portfolio: Portfolio, size: float) -> None:
    portfolio = with_cash(portfolio, 10.0**size)
    detail = trade(portfolio, "N0")
    inputs = portfolio.inputs("N0")
    assert (value("portfolio_risk", inputs), value("allocation_score", inputs)) == (1.0, 0.0)
    assert (detail.side, detail.shares_to_trade) == ("hold", 0.0)


def test_a_receipt_says_what_was_cash() -> None:
    portfolio = with_cash(make_portfolio({"A": 3.0, "B": 2.0}), 100.0)
    inputs = portfolio.inputs("A")
    receipt = Receipt(
        ticker="A",
        holdings=portfolio.holdings,
        prices=portfolio.prices,
        snapshot=inputs.snapshot,
        method=METHOD_VERSION,
        tick_id=1,
        as_of="2026-11-20T21:00:00Z",
        last_bar=inputs.last_bar,
        cash=tuple(inputs.history.cash),
        results=outcomes(inputs),
    )
    assert recompute(receipt, portfolio.bars, BUILT_IN).equal
    forged = recompute(receipt.model_copy(update={"cash": ()}), portfolio.bars, BUILT_IN)
    assert not forged.snapshot_equal
    assert not forged.equal
