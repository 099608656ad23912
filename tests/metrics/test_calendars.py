"""Mixed calendars: names that are not held never count, and every number equals that of a slow reference."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portfolio_trio.metrics import BUILT_IN, METHOD_VERSION, Bars, MetricError, Receipt, compute, recompute
from tests.metrics.mixed import CALENDARS, END, Mixed, mixes, series
from tests.metrics.reference import five
from tests.metrics.support import LAW, outcomes

if TYPE_CHECKING:
    from portfolio_trio.metrics import AnalysisInputs

CASES = Path(__file__).parents[1] / "cases"


def whole(inputs: AnalysisInputs) -> dict[str, object]:
    """Every value, detail and error, the snapshot and the last bar: all that a client gets to see."""
    seen: dict[str, object] = {"snapshot": inputs.snapshot, "last_bar": inputs.last_bar}
    for name, metric in BUILT_IN.items():
        try:
            result = compute(metric, inputs)
        except MetricError as error:
            seen[name] = (error.code, error.reason, error.tickers)
        else:
            assert result.detail is not None
            seen[name] = (result.value, result.detail.model_dump())
    return seen


def same(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    return found == expected


@settings(LAW, max_examples=60)
@given(mixes())
def test_every_number_is_the_one_worked_out_by_hand(mixed: Mixed) -> None:
    assume(mixed.holdings)
    for ticker in mixed.holdings:
        found = outcomes(mixed.inputs(ticker))
        expected = five(mixed.closes, mixed.holdings, mixed.prices, ticker, mixed.cash).named()
        assert {name: same(found[name], expected[name]) for name in expected} == dict.fromkeys(
            expected, True
        ), (
            ticker,
            found,
            expected,
        )


@pytest.mark.parametrize("days", [560, 1900, 2700])
@pytest.mark.parametrize("kind", CALENDARS)
def test_every_calendar_alone(kind: str, days: int) -> None:
    closes = {"N": series(kind, 3, days)}
    mixed = Mixed(closes, {"N": 10.0}, frozenset())
    found = outcomes(mixed.inputs("N"))
    expected = five(closes, mixed.holdings, mixed.prices, "N").named()
    assert all(same(found[name], expected[name]) for name in expected), (found, expected)


@settings(LAW, max_examples=60)
@given(mixes(), st.data())
def test_what_nobody_holds_changes_no_bit(mixed: Mixed, data: st.DataObject) -> None:
    assume(mixed.holdings)
    ticker = data.draw(st.sampled_from(tuple(mixed.holdings)))
    held = tuple(name for name in mixed.closes if name in mixed.holdings)
    alone = whole(mixed.inputs(ticker, mixed.bars(names=held)))
    # Columns of others, before, between and behind, of any calendar.
    columns = data.draw(st.permutations(tuple(mixed.closes)))
    blank = data.draw(st.lists(st.integers(-1500, 20), max_size=30))
    extra = tuple(END + timedelta(days=day) for day in blank)
    assert whole(mixed.inputs(ticker, mixed.bars(names=tuple(columns)))) == alone
    # Rows in which nothing has a close.
    assert whole(mixed.inputs(ticker, mixed.bars(names=held, extra=extra))) == alone
    # A whole calendar more, so that every row of the file is another.
    other = data.draw(st.sampled_from(tuple(CALENDARS)))
    shifted = Mixed({"OTHER": series(other, 9, 2500), **mixed.closes}, mixed.holdings, mixed.cash)
    assert whole(shifted.inputs(ticker)) == alone


@settings(LAW, max_examples=40)
@given(mixes(), st.sampled_from(tuple(CALENDARS)))
def test_a_receipt_of_before_replays_when_a_column_is_added(mixed: Mixed, other: str) -> None:
    assume(mixed.holdings)
    ticker = next(iter(mixed.holdings))
    inputs = mixed.inputs(ticker)
    receipt = Receipt(
        ticker=ticker,
        holdings=mixed.holdings,
        prices=mixed.prices,
        snapshot=inputs.snapshot,
        method=METHOD_VERSION,
        tick_id=1,
        as_of="2026-11-25T21:00:00Z",
        last_bar=inputs.last_bar,
        cash=tuple(sorted(inputs.history.cash)),
        results=outcomes(inputs),
    )
    grown = Mixed({**mixed.closes, "OTHER": series(other, 11, 900)}, mixed.holdings, mixed.cash)
    replay = recompute(receipt, grown.bars(), BUILT_IN)
    assert replay.equal
    assert all(each.recorded == each.recomputed for each in replay.comparisons)


def read(case: str) -> Mixed:
    """A price file of the cases, 100 AAPL, 50 GOOGL and 75 MSFT held of it."""
    with (CASES / case).open() as file:
        header, *rows = csv.reader(file)
    closes = {
        name: {date.fromisoformat(row[0]): float(row[place]) for row in rows if row[place]}
        for place, name in enumerate(header)
        if place
    }
    return Mixed(closes, {"AAPL": 100.0, "GOOGL": 50.0, "MSFT": 75.0}, frozenset())


def test_a_coin_that_nobody_holds_moves_no_stock() -> None:
    plain, with_coin = (read(case) for case in ("stocks_only.csv", "stocks_plus_btc_calendar_days.csv"))
    assert len(with_coin.bars().dates) > len(plain.bars().dates)
    inputs = plain.inputs("AAPL")
    assert whole(with_coin.inputs("AAPL")) == whole(inputs)
    found = outcomes(inputs)
    assert found["momentum"] == pytest.approx(-0.258414, abs=5e-7)
    assert found["correlation"] == pytest.approx(0.2059, abs=5e-5)
    assert inputs.periods == 252


def test_a_coin_is_counted_in_its_own_days() -> None:
    coin = read("stocks_plus_btc_calendar_days.csv")._replace(holdings={"BTC-USD": 2.0})
    inputs = coin.inputs("BTC-USD")
    closes = list(coin.closes["BTC-USD"].values())
    assert (inputs.periods, inputs.trend.year, inputs.trend.month) == (365, 365, 30)
    assert inputs.trend.raw == closes[-31] / closes[-366] - 1.0
    # Beside a stock the returns are those of common days, and its own year is the same.
    both = coin._replace(holdings={"BTC-USD": 2.0, "AAPL": 10.0}).inputs("BTC-USD")
    assert (both.periods, both.trend.year, both.trend.raw) == (252, 365, inputs.trend.raw)


@pytest.mark.parametrize(("apart", "given"), [(14, True), (15, False)])
def test_closes_more_than_14_days_apart_give_no_return(apart: int, *, given: bool) -> None:
    days = [END - timedelta(days=apart * place) for place in range(300)][::-1]
    walk = 100.0 + np.random.default_rng(0).normal(size=300)
    bars = Bars(tuple(day.isoformat() for day in days), ("N",), walk[:, np.newaxis])
    mixed = Mixed({"N": dict(zip(days, walk.tolist(), strict=True))}, {"N": 1.0}, frozenset())
    inputs = mixed.inputs("N", bars)
    assert inputs.n_obs == (252 if given else 0)
    found = outcomes(inputs)
    assert (found["portfolio_risk"] == 1.0) == given
    if not given:
        with pytest.raises(MetricError, match="more than 14 days apart: N"):
            compute(BUILT_IN["portfolio_risk"], inputs)
