"""A what-if is two full computations from the same rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

from portfolio_trio.canonical import canonical_shares
from portfolio_trio.metrics import AnalysisError, Bars, ReturnsCache, Targets
from portfolio_trio.metrics.what_if import Hedge, WhatIf, what_if
from tests.metrics.support import LAW, Portfolio, ewma_covariance, iso_dates, make_portfolio, portfolios, walk

CASES = settings(LAW, max_examples=50)


class Case(NamedTuple):
    portfolio: Portfolio
    trades: dict[str, float]

    def ask(self) -> WhatIf:
        portfolio = self.portfolio
        cache = ReturnsCache(portfolio.bars)
        return what_if(cache, portfolio.holdings, portfolio.prices, self.trades, Targets())

    def after(self) -> Portfolio:
        """The portfolio with the trades made, one after another."""
        holdings = dict(self.portfolio.holdings)
        for name, traded in self.trades.items():
            held = holdings.get(name, 0.0)
            holdings[name] = canonical_shares(held + traded, held, traded)
        return self.portfolio._replace(holdings={name: count for name, count in holdings.items() if count})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    portfolio = draw(portfolios(least=2))
    names = list(portfolio.holdings)
    portfolio.holdings.update({name: canonical_shares(count) for name, count in portfolio.holdings.items()})
    sold_out = {name: -portfolio.holdings[name] for name in draw(st.sets(st.sampled_from(names)))}
    for name in draw(st.sets(st.sampled_from(names), max_size=len(names) - 1)):
        del portfolio.holdings[name]
    shares = st.floats(-1e3, 1e3).map(canonical_shares)
    trades = draw(st.dictionaries(st.sampled_from(names), shares, max_size=3))
    return Case(portfolio, {**sold_out, **trades})


@CASES
@given(cases())
def test_both_sides_are_full_computations_from_the_same_rows(case: Case) -> None:
    found, closes, after = case.ask(), case.portfolio.bars.closes, case.after()
    returns = (closes[1:] / closes[:-1] - 1.0)[-252:]
    sides = (
        (case.portfolio.holdings, found.totals_before, found.risks_before),
        (after.holdings, found.totals_after, found.risks_after),
    )
    for holdings, totals, risks in sides:
        names = found.before.tickers
        covariance = ewma_covariance(returns[:, [case.portfolio.bars.column[name] for name in names]])
        values = np.array([holdings.get(name, 0.0) * case.portfolio.prices[name] for name in names])
        gross, risk = np.abs(values).sum(), np.sqrt(252.0 * values @ covariance @ values)
        assert totals.value == pytest.approx(values.sum(), rel=1e-9, abs=1e-12 * gross)
        assert totals.gross == pytest.approx(gross, rel=1e-12)
        assert totals.risk == pytest.approx(risk, rel=1e-9, abs=1e-12 * gross)
        if not gross:
            assert risks == "empty_portfolio"
            assert totals.volatility is None
            continue
        assert totals.volatility == pytest.approx(risk / gross, rel=1e-9, abs=1e-12)
        assert risks == pytest.approx(
            values * (covariance @ values) / (values @ covariance @ values), rel=1e-6, abs=1e-9
        )
    assert found.totals_before.risk is not None
    assert found.totals_after.risk is not None
    assert found.change.risk == found.totals_after.risk - found.totals_before.risk
    spent = sum(traded * case.portfolio.prices[name] for name, traded in case.trades.items())
    assert found.cash == pytest.approx(-spent)


@CASES
@given(cases())
def test_what_comes_after_is_what_is_there_once_it_is_traded(case: Case) -> None:
    """On the same rows: all of these names have every day."""
    found, traded = case.ask(), case.after()
    if not traded.holdings:
        assert found.totals_after.gross == 0.0
        return
    then = ReturnsCache(traded.bars).positions(traded.holdings, traded.prices)
    for ours, theirs in zip(found.totals_after, then.totals, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-9 * then.gross)
    risks = then.risk_shares
    assert not isinstance(found.risks_after, str)
    after = dict(zip(found.after.tickers, found.after.shares.tolist(), strict=True))
    assert {name: count for name, count in after.items() if count} == traded.holdings
    held = found.after.shares != 0.0
    assert found.risks_after[held] == pytest.approx(risks, rel=1e-9, abs=1e-12)


@CASES
@given(portfolios())
def test_nothing_traded_changes_nothing(portfolio: Portfolio) -> None:
    found = Case(portfolio, {}).ask()
    assert set(found.change[:-1]) == {0.0}
    assert not found.change.errors
    assert found.cash == 0.0
    assert found.before.shares.tolist() == found.after.shares.tolist()


@CASES
@given(portfolios(least=2))
def test_the_best_hedge_is_the_size_of_the_least_risk(portfolio: Portfolio) -> None:
    found = Case(portfolio, {"N0": 1.0}).ask()
    hedge = found.best_hedge
    assert isinstance(hedge, Hedge)
    closes, names = portfolio.bars.closes, found.before.tickers
    covariance = 1e4 * ewma_covariance((closes[1:] / closes[:-1] - 1.0)[-252:])
    values = found.before.values.copy()
    rest = np.abs(values[1:]).sum()
    assert names[0] == "N0"

    def variance(size: float) -> float:
        values[0] = size * rest
        return float(values @ covariance @ values / rest**2)

    best = minimize_scalar(variance, bracket=(-1.0, 1.0), tol=1e-10)
    assert hedge.value == pytest.approx(best.x * rest, abs=1e-6 * rest)
    assert hedge.shares * portfolio.prices["N0"] == pytest.approx(hedge.value)


def test_there_is_no_best_hedge_of_several_names_or_of_one_that_does_not_move() -> None:
    portfolio = make_portfolio({"A": 1.0, "B": 2.0})
    assert Case(portfolio, {"A": 1.0, "B": 1.0}).ask().best_hedge is None
    cash = ReturnsCache(portfolio.bars, cash=("CASH",))
    prices = {**portfolio.prices, "CASH": 1.0}
    assert what_if(cash, portfolio.holdings, prices, {"CASH": 1.0}, Targets()).best_hedge == "zero_variance"


def test_both_sides_see_the_rows_of_old_and_new() -> None:
    closes = walk(["OLD", "NEW"], 300)
    closes[:150, 1] = np.nan
    bars = Bars(iso_dates(300), ("OLD", "NEW"), closes)
    cache, prices = ReturnsCache(bars), {"OLD": 100.0, "NEW": 50.0}
    found = what_if(cache, {"OLD": 1.0}, prices, {"NEW": 1.0}, Targets())
    assert found.totals_before.n_obs == found.totals_after.n_obs == 149
    alone = cache.positions({"OLD": 1.0}, prices)
    assert alone.totals.n_obs == 252
    assert found.totals_before.risk != alone.totals.risk


def test_a_name_without_a_price_is_named() -> None:
    portfolio = make_portfolio({"A": 1.0, "B": 2.0})
    with pytest.raises(AnalysisError) as caught:
        Case(portfolio, {"C": 1.0}).ask()
    assert (caught.value.code, caught.value.tickers) == ("bad_price", ("C",))
