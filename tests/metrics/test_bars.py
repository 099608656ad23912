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
    assert bars.until("2020-01-04").dates == iso_dates(4)
    assert bars.until("2019-12-31").dates == ()
    assert bars.until("2030-01-01") is bars


def test_without_any_there_is_no_last_one() -> None:
    empty = Bars((), (), np.empty((0, 0)))
    inputs = ReturnsCache(empty).inputs("A", {"A": 1.0}, {"A": 2.0})
    assert inputs.last_bar is None
    assert outcome("concentration", inputs) == 1.0
    assert outcome("momentum", inputs) == "insufficient_history"
    assert inputs.close_at(-1) is None
