"""The past values of today's holdings, day by day."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_trio.metrics import Bars, ReturnsCache
from portfolio_trio.metrics.past_values import PastValues, past_values
from tests.metrics.support import LAW, Portfolio, iso_dates, make_portfolio, portfolios


def ask(portfolio: Portfolio, rows: int) -> PastValues:
    cache = ReturnsCache(portfolio.bars, cash=("CASH",))
    positions = cache.positions(portfolio.holdings, portfolio.prices)
    return past_values(positions, portfolio.bars, rows)


@settings(LAW, max_examples=40)
@given(portfolios(), st.integers(1, 400), st.integers(0, 2**16), st.sampled_from([0.0, 0.05, 0.5]))
def test_it_is_the_sum_of_shares_times_closes(
    portfolio: Portfolio, rows: int, seed: int, holes: float
) -> None:
    closes = portfolio.bars.closes.copy()
    closes[np.random.default_rng(seed).random(closes.shape) < holes] = np.nan
    portfolio = portfolio._replace(bars=Bars(portfolio.bars.dates, portfolio.bars.tickers, closes))
    portfolio.holdings["CASH"] = 1000.0
    portfolio.prices["CASH"] = 1.0
    found = ask(portfolio, rows)
    expected: list[tuple[str, float, float]] = []
    for date, row in zip(portfolio.bars.dates, closes.tolist(), strict=True):
        values = [portfolio.holdings[name] * row[place] for place, name in enumerate(portfolio.bars.tickers)]
        if np.isfinite(values).all():
            expected.append((date, 1000.0 + sum(values), 1000.0 + sum(map(abs, values))))
    expected = expected[-rows:]
    live = [portfolio.holdings[name] * portfolio.prices[name] for name in portfolio.holdings]
    expected.append(("now", sum(live), sum(map(abs, live))))
    assert [*found.dates, "now"] == [date for date, _, _ in expected]
    assert found.values == pytest.approx([value for _, value, _ in expected], rel=1e-9, abs=1e-6)
    if not found.dates:
        assert found.drawdown is None
        return
    deepest, peak = 0.0, expected[0]
    for each in expected:
        peak = each if each[1] >= peak[1] else peak
        deepest = max(deepest, (peak[1] - each[1]) / peak[2])
    assert found.drawdown is not None
    assert found.drawdown.depth == pytest.approx(deepest, rel=1e-9, abs=1e-12)
    assert found.drawdown.peak <= found.drawdown.trough


def test_a_fall_has_its_two_days() -> None:
    closes = np.array([[10.0], [12.0], [12.0], [9.0], [11.0]])
    portfolio = Portfolio(Bars(iso_dates(5), ("A",), closes), {"A": 2.0}, {"A": 10.0})
    found = ask(portfolio, 5)
    assert found.values.tolist() == [20.0, 24.0, 24.0, 18.0, 22.0, 20.0]
    assert found.drawdown == (0.25, 2, 3)
    rising = portfolio._replace(prices={"A": 6.0})
    assert ask(rising, 5).drawdown == (0.5, 2, 5)


def test_without_a_common_day_there_is_none() -> None:
    closes = np.array([[10.0, np.nan], [np.nan, 12.0]])
    bars = Bars(iso_dates(2), ("A", "B"), closes)
    found = ask(Portfolio(bars, {"A": 1.0, "B": 1.0}, {"A": 1.0, "B": 1.0}), 252)
    assert (found.dates, found.values.tolist(), found.drawdown) == ((), [2.0], None)
    stranger = Portfolio(bars, {"C": 1.0}, {"C": 3.0})
    assert ask(stranger, 252).dates == ()


def test_a_long_file_is_looked_at_as_far_as_it_takes() -> None:
    portfolio = make_portfolio({"A": 1.0, "B": 1.0}, rows=4000)
    closes = portfolio.bars.closes.copy()
    closes[100:, 0][np.arange(3900) % 40 != 0] = np.nan
    holed = portfolio._replace(bars=Bars(portfolio.bars.dates, portfolio.bars.tickers, closes))
    found = ask(holed, 150)
    assert len(found.dates) == 150
    assert found.dates[-1] == holed.bars.dates[3980]
