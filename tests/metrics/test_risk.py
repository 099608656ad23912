"""Every holding's risk equals that of its analysis, to the last digit; the totals equal the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import BUILT_IN, MetricError, ReturnsCache, Targets, compute
from portfolio_trio.metrics.allocation_score import AllocationScoreDetail
from portfolio_trio.metrics.portfolio_risk import PortfolioRiskDetail
from portfolio_trio.metrics.risk import COLUMNS, correlation_matrix, holding_risks
from tests.metrics.support import (
    LAW,
    Portfolio,
    ewma_covariance,
    make_bars,
    make_portfolio,
    outcome,
    portfolios,
    walk,
)

CASES = settings(LAW, max_examples=40)


def check_rows(portfolio: Portfolio, targets: Targets) -> None:
    cache = ReturnsCache(portfolio.bars, cash=("CASH",))
    held = sorted(portfolio.holdings)
    found = holding_risks(cache.portfolio(portfolio.holdings, portfolio.prices, targets=targets))
    assert found.tickers == tuple(held)
    for place, ticker in enumerate(held):
        errors = found.errors.get(place, {})
        raw = dict(zip(COLUMNS, found.numbers[place].tolist(), strict=True))
        assert {name for name, number in raw.items() if np.isnan(number)} == set(errors)
        row = {name: canonical(number) for name, number in raw.items() if name not in errors}
        inputs = cache.inputs(ticker, portfolio.holdings, portfolio.prices, targets=targets)
        for field, name in (
            ("risk", "portfolio_risk"),
            ("correlation", "correlation"),
            ("score", "allocation_score"),
        ):
            assert {**row, **errors}[field] == outcome(name, inputs)
        assert abs(row["weight"]) == compute(BUILT_IN["concentration"], inputs).value
        assert (raw["shares"], raw["price"]) == (portfolio.holdings[ticker], portfolio.prices[ticker])
        assert row["value"] == canonical(raw["shares"] * raw["price"])
        assert row["target_weight"] == canonical(inputs.target)
        if "risk" in row:
            detail = compute(BUILT_IN["portfolio_risk"], inputs).detail
            assert isinstance(detail, PortfolioRiskDetail)
            assert (row["volatility"], row["beta"]) == (detail.volatility, detail.beta)
        if "score" in row:
            scored = compute(BUILT_IN["allocation_score"], inputs).detail
            assert isinstance(scored, AllocationScoreDetail)
            assert row["budget"] == scored.budget
        else:
            assert errors


@CASES
@given(portfolios(), st.data())
def test_rows_are_what_analyses_say_to_the_last_digit(portfolio: Portfolio, data: st.DataObject) -> None:
    shares = st.none() | st.dictionaries(
        st.sampled_from([*portfolio.holdings]), st.floats(0.1, 1), min_size=1
    )
    check_rows(portfolio, Targets(data.draw(shares), data.draw(shares)))


@pytest.mark.parametrize("count", [30, 100])
def test_many_rows_are_too(count: int) -> None:
    sizes = 10.0 ** np.random.default_rng(count).uniform(-2.0, 2.0, count)
    check_rows(make_portfolio({f"N{place:03}": size for place, size in enumerate(sizes.tolist())}), Targets())


def test_rows_with_errors_are_too() -> None:
    closes = np.column_stack((walk(["A", "B"], 300), np.ones(300)))
    flat = Portfolio(
        make_bars(("A", "B", "PEG"), closes),
        {"A": 1.0, "B": -2.0, "CASH": 50.0, "PEG": 3.0},
        {"A": 100.0, "B": 90.0, "CASH": 1.0, "PEG": 1.0},
    )
    check_rows(flat, Targets())
    check_rows(flat._replace(holdings={"A": 1.0}), Targets())
    check_rows(flat._replace(holdings={"PEG": 1.0, "CASH": 2.0}), Targets())
    check_rows(make_portfolio({"A": 1.0, "B": 2.0}, rows=50), Targets())


@CASES
@given(portfolios())
def test_the_whole_is_the_textbooks(portfolio: Portfolio) -> None:
    cache = ReturnsCache(portfolio.bars)
    positions = cache.positions(portfolio.holdings, portfolio.prices)
    closes, values = portfolio.bars.closes, positions.shares * positions.prices
    covariance = ewma_covariance((closes[1:] / closes[:-1] - 1.0)[-252:])
    totals = positions.totals
    gross = np.abs(values).sum()
    risk = np.sqrt(252.0 * values @ covariance @ values)
    assert totals.value == pytest.approx(values.sum(), rel=1e-12, abs=1e-12 * gross)
    assert totals.gross == pytest.approx(gross, rel=1e-12)
    assert totals.risk == pytest.approx(risk, rel=1e-9, abs=1e-9 * gross)
    assert totals.volatility == pytest.approx(risk / gross, rel=1e-9, abs=1e-9)
    assert totals.effective_holdings == pytest.approx(1.0 / ((values / gross) ** 2).sum(), rel=1e-12)
    assert (totals.n_obs, totals.errors) == (252, {})
    deviations = np.sqrt(np.diag(covariance))
    matrix = np.array(correlation_matrix(positions.history))
    assert matrix == pytest.approx(covariance / np.outer(deviations, deviations), abs=1e-9)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1.0).all()


def test_what_a_full_hedge_leaves_is_no_risk() -> None:
    closes = walk(["A"], 300)
    bars = make_bars(("A", "TWIN"), np.column_stack((closes, 2.0 * closes)))
    price = float(closes[-1, 0])
    prices = {"A": price, "TWIN": 2.0 * price}
    positions = ReturnsCache(bars).positions({"A": 100.0, "TWIN": -50.0}, prices)
    totals = positions.totals
    assert 0.0 <= positions.variance < 1e-24
    assert (totals.volatility, totals.risk, totals.errors) == (0.0, 0.0, {})


def test_what_the_whole_cannot_say_is_said() -> None:
    short = make_portfolio({"A": 1.0, "B": 2.0}, rows=50)
    positions = ReturnsCache(short.bars).positions(short.holdings, short.prices)
    totals = positions.totals
    assert (totals.volatility, totals.risk) == (None, None)
    assert totals.errors == {"volatility": "insufficient_history", "risk": "insufficient_history"}
    with pytest.raises(MetricError, match="insufficient_history"):
        correlation_matrix(positions.history)
    many = make_portfolio({f"N{place}": 1.0 for place in range(61)})
    with pytest.raises(MetricError, match="too_many_holdings"):
        correlation_matrix(ReturnsCache(many.bars).history(tuple(sorted(many.holdings))))


def test_a_name_that_does_not_move_has_no_correlations() -> None:
    bars = make_bars(("A", "PEG"), np.column_stack((walk(["A"], 300), np.ones(300))))
    assert correlation_matrix(ReturnsCache(bars).history(("A", "PEG"))) == [[1.0, None], [None, None]]
