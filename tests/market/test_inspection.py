"""What is suspicious about closes, and what is not."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.market import Bars, LastCloses, NameReport, inspect, read_bars
from tests.market.laws import LAW

CASES = Path(__file__).parents[1] / "cases"


def of(*closes: float, step: int = 1) -> NameReport:
    first = date(2026, 1, 1)
    dates = tuple((first + timedelta(step * n)).isoformat() for n in range(len(closes)))
    (report,) = inspect(Bars(dates, ("A",), np.array(closes).reshape(-1, 1)))
    return report


def reports(case: str) -> dict[str, NameReport]:
    return {report.ticker: report for report in inspect(read_bars(CASES / f"{case}.csv"))}


def test_a_split_is_named() -> None:
    found = reports("split_10to1_unadjusted")
    (jump,) = found["AAPL"].jumps
    assert (jump.date, jump.split, jump.undone_on, jump.is_unit) == ("2026-09-03", "10:1", None, False)
    assert "nearest split 10:1" in str(jump)
    assert found["MSFT"].jumps == found["GOOGL"].jumps == ()


def test_a_day_in_another_unit_is_named() -> None:
    found = reports("one_day_in_pounds")
    (jump,) = found["VOD.L"].jumps
    assert (jump.date, jump.undone_on, jump.is_unit) == ("2026-10-01", "2026-10-02", True)
    assert "factor 100" in str(jump)
    assert found["AAPL"].jumps == ()


@pytest.mark.parametrize(
    ("after", "split"),
    [
        (50.5, "2:1"),
        (33.0, "3:1"),
        (26.0, "4:1"),
        (5.1, "20:1"),
        (64.0, "3:2"),
        (810.0, "1:8"),
        (199.0, "1:2"),
    ],
)
def test_the_nearest_split(after: float, split: str) -> None:
    (jump,) = of(100, 101, after, after).jumps
    assert jump.split == split


@pytest.mark.parametrize("after", [67.0, 149.0])
def test_a_bad_or_a_good_day_is_no_jump(after: float) -> None:
    assert of(100, after, after).jumps == ()


def test_a_wrong_close_is_told_once() -> None:
    (jump,) = of(10, 10, 99, 10, 10).jumps
    assert (jump.date, jump.undone_on) == ("2026-01-03", "2026-01-04")
    assert str(jump).endswith("a wrong close?")


def test_noise_is_counted_and_not_told_close_by_close() -> None:
    rng = np.random.default_rng(0)
    report = of(*(rng.uniform(1, 500, 5_000)))
    assert report.jumped > 3_000
    assert len(report.jumps) <= 20


def test_a_change_of_the_unit_for_good_is_one() -> None:
    (jump,) = of(7_000, 7_100, 70.5, 70.9).jumps
    assert (jump.is_unit, jump.undone_on) == (True, None)


@pytest.mark.parametrize(
    ("step", "calendar"), [(1, "every day, 365"), (7, "weekly, 52"), (30, "monthly, 12")]
)
def test_calendars(step: int, calendar: str) -> None:
    report = of(*[10.0] * 60, step=step)
    assert (report.calendar, report.gaps, report.longest_gap) == (calendar, 0, step)


def test_weekdays_have_gaps_where_a_week_is_missing() -> None:
    found = reports("stocks_plus_btc_ends_on_sunday")
    assert (found["AAPL"].calendar, found["AAPL"].gaps, found["AAPL"].closes) == ("weekdays, 252", 0, 450)
    assert (found["BTC-USD"].calendar, found["BTC-USD"].gaps) == ("every day, 365", 0)
    bars = read_bars(CASES / "stocks_plus_btc_ends_on_sunday.csv")
    closes = bars.closes.copy()
    closes[300:307] = math.nan
    holed = {report.ticker: report.gaps for report in inspect(Bars(bars.dates, bars.tickers, closes))}
    assert holed == {"AAPL": 1, "MSFT": 1, "GOOGL": 1, "BTC-USD": 1}


def test_a_name_without_a_close_has_no_calendar() -> None:
    report = of(math.nan, math.nan)
    assert (report.closes, report.first, report.last, report.calendar) == (0, None, None, "-")


CLOSES = st.one_of(st.just(math.nan), st.floats(1e-6, 1e9))


@LAW
@given(st.lists(st.lists(CLOSES, min_size=3, max_size=3), min_size=1, max_size=150))
def test_the_last_close_is_the_last(rows: list[list[float]]) -> None:
    first = date(2026, 1, 1)
    dates = tuple((first + timedelta(n)).isoformat() for n in range(len(rows)))
    last = LastCloses(Bars(dates, ("A", "B", "C"), np.array(rows)))
    newest = max((n for n, row in enumerate(rows) if not all(map(math.isnan, row))), default=None)
    assert last.newest == (None if newest is None else dates[newest])
    for column, name in enumerate(("A", "B", "C")):
        known = [n for n, row in enumerate(rows) if not math.isnan(row[column])]
        assert last.date_of(name) == (dates[known[-1]] if known else None)
        assert last.close_of(name) == (rows[known[-1]][column] if known else None)
        assert last.has_ended(name) is (not known or newest is None or newest - known[-1] > 7)
        for day in (dates[0], dates[-1]):
            assert (name in last.older_than(day)) is bool(known and dates[known[-1]] < day)
    assert last.date_of("D") is None
    assert last.has_ended("D")
