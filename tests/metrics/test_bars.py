"""Closed bars: checked, immutable, cut at a date."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_trio.metrics import Bars, ReturnsCache
from tests.metrics.support import iso_dates, make_bars, outcome, walk


def test_shapes_dates_and_names_must_fit() -> None:
    closes = walk(["A", "B"], rows=3)
    with pytest.raises(ValueError, match="shape"):
        Bars(iso_dates(2), ("A", "B"), closes)
    with pytest.raises(ValueError, match="increase"):
        Bars(("2020-01-01", "2020-01-03", "2020-01-03"), ("A", "B"), closes)
    for wrong in ("day 1", "2020-1-1", "20200101", "2020-13-01", "2020-01-0a"):
        with pytest.raises(ValueError, match=r"(?i)date"):
            Bars((wrong,), ("A",), closes[:1, :1])
    with pytest.raises(ValueError, match="twice"):
        Bars(iso_dates(3), ("A", "A"), closes)


def test_they_are_immutable_and_their_own() -> None:
    closes = walk(["A", "B"], rows=3)
    bars = make_bars(["A", "B"], closes)
    closes[0, 0] = 1.0
    assert bars.closes[0, 0] != 1.0
    with pytest.raises(ValueError, match="read-only"):
        bars.closes[0, 0] = 1.0


def test_they_can_be_cut_at_a_date() -> None:
    bars = make_bars(["A"], walk(["A"], rows=10))
    assert bars.until("2020-01-07").dates == iso_dates(5)
    assert bars.until("2019-12-31").dates == ()
    assert bars.until("2030-01-01") is bars


def test_a_names_own_closes_are_told_by_their_days() -> None:
    closes = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, np.nan]])
    bars = Bars(("1969-12-31", "1970-01-01", "1970-01-05"), ("A", "NEVER"), closes)
    days, own = bars.own_closes("A")
    assert (days.tolist(), own.tolist()) == ([-1, 4], [1.0, 2.0])
    assert [len(bars.own_closes(name)[1]) for name in ("NEVER", "UNKNOWN")] == [0, 0]
    assert bars.newest_rows.tolist() == [2, -1]
    assert bars.column_digest("NEVER") == bars.column_digest("UNKNOWN") != bars.column_digest("A")


def test_a_name_that_ended_long_ago_has_its_newest_row_all_the_same() -> None:
    closes = walk(["A", "ENDED"], rows=500)
    closes[100:, 1] = np.nan
    assert make_bars(["A", "ENDED"], closes).newest_rows.tolist() == [499, 99]


def test_without_any_there_is_no_last_one() -> None:
    empty = Bars((), (), np.empty((0, 0)))
    inputs = ReturnsCache(empty).inputs("A", {"A": 1.0}, {"A": 2.0})
    assert inputs.last_bar is None
    assert outcome("concentration", inputs) == 1.0
    assert outcome("momentum", inputs) == "insufficient_history"
    assert inputs.close_at(-1) is None
