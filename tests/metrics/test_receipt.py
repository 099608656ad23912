"""Snapshots with the same hash everywhere, and receipts that can be recomputed."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portfolio_trio.metrics import (
    BUILT_IN,
    METHOD_VERSION,
    AnalysisError,
    Bars,
    Metric,
    Receipt,
    ReturnsCache,
    Targets,
    recompute,
)
from tests.metrics.support import LAW, Portfolio, make_bars, make_portfolio, outcomes, portfolios

PORTFOLIO = make_portfolio({"A": 3.0, "B": -2.5, "C": 7.0})


def issue(portfolio: Portfolio, ticker: str, targets: dict[str, float] | None = None) -> Receipt:
    inputs = portfolio.inputs(ticker, targets)
    return Receipt(
        ticker=ticker,
        holdings=portfolio.holdings,
        prices=portfolio.prices,
        targets=Targets(targets, targets),
        snapshot=inputs.snapshot,
        method=METHOD_VERSION,
        tick_id=7,
        as_of="2026-11-20T21:00:00Z",
        last_bar=inputs.last_bar,
        results=outcomes(inputs),
    )


def test_a_snapshot_is_the_bytes_that_the_documentation_says() -> None:
    portfolio = Portfolio(
        Bars(("2020-01-01", "2020-01-02"), ("B", "A"), np.array([[1.5, 2.0], [np.nan, 2.5]])),
        {"B": -2.0, "ZERO": 0.0, "A": 10.0},
        {"A": 3.0, "B": 1.0},
    )

    def sha(content: bytes) -> bytes:
        return hashlib.sha256(content).digest()

    history = sha(
        f"portfolio_trio/{METHOD_VERSION}".encode()
        + b"\0A\nB\0"
        + sha(sha(struct.pack(">2i", 18262, 18263)) + struct.pack(">2d", 2.0, 2.5))
        + sha(sha(struct.pack(">i", 18262)) + struct.pack(">d", 1.5))
    )
    numbers = struct.pack(">6d", 10.0, -2.0, 3.0, 1.0, 0.5, 0.5)
    assert portfolio.inputs("A").snapshot == hashlib.sha256(history + numbers).hexdigest()


def test_a_known_snapshot_keeps_its_name() -> None:
    closes = np.array([[100.0 + day % 7, 50.0 + day % 5] for day in range(300)])
    bars = make_bars(("A", "B"), closes)
    inputs = ReturnsCache(bars).inputs("A", {"A": 1.0, "B": 2.0}, {"A": 104.0, "B": 52.0})
    assert inputs.snapshot == "ed1bab729a550352317c58f242559a6d1202cd7875b1124f83669587be3b65b5"


@LAW
@given(portfolios(), st.sampled_from(["shares", "price", "close", "date", "target"]))
def test_whatever_changes_changes_the_snapshot(portfolio: Portfolio, what: str) -> None:
    before = portfolio.inputs("N0").snapshot
    bars, targets = portfolio.bars, None
    if what == "shares":
        portfolio.holdings["N0"] *= 1.0 + 1e-15
    elif what == "price":
        portfolio.prices["N0"] *= 1.0 + 1e-15
    elif what == "close":
        closes = bars.closes.copy()
        closes[0, 0] *= 1.0 + 1e-15
        portfolio = portfolio._replace(bars=Bars(bars.dates, bars.tickers, closes))
    elif what == "date":
        dates = ("1999-12-31", *bars.dates[1:])
        portfolio = portfolio._replace(bars=Bars(dates, bars.tickers, bars.closes))
    else:
        targets = {name: 1.0 if name == "N0" else 2.0 for name in portfolio.holdings}
    after = portfolio.inputs("N0", targets).snapshot
    assert (after == before) == (what == "target" and len(portfolio.holdings) == 1)


def test_the_gap_to_a_budget_that_is_met_is_equal_on_every_machine() -> None:
    longs = PORTFOLIO._replace(holdings={"A": 3.0, "B": 2.5, "C": 7.0})
    risks = {name: outcomes(longs.inputs(name))["portfolio_risk"] for name in longs.holdings}
    receipt = issue(longs, "A", {name: float(risk) for name, risk in risks.items()})
    gap = receipt.results["allocation_score"]
    assert isinstance(gap, float)
    assert abs(gap) < 1e-12

    def recorded(score: float) -> Receipt:
        return receipt.model_copy(update={"results": {**receipt.results, "allocation_score": score}})

    # The share of risk on another machine differs in its last digits, and so does the gap.
    assert recompute(recorded(gap + 4e-15), longs.bars, BUILT_IN).equal
    assert not recompute(recorded(gap + 1e-11), longs.bars, BUILT_IN).equal


def test_columns_that_are_not_held_are_no_part_of_it() -> None:
    fewer = PORTFOLIO._replace(holdings={"A": 3.0, "C": 7.0})
    columns = [PORTFOLIO.bars.column[name] for name in ("C", "A")]
    own = fewer._replace(bars=Bars(PORTFOLIO.bars.dates, ("C", "A"), PORTFOLIO.bars.closes[:, columns]))
    assert fewer.inputs("A").snapshot == own.inputs("A").snapshot


@LAW
@given(portfolios())
def test_a_receipt_recomputes_to_itself(portfolio: Portfolio) -> None:
    receipt = Receipt.model_validate_json(issue(portfolio, "N0").model_dump_json())
    replay = recompute(receipt, portfolio.bars, BUILT_IN)
    assert replay.equal
    assert [each.metric for each in replay.comparisons] == list(BUILT_IN)
    assert all(each.recorded == each.recomputed for each in replay.comparisons)


def test_errors_are_part_of_a_receipt() -> None:
    alone = make_portfolio({"A": 1.0}, rows=100)
    receipt = issue(alone, "A")
    assert receipt.results["correlation"] == "no_other_holdings"
    assert receipt.results["momentum"] == "insufficient_history"
    assert recompute(receipt, alone.bars, BUILT_IN).equal


def test_targets_are_part_of_a_receipt() -> None:
    receipt = issue(PORTFOLIO, "A", {"A": 1.0, "B": 2.0})
    assert recompute(receipt, PORTFOLIO.bars, BUILT_IN).equal
    without = receipt.model_copy(update={"targets": Targets()})
    assert not recompute(without, PORTFOLIO.bars, BUILT_IN).equal


def test_bars_that_closed_since_do_no_harm() -> None:
    earlier = PORTFOLIO._replace(bars=PORTFOLIO.bars.until(PORTFOLIO.bars.dates[-5]))
    receipt = issue(earlier, "A")
    assert recompute(receipt, PORTFOLIO.bars, BUILT_IN).equal
    unknown = receipt.model_copy(update={"last_bar": None})
    assert not recompute(unknown, PORTFOLIO.bars, BUILT_IN).snapshot_equal


@pytest.mark.parametrize("wrong", [0.1234, "zero_variance"])
def test_it_says_where_a_receipt_differs(wrong: float | str) -> None:
    receipt = issue(PORTFOLIO, "A")
    forged = receipt.model_copy(update={"results": receipt.results | {"correlation": wrong}})
    replay = recompute(forged, PORTFOLIO.bars, BUILT_IN)
    assert replay.snapshot_equal
    assert not replay.equal
    (different,) = [each for each in replay.comparisons if not each.equal]
    assert (different.metric, different.recorded) == ("correlation", wrong)
    assert different.recomputed == receipt.results["correlation"]


def test_the_last_digits_of_another_machine_are_equal() -> None:
    receipt = issue(PORTFOLIO, "A")
    value = receipt.results["portfolio_risk"]
    assert isinstance(value, float)
    for factor, equal in ((1.0 + 1e-12, True), (1.0 + 1e-8, False)):
        results = receipt.results | {"portfolio_risk": value * factor}
        assert (
            recompute(receipt.model_copy(update={"results": results}), PORTFOLIO.bars, BUILT_IN).equal
            is equal
        )


def test_another_method_or_a_metric_not_installed_differs() -> None:
    receipt = issue(PORTFOLIO, "A")
    older = recompute(receipt.model_copy(update={"method": "0"}), PORTFOLIO.bars, BUILT_IN)
    assert (older.method_equal, older.equal) == (False, False)
    results = receipt.results | {"mine": 0.5}
    with_mine = receipt.model_copy(update={"results": results})
    replay = recompute(with_mine, PORTFOLIO.bars, BUILT_IN)
    assert (replay.comparisons[-1].recomputed, replay.equal) == (None, False)
    assert recompute(with_mine, PORTFOLIO.bars, BUILT_IN.extended(Metric("mine", lambda _: 0.5))).equal


def test_a_receipt_of_nothing_cannot_be_worked_out() -> None:
    receipt = issue(PORTFOLIO, "A").model_copy(update={"prices": {}})
    with pytest.raises(AnalysisError, match="bad_price"):
        recompute(receipt, PORTFOLIO.bars, BUILT_IN)


@pytest.mark.parametrize("change", [{"snapshot": "short"}, {"results": {"momentum": float("nan")}}])
def test_a_receipt_is_checked(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Receipt.model_validate(issue(PORTFOLIO, "A").model_dump() | change)
