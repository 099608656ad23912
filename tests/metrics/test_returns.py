"""Weighted returns: built once, shared, and bounded."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import cycle
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portfolio_trio.metrics import (
    BUILT_IN,
    AnalysisError,
    MetricError,
    ReturnsCache,
    compute_text,
    returns,
)
from portfolio_trio.metrics.history import decay_weights
from portfolio_trio.metrics.recent import Recent
from portfolio_trio.metrics.rows import Calendars
from portfolio_trio.targets import NO_TARGETS, Targets
from tests.metrics.support import LAW, Portfolio, make_bars, make_portfolio, outcomes, portfolios, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.metrics.portfolio import PortfolioInputs
    from portfolio_trio.metrics.positions import Positions

    Wanted: TypeAlias = Mapping[str, float] | None

NAMES = {f"N{index:02d}": 1.0 + index for index in range(12)}


def test_weights_halve_every_63_rows_and_sum_to_one() -> None:
    weights = decay_weights(252)
    assert weights.sum() == pytest.approx(1.0, rel=1e-15)
    assert weights[-1] / weights[-64] == pytest.approx(2.0, rel=1e-15)
    assert (np.diff(weights) > 0.0).all()


def test_a_set_of_names_is_built_once() -> None:
    portfolio = make_portfolio(NAMES)
    cache = ReturnsCache(portfolio.bars)
    first = cache.inputs("N00", portfolio.holdings, portfolio.prices)
    again = cache.inputs("N05", dict(reversed(portfolio.holdings.items())), portfolio.prices)
    assert first.history is again.history


def test_memory_is_bounded_and_the_oldest_set_goes_first() -> None:
    portfolio = make_portfolio(NAMES)
    one_set = 3 * 252 * 8 + 1024
    cache = ReturnsCache(portfolio.bars, max_bytes=2 * one_set)
    sets = [("N00", "N01", "N02"), ("N03", "N04", "N05"), ("N06", "N07", "N08")]
    first, second = cache.history(sets[0]), cache.history(sets[1])
    assert cache.history(sets[0]) is first
    cache.history(sets[2])
    assert cache.history(sets[0]) is first
    assert cache.history(sets[1]) is not second


def test_the_newest_set_is_kept_whatever_its_size() -> None:
    portfolio = make_portfolio(NAMES)
    cache = ReturnsCache(portfolio.bars, max_bytes=1)
    history = cache.history(tuple(NAMES))
    assert cache.history(tuple(NAMES)) is history


def test_shared_rows_and_own_rows_are_the_same_numbers() -> None:
    bars = make_portfolio(NAMES).bars
    columns = np.arange(len(NAMES))
    calendars = Calendars(bars)
    shared, searched = calendars._shared(columns), calendars._searched(columns)
    assert shared is not None
    np.testing.assert_array_equal(shared.weighted, searched.weighted)
    assert shared.periods == searched.periods == 252


def test_names_of_one_calendar_share_their_rows_in_a_file_of_three() -> None:
    names = ("D0", "M0", "M1", "D1", "T0")
    closes = walk(names, rows=300)
    closes[::7, [1, 2]] = np.nan
    closes[::11, 4] = np.nan
    calendars = Calendars(make_bars(names, closes))
    for columns in ([0, 3], [3], [1, 2], [2, 1], [4]):
        shared, searched = calendars._shared(np.array(columns)), calendars._searched(np.array(columns))
        assert shared is not None
        np.testing.assert_array_equal(shared.weighted, searched.weighted)
    assert calendars._shared(np.array([0, 1])) is None
    assert len(calendars._groups) == 3
    assert sum(
        len(group.window.weighted) for group in calendars._groups.values() if group is not None
    ) == len(names)


def test_inputs_cannot_be_changed() -> None:
    inputs = make_portfolio(NAMES).inputs("N03")
    with pytest.raises(FrozenInstanceError):
        inputs.ticker = "N04"  # type: ignore[misc]
    for array in (inputs.weighted_returns, inputs.own_returns, inputs.closes, inputs.targets, inputs.shares):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_inputs_answer_for_themselves() -> None:
    portfolio = make_portfolio({"A": 2.0, "B": -1.0, "C": 4.0})
    inputs = portfolio.inputs("B")
    y, m = inputs.weighted_returns, inputs.values
    rest = np.array([m[0], 0.0, m[2]])
    assert (inputs.index, inputs.count, inputs.n_obs) == (1, 3, 252)
    assert inputs.gross == pytest.approx(np.abs(m).sum(), rel=1e-15)
    assert inputs.rest_gross == pytest.approx(np.abs(rest).sum(), rel=1e-15)
    assert inputs.weight == pytest.approx(m[1] / inputs.gross, rel=1e-15)
    np.testing.assert_allclose(inputs.rest_returns, y @ rest / inputs.rest_gross, rtol=1e-12)
    a, c, v = y[:, 1] @ y[:, 1], y[:, 1] @ (y @ rest), (y @ rest) @ (y @ rest)
    assert inputs.variance == pytest.approx(a, rel=1e-12)
    assert inputs.rest_covariance == pytest.approx(c / inputs.rest_gross, rel=1e-12)
    assert inputs.rest_variance == pytest.approx(v / inputs.rest_gross**2, rel=1e-12)
    q = m[1] ** 2 * a + 2.0 * m[1] * c + v
    assert inputs.portfolio_variance == pytest.approx(q / inputs.gross**2, rel=1e-12)
    assert inputs.portfolio_covariance == pytest.approx((m[1] * a + c) / inputs.gross, rel=1e-12)
    assert inputs.last_bar == portfolio.bars.dates[-1]
    assert all(isinstance(each, float) for each in outcomes(inputs).values())


def whole_run(cache: ReturnsCache, portfolio: Portfolio, ticker: str, targets: Wanted) -> list[object]:
    """The snapshot's name and everything the five say, or why not."""
    inputs = cache.inputs(ticker, portfolio.holdings, portfolio.prices, targets=Targets(targets, targets))
    said: list[object] = [inputs.snapshot, inputs.last_bar]
    for metric in BUILT_IN.values():
        try:
            said.append(compute_text(metric, inputs))
        except MetricError as error:
            said.append((error.code, error.tickers))
    return said


STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([2.0, 5.0, -1.0, 0.0]), min_size=4, max_size=4).filter(any),
        st.integers(0, 3),
        st.sampled_from([1.0, 1.25]),
        st.sampled_from([None, {"N00": 1.0, "N01": 1.0, "N02": 1.0, "N03": 1.0}, {"N00": 2.0, "N01": 1.0}]),
    ),
    min_size=2,
    max_size=8,
)
BARS = make_portfolio(dict.fromkeys(("N00", "N01", "N02", "N03"), 1.0), seed=3)


@settings(LAW, max_examples=60)
@given(STEPS)
@example([([2.0] * 4, 0, 1.0, None), ([2.0, 2.0, -1.0, 2.0], 0, 1.0, None), ([2.0] * 4, 1, 1.25, None)])
@example([([2.0, 2.0, 0.0, 0.0], 0, 1.0, None), ([2.0, 2.0, 0.0, 0.0], 0, 1.0, {"N00": 2.0, "N01": 1.0})])
def test_a_cache_says_of_every_portfolio_what_a_new_one_says(
    steps: list[tuple[list[float], int, float, Wanted]],
) -> None:
    cache = ReturnsCache(BARS.bars)
    for shares, index, rise, targets in steps:
        holdings = dict(zip(BARS.holdings, shares, strict=True))
        # The price of one alone, so that shares of value change.
        prices = BARS.prices | {"N01": BARS.prices["N01"] * rise}
        portfolio = BARS._replace(holdings=holdings, prices=prices)
        ticker = list(holdings)[index]
        wanted = targets if any(holdings[name] for name in targets or holdings) else None
        if not holdings[ticker]:
            for each in (cache, ReturnsCache(BARS.bars)):
                with pytest.raises(AnalysisError, match="not_held"):
                    whole_run(each, portfolio, ticker, wanted)
            continue
        said = whole_run(cache, portfolio, ticker, wanted)
        assert said == whole_run(ReturnsCache(BARS.bars), portfolio, ticker, wanted)


def test_snapshots_are_kept_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returns, "MAX_LINES", 30)
    portfolio = make_portfolio(NAMES)
    cache = ReturnsCache(portfolio.bars)

    def taken(size: float) -> PortfolioInputs:
        holdings = {name: shares * size for name, shares in portfolio.holdings.items()}
        return cache.portfolio(holdings, portfolio.prices)

    first, second = taken(1.0), taken(2.0)
    assert taken(1.0) is first
    taken(3.0)
    assert taken(1.0) is first
    assert taken(2.0) is not second
    dearer = cache.portfolio(portfolio.holdings, portfolio.prices | {"N00": 1.0})
    assert dearer is not first
    assert cache.portfolio(portfolio.holdings, portfolio.prices | {"N00": 1.0}) is dearer


def test_positions_of_one_snapshot_are_kept_and_never_mixed() -> None:
    portfolio = make_portfolio(NAMES)
    cache = ReturnsCache(portfolio.bars)
    del portfolio.holdings["N01"]

    def taken(prices: dict[str, float], targets: Targets = NO_TARGETS, also: str = "N01") -> Positions:
        return cache.positions(portfolio.holdings, prices, targets=targets, also=[also])

    first = taken(portfolio.prices)
    assert taken(portfolio.prices) is first
    assert first.shares[first.history.place["N01"]] == 0.0
    # Of a name that is held there is nothing more to consider.
    held = cache.portfolio(portfolio.holdings, portfolio.prices).positions
    assert taken(portfolio.prices, also="N00") is held
    assert "N01" not in held.tickers
    for dearer in ("N00", "N01"):
        newer = taken(portfolio.prices | {dearer: 1.0})
        assert newer is not first
        assert newer.prices[newer.history.place[dearer]] == 1.0
        assert newer.snapshot != first.snapshot
    again, wanted = taken(portfolio.prices), Targets({"N00": 1.0})
    assert again.snapshot == first.snapshot
    assert taken(portfolio.prices, wanted).targets == wanted
    assert taken(portfolio.prices, wanted).snapshot != first.snapshot


def test_recent_things_are_kept_within_their_bound() -> None:
    recent: Recent[str, int] = Recent(10)
    recent.keep("a", 1, 4)
    recent.keep("b", 2, 6)
    assert recent.get("a") == 1
    recent.keep("c", 3, 5)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
    recent.keep("c", 4, 6)
    assert [recent.get(key) for key in "abc"] == [1, None, 4]
    # The newest is kept whatever its size, and frees what it took.
    recent.keep("d", 5, 99)
    assert [recent.get(key) for key in "acd"] == [None, None, 5]
    recent.keep("d", 6, 1)
    recent.keep("e", 7, 9)
    assert [recent.get(key) for key in "de"] == [6, 7]


@LAW
@given(portfolios(), st.lists(st.floats(0.5, 2.0), min_size=8, max_size=8), st.sampled_from([None, 1e4]))
def test_a_portfolio_at_other_prices_is_the_snapshot_taken_at_them(
    portfolio: Portfolio, factors: list[float], cash: float | None
) -> None:
    if cash:
        portfolio = portfolio._replace(
            holdings=portfolio.holdings | {"CASH": cash}, prices=portfolio.prices | {"CASH": 1.0}
        )
    cache = ReturnsCache(portfolio.bars, cash=("CASH",))
    names = portfolio.bars.tickers
    moved = {
        name: portfolio.prices[name] * factor for name, factor in zip(names, cycle(factors), strict=False)
    }
    before = cache.portfolio(portfolio.holdings, portfolio.prices)
    found = before.at_prices(np.array([*moved.values(), 1.0]))
    assert found is not None
    expected = cache.portfolio(portfolio.holdings, moved | {"CASH": 1.0})
    assert found.snapshot == expected.snapshot
    assert found.lines.prices == expected.lines.prices
    assert outcomes(found.of("N0")) == outcomes(expected.of("N0"))


def test_a_portfolio_is_at_no_prices_that_cannot_be_used() -> None:
    portfolio = make_portfolio({"A": 1.0, "B": 2.0, "C": 0.0})
    inputs = ReturnsCache(portfolio.bars).portfolio(portfolio.holdings, portfolio.prices)
    assert inputs.at_prices(np.array([1.0, 2.0, np.nan, 1.0])) is not None
    for price in (np.nan, 0.0, -1.0, np.inf):
        assert inputs.at_prices(np.array([1.0, price, 3.0, 1.0])) is None
    stranger = ReturnsCache(portfolio.bars).portfolio({"A": 1.0, "Z": 1.0}, {"A": 1.0, "Z": 1.0})
    assert stranger.at_prices(np.array([1.0, 2.0, 3.0, 1.0])) is None
