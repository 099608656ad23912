"""Typed errors at the edges: never NaN, never a silent 0."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import BUILT_IN, AnalysisError, Bars, MetricError, ReturnsCache, Targets, compute
from portfolio_trio.metrics.allocation_score import AllocationScoreDetail
from portfolio_trio.metrics.correlation import CorrelationDetail, _extremes
from portfolio_trio.metrics.momentum import MomentumDetail
from tests.metrics.support import (
    Portfolio,
    make_bars,
    make_portfolio,
    outcome,
    outcomes,
    value,
    walk,
)

FROM_HISTORY = ("portfolio_risk", "correlation", "momentum", "allocation_score")


def refused(portfolio: Portfolio, ticker: str) -> AnalysisError:
    with pytest.raises(AnalysisError) as caught:
        portfolio.inputs(ticker)
    return caught.value


def failed(name: str, portfolio: Portfolio, ticker: str) -> MetricError:
    with pytest.raises(MetricError) as caught:
        compute(BUILT_IN[name], portfolio.inputs(ticker))
    assert caught.value.metric == name
    return caught.value


def with_closes(portfolio: Portfolio, ticker: str, rows: slice | int, closes: float) -> Portfolio:
    """The same with some closes of one name replaced."""
    changed = portfolio.bars.closes.copy()
    changed[rows, portfolio.bars.column[ticker]] = closes
    return portfolio._replace(bars=Bars(portfolio.bars.dates, portfolio.bars.tickers, changed))


class TestRequests:
    @pytest.mark.parametrize("holdings", [{}, {"A": 0.0, "B": -0.0}])
    def test_no_shares_at_all(self, holdings: dict[str, float]) -> None:
        portfolio = make_portfolio({"A": 1.0})._replace(holdings=holdings)
        assert refused(portfolio, "A").code == "empty_portfolio"

    @pytest.mark.parametrize("ticker", ["ZZZ", "B"])
    def test_a_ticker_without_shares_is_not_held(self, ticker: str) -> None:
        error = refused(make_portfolio({"A": 1.0, "B": 0.0}), ticker)
        assert (error.code, error.tickers) == ("not_held", (ticker,))

    @pytest.mark.parametrize("price", [nan, inf, -inf, 0.0, -1.0, None])
    def test_a_bad_price_of_any_holding_names_them_all(self, price: float | None) -> None:
        portfolio = make_portfolio({"D": 1.0, "A": 1.0, "C": -1.0})
        bad = {} if price is None else {"C": price, "D": price}
        error = refused(portfolio._replace(prices={"A": 10.0} | bad), "A")
        assert (error.code, error.tickers) == ("bad_price", ("C", "D"))
        assert "C, D" in error.reason

    def test_the_checks_come_in_their_order(self) -> None:
        nothing = make_portfolio({"A": 1.0})._replace(prices={})
        assert refused(nothing._replace(holdings={}), "B").code == "empty_portfolio"
        assert refused(nothing, "B").code == "not_held"
        assert refused(nothing, "A").code == "bad_price"

    def test_a_value_beyond_the_number_range_is_no_infinity(self) -> None:
        portfolio = make_portfolio({"A": 1e308, "B": 1.0})
        assert refused(portfolio, "B").tickers == ("A",)
        tiny = make_portfolio({"A": 5e-324, "B": 1.0})._replace(prices={"A": 0.1, "B": 1.0})
        assert refused(tiny, "B").tickers == ("A",)
        both = make_portfolio({"A": 1e308, "B": 1e308})._replace(prices={"A": 1.0, "B": 1.0})
        assert refused(both, "B").tickers == ("A", "B")

    @pytest.mark.parametrize("shares", [nan, inf])
    def test_shares_that_are_no_number_are_the_callers_fault(self, shares: float) -> None:
        with pytest.raises(ValueError, match="shares"):
            make_portfolio({"A": shares, "B": 1.0}).inputs("B")

    def test_a_line_with_no_shares_is_ignored(self) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 2.0})
        with_line = portfolio._replace(holdings=portfolio.holdings | {"ZERO": 0.0})
        ours, theirs = portfolio.inputs("A"), with_line.inputs("A")
        assert theirs.count == 2
        assert ours.snapshot == theirs.snapshot
        assert outcomes(ours) == outcomes(theirs)


@pytest.mark.parametrize("shares", [7.0, -7.0])
def test_a_single_holding(shares: float) -> None:
    inputs = make_portfolio({"A": shares}).inputs("A")
    found = outcomes(inputs)
    momentum = found.pop("momentum")
    assert found == {
        "portfolio_risk": 1.0,
        "concentration": 1.0,
        "correlation": "no_other_holdings",
        "allocation_score": 0.0,
    }
    raw = inputs.closes[-22] / inputs.closes[-253] - 1.0
    assert momentum == pytest.approx(np.sign(shares) * raw / inputs.volatility, rel=1e-12)
    detail = compute(BUILT_IN["allocation_score"], inputs).detail
    assert isinstance(detail, AllocationScoreDetail)
    assert (detail.target_value, detail.shares_to_trade, detail.side) == (
        canonical(float(inputs.values[0])),
        0.0,
        "hold",
    )


class TestHistory:
    @pytest.mark.parametrize("rows", [0, 1, 2, 60])
    def test_fewer_than_60_returns_leave_concentration_only(self, rows: int) -> None:
        full = make_portfolio({"A": 1.0, "B": 3.0})
        bars = Bars(full.bars.dates[:rows], full.bars.tickers, full.bars.closes[:rows])
        portfolio = full._replace(bars=bars)
        found = outcomes(portfolio.inputs("A"))
        assert isinstance(found.pop("concentration"), float)
        assert found == dict.fromkeys(FROM_HISTORY, "insufficient_history")
        assert failed("correlation", portfolio, "A").tickers == ("A", "B")

    @pytest.mark.parametrize("rows", [61, 252])
    def test_60_to_251_returns_give_all_but_momentum(self, rows: int) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 3.0}, rows=rows)
        inputs = portfolio.inputs("A")
        assert inputs.n_obs == rows - 1
        assert outcome("momentum", inputs) == "insufficient_history"
        assert all(isinstance(outcome(name, inputs), float) for name in BUILT_IN if name != "momentum")
        detail = compute(BUILT_IN["correlation"], inputs).detail
        assert isinstance(detail, CorrelationDetail)
        assert detail.n_obs == rows - 1
        assert (detail.rolling_63 is None) == (rows < 64)

    def test_253_closes_are_a_years_history(self) -> None:
        assert isinstance(value("momentum", make_portfolio({"A": 1.0}, rows=253).inputs("A")), float)

    def test_a_newcomer_is_named_and_nobody_else(self) -> None:
        young = with_closes(make_portfolio({"A": 1.0, "NEW": 3.0, "C": 1.0}), "NEW", slice(None, -50), nan)
        for name in FROM_HISTORY:
            error = failed(name, young, "A")
            assert (error.code, error.tickers) == ("insufficient_history", ("NEW",))
        older = with_closes(make_portfolio({"A": 1.0, "NEW": 3.0, "C": 1.0}), "NEW", slice(None, -150), nan)
        assert older.inputs("A").n_obs == 149
        # The others have a year of closes of their own.
        assert failed("momentum", older, "NEW").tickers == ("NEW",)
        assert isinstance(outcome("momentum", older.inputs("A")), float)

    def test_a_name_without_a_column_has_no_history(self) -> None:
        known = make_portfolio({"A": 1.0, "B": 1.0})
        portfolio = known._replace(holdings=known.holdings | {"NEW": 1.0}, prices=known.prices | {"NEW": 5.0})
        for ticker in portfolio.holdings:
            found = outcomes(portfolio.inputs(ticker))
            assert isinstance(found.pop("concentration"), float)
            assert set(found.values()) == {"insufficient_history"}
            assert failed("portfolio_risk", portfolio, ticker).tickers == ("NEW",)
        assert refused(portfolio._replace(prices=known.prices), "A").tickers == ("NEW",)

    def test_names_that_never_traded_together_are_told_by_who_left(self) -> None:
        left = with_closes(make_portfolio({"A": 1.0, "LEFT": 1.0, "NEW": 1.0}), "LEFT", slice(150, None), nan)
        apart = with_closes(left, "NEW", slice(None, 150), nan)
        assert failed("correlation", apart, "A").tickers == ("LEFT",)

    def test_a_gap_drops_its_row_and_fills_nothing(self) -> None:
        whole = make_portfolio({"A": 1.0, "B": -3.0})
        gap = with_closes(whole, "B", -100, nan)
        inputs = gap.inputs("A")
        rows = np.delete(whole.bars.closes, len(whole.bars.closes) - 100, axis=0)
        kept = (rows[1:] / rows[:-1] - 1.0)[-252:]
        weights = 2.0 ** (-np.arange(251, -1, -1) / 63.0)
        expected = kept * np.sqrt(weights / weights.sum())[:, np.newaxis]
        np.testing.assert_allclose(inputs.weighted_returns, expected, rtol=1e-12)

    @pytest.mark.parametrize("bad", [0.0, -5.0, inf, -inf, nan])
    def test_a_past_price_that_is_none_counts_as_missing(self, bad: float) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": -3.0})
        assert outcomes(with_closes(portfolio, "B", -100, bad).inputs("A")) == outcomes(
            with_closes(portfolio, "B", -100, nan).inputs("A")
        )

    def test_a_return_beyond_the_number_range_counts_as_missing(self) -> None:
        closes = walk(["A", "B"], rows=400)
        closes[200, 0], closes[201, 0] = 1e-200, 1e200
        portfolio = Portfolio(make_bars(["A", "B"], closes), {"A": 1.0, "B": 1.0}, {"A": 1.0, "B": 1.0})
        weighted = portfolio.inputs("A").weighted_returns
        assert weighted.shape == (252, 2)
        assert np.isfinite(weighted).all()

    def test_old_rows_make_up_for_many_gaps(self) -> None:
        closes = walk(["A", "B"], rows=2000)
        closes[-1300::3, 0] = nan
        portfolio = Portfolio(make_bars(["A", "B"], closes), {"A": 1.0, "B": 1.0}, {"A": 1.0, "B": 1.0})
        inputs = portfolio.inputs("B")
        rows = closes[np.isfinite(closes[:, 0])]
        assert inputs.n_obs == 252
        expected = (rows[1:] / rows[:-1] - 1.0)[-252:]
        np.testing.assert_allclose(inputs.weighted_returns.T * inputs.history.undo_weights, expected.T)


class TestMomentumOfItsOwnCloses:
    @pytest.mark.parametrize("row", [-22, -253, -100])
    def test_a_missing_close_is_no_close(self, row: int) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 1.0}, rows=400)
        inputs = with_closes(portfolio, "A", slice(row - 4, row + 1), nan).inputs("A")
        own = np.delete(portfolio.bars.closes[:, 0], range(400 + row - 4, 400 + row + 1))
        raw = own[-22] / own[-253] - 1.0
        assert value("momentum", inputs) == pytest.approx(inputs.weight * raw / inputs.volatility, rel=1e-12)
        assert (inputs.close_at(-22), inputs.close_at(-1)) == (own[-22], own[-1])
        assert (inputs.close_at(-395), inputs.close_at(-396), inputs.close_at(0)) == (own[0], None, None)

    @pytest.mark.parametrize(("closes", "enough"), [(252, False), (253, True)])
    def test_a_year_takes_one_close_more(self, closes: int, *, enough: bool) -> None:
        young = with_closes(make_portfolio({"A": 1.0, "B": 1.0}), "A", slice(None, -closes), nan)
        if enough:
            assert isinstance(value("momentum", young.inputs("A")), float)
        else:
            error = failed("momentum", young, "A")
            assert (error.code, error.tickers) == ("insufficient_history", ("A",))
            assert "252 closes, but a year needs 253" in error.reason
        assert isinstance(outcome("momentum", young.inputs("B")), float)

    @pytest.mark.parametrize(("weekdays", "stale"), [(10, False), (11, True)])
    def test_a_close_of_more_than_14_days_ago_is_no_newest(self, weekdays: int, *, stale: bool) -> None:
        ended = with_closes(make_portfolio({"A": 1.0, "B": 1.0}, rows=400), "A", slice(-weekdays, None), nan)
        assert isinstance(outcome("momentum", ended.inputs("B")), float)
        if stale:
            error = failed("momentum", ended, "A")
            assert (error.code, error.tickers) == ("insufficient_history", ("A",))
            assert "days older" in error.reason
        else:
            assert isinstance(outcome("momentum", ended.inputs("A")), float)
        assert ended.inputs("A").last_bar == ended.bars.dates[-1]

    def test_the_52_week_high_is_of_252_closes(self) -> None:
        portfolio = make_portfolio({"A": 1.0})
        newest = float(portfolio.bars.closes[-1, 0])
        for row, expected in ((-252, -0.9), (-253, None)):
            raised = with_closes(portfolio, "A", row, 10.0 * newest)
            detail = compute(BUILT_IN["momentum"], raised.inputs("A")).detail
            assert isinstance(detail, MomentumDetail)
            assert detail.from_52_week_high is not None
            if expected is None:
                assert detail.from_52_week_high > -0.85
            else:
                assert detail.from_52_week_high == pytest.approx(expected, rel=1e-12)


class TestNoVariance:
    def flat(self, shares: dict[str, float], *names: str) -> Portfolio:
        portfolio = make_portfolio(shares)
        for name in names:
            portfolio = with_closes(portfolio, name, slice(None), 50.0)
        return portfolio

    def test_a_flat_stock(self) -> None:
        portfolio = self.flat({"A": 1.0, "B": 1.0, "FLAT": 9.0}, "FLAT")
        found = outcomes(portfolio.inputs("FLAT"))
        assert isinstance(found.pop("concentration"), float)
        assert found.pop("portfolio_risk") == 0.0
        assert set(found.values()) == {"zero_variance"}
        assert failed("momentum", portfolio, "FLAT").tickers == ("FLAT",)
        assert all(isinstance(each, float) for each in outcomes(portfolio.inputs("A")).values())

    def test_a_stock_flat_but_for_rounding_carries_nothing(self) -> None:
        portfolio = self.flat({"A": 1.0, "FLAT": 9.0}, "FLAT")
        wobbling = with_closes(portfolio, "FLAT", slice(None, None, 2), 50.0 * (1.0 + 5e-13))
        assert 0.0 < wobbling.inputs("FLAT").variance <= 1e-24
        assert outcome("portfolio_risk", wobbling.inputs("FLAT")) == 0.0

    def test_a_flat_rest_has_no_correlation_and_no_budget(self) -> None:
        portfolio = self.flat({"A": 1.0, "F": 5.0, "G": -2.0}, "F", "G")
        inputs = portfolio.inputs("A")
        assert outcome("correlation", inputs) == "zero_variance"
        assert value("portfolio_risk", inputs) == 1.0
        # What does not move cannot carry risk: all of it is the budget of what does, at any size.
        result = compute(BUILT_IN["allocation_score"], inputs)
        assert result.value == 0.0
        assert isinstance(result.detail, AllocationScoreDetail)
        assert (result.detail.budget, result.detail.side) == (1.0, "hold")
        assert (result.detail.target_value, result.detail.shares_to_trade) == (
            canonical(float(inputs.values[inputs.index])),
            0.0,
        )
        # The target weights are still those of all that is held.
        assert inputs.target == pytest.approx(1.0 / 3.0)

    def test_a_budget_that_is_set_stays_as_it_is_set(self) -> None:
        portfolio = self.flat({"A": 1.0, "F": 5.0}, "F")
        result = compute(BUILT_IN["allocation_score"], portfolio.inputs("A", {"A": 1.0, "F": 3.0}))
        assert result.value == -0.75
        assert isinstance(result.detail, AllocationScoreDetail)
        assert (result.detail.target_value, result.detail.shares_to_trade) == (None, None)
        assert result.detail.side == "sell"

    def test_a_rest_hedged_to_nothing_has_no_correlation(self) -> None:
        closes = walk(["A", "LONG", "SHORT"])
        closes[:, 2] = closes[:, 1]
        names = ("A", "LONG", "SHORT")
        portfolio = Portfolio(
            make_bars(names, closes),
            {"A": 1e-3, "LONG": 70.0, "SHORT": -70.0},
            dict(zip(names, closes[-1].tolist(), strict=True)),
        )
        assert outcome("correlation", portfolio.inputs("A")) == "zero_variance"

    def test_a_portfolio_hedged_to_nothing_has_no_risk_to_share(self) -> None:
        closes = walk(["LONG", "SHORT"])
        closes[:, 1] = 3.7 * closes[:, 0]
        portfolio = Portfolio(
            make_bars(("LONG", "SHORT"), closes),
            {"LONG": 37.0, "SHORT": -10.0},
            {"LONG": 100.0, "SHORT": 370.0},
        )
        found = outcomes(portfolio.inputs("LONG"))
        assert found["portfolio_risk"] == found["allocation_score"] == "zero_portfolio_variance"
        assert found["correlation"] == pytest.approx(-1.0, rel=1e-12)
        assert isinstance(found["momentum"], float)

    def test_nothing_moves_at_all(self) -> None:
        portfolio = self.flat({"A": 1.0, "B": 2.0}, "A", "B")
        found = outcomes(portfolio.inputs("A"))
        assert found["portfolio_risk"] == found["allocation_score"] == "zero_portfolio_variance"
        assert found["correlation"] == found["momentum"] == "zero_variance"

    def test_flat_holdings_are_nobodys_closest(self) -> None:
        portfolio = self.flat({"A": 1.0, "B": 1.0, "FLAT": 1.0}, "FLAT")
        detail = compute(BUILT_IN["correlation"], portfolio.inputs("A")).detail
        assert isinstance(detail, CorrelationDetail)
        assert (detail.closest, detail.most_diversifying) == ("B", "B")

    def test_where_no_other_holding_moves_none_is_closest(self) -> None:
        # The metric itself refuses this before it asks.
        inputs = self.flat({"A": 1.0, "F": 1.0, "G": 1.0}, "F", "G").inputs("A")
        assert _extremes(inputs) == (None, None)

    def test_windows_without_movement_are_none(self) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 1.0})
        calm = with_closes(portfolio, "B", slice(-30, None), 50.0)
        detail = compute(BUILT_IN["correlation"], calm.inputs("A")).detail
        assert isinstance(detail, CorrelationDetail)
        assert detail.rolling_21 is None
        assert detail.rolling_63 is not None


@pytest.mark.parametrize("shares", [{"A": 1.0, "B": -1.0}, {"A": -2.0, "B": 1.0}, {"A": -1.0, "B": -5.0}])
def test_shorts_keep_everything_defined(shares: dict[str, float]) -> None:
    portfolio = make_portfolio(shares)
    equal = portfolio._replace(prices=dict.fromkeys(shares, 100.0))
    for each in (portfolio, equal):
        assert all(isinstance(found, float) for found in outcomes(each.inputs("A")).values())


class TestTargets:
    def test_they_are_shares_of_all_that_is_wanted_and_not_only_of_what_is_held(self) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 1.0})
        inputs = portfolio.inputs("A", {"A": 30.0, "B": 10.0, "ELSEWHERE": 60.0})
        assert inputs.targets.tolist() == [0.3, 0.1]
        score = 0.3 - value("portfolio_risk", inputs)
        assert value("allocation_score", inputs) == pytest.approx(score, rel=0.0, abs=1e-15)

    def test_they_are_part_of_the_snapshot(self) -> None:
        portfolio = make_portfolio({"A": 1.0, "B": 1.0})
        cache = ReturnsCache(portfolio.bars)

        def snapshot(targets: Targets) -> str:
            return cache.inputs("A", portfolio.holdings, portfolio.prices, targets=targets).snapshot

        unset = portfolio.inputs("A").snapshot
        assert snapshot(Targets(weights={"A": 1.0, "B": 1.0}, band=0.1)) == unset
        wanted = {"A": 3.0, "B": 1.0}
        others = {snapshot(Targets(weights=wanted)), snapshot(Targets(budgets=wanted))}
        assert len(others - {unset}) == 2

    @pytest.mark.parametrize("targets", [{}, {"A": 0.0}, {"A": -1.0, "B": 2.0}, {"A": nan}, {"A": inf}])
    def test_bad_ones_are_refused(self, targets: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="targets"):
            Targets(weights=targets)
        with pytest.raises(ValueError, match="targets"):
            Targets(budgets=targets)

    def test_a_budget_of_everything_is_out_of_reach_unless_the_rest_hedges(self) -> None:
        inputs = make_portfolio({"A": 1.0, "B": 1.0}).inputs("A", {"A": 1.0})
        result = compute(BUILT_IN["allocation_score"], inputs)
        assert isinstance(result.detail, AllocationScoreDetail)
        assert result.value > 0.0
        assert (result.detail.target_value, result.detail.side) == (None, "buy")
        hedged = make_portfolio({"A": 1.0, "B": -1.0})
        detail = compute(BUILT_IN["allocation_score"], hedged.inputs("A", {"A": 1.0})).detail
        assert isinstance(detail, AllocationScoreDetail)
        assert detail.target_value is not None
        traded = hedged._replace(holdings={"A": detail.target_value / hedged.prices["A"], "B": -1.0})
        assert value("portfolio_risk", traded.inputs("A")) == pytest.approx(1.0, rel=1e-9)

    def test_a_budget_of_nothing_closes_a_position_that_is_no_hedge(self) -> None:
        detail = compute(
            BUILT_IN["allocation_score"], make_portfolio({"A": 1.0, "B": 1.0}).inputs("A", {"B": 1.0})
        ).detail
        assert isinstance(detail, AllocationScoreDetail)
        assert (detail.target_value, detail.shares_to_trade, detail.side) == (0.0, -1.0, "sell")
