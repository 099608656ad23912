"""Which rows a set of names has in common, and how many of them make a year."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from portfolio_trio.metrics.history import WINDOW, weigh

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars

LONGEST_GAP: Final = 14
"""Days between two closes up to which they give a return."""
DAYS_IN_YEAR: Final = 365.25
NEAR: Final = 384
"""Newest rows of the file that are looked at first: a year of weekdays among those of seven-day names."""

# Returns a year from which names trade every day, and up to which closes are weekly or monthly.
_EVERY_DAY, _WEEKLY, _MONTHLY = 300.0, 60.0, 20.0


def periods_in_year(returns: int, days: int) -> int:
    """What is conventional, 365, 252, 52 or 12, for so many returns in so many days."""
    frequency = returns * DAYS_IN_YEAR / days if days > 0 else 0.0
    if frequency >= _EVERY_DAY:
        return 365
    if frequency <= _MONTHLY:
        return 12
    return 52 if frequency <= _WEEKLY else 252


class Steps(NamedTuple):
    """Returns, oldest first, each from one row of the bars to another; both of shape ``(L,)``."""

    start: npt.NDArray[np.intp]
    end: npt.NDArray[np.intp]

    @classmethod
    def between(cls, rows: npt.NDArray[np.intp], days: npt.NDArray[np.int64]) -> Steps:
        """Between consecutive rows of a calendar, those over `LONGEST_GAP` days left out."""
        start, end = rows[:-1], rows[1:]
        near = days[end] - days[start] <= LONGEST_GAP
        return cls(start, end) if near.all() else cls(start[near], end[near])

    def newest(self) -> Steps:
        """The last 252 of them."""
        return Steps(self.start[-WINDOW:], self.end[-WINDOW:])

    def returns(
        self, closes: npt.NDArray[np.float64], columns: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """``P_end / P_start - 1`` of some columns, shape ``(L, N)``; infinite where it has no double."""
        # A ratio too large for a double is a broken series: it counts as missing, like NaN.
        with np.errstate(over="ignore"):
            ratios: npt.NDArray[np.float64] = (
                closes[np.ix_(self.end, columns)] / closes[np.ix_(self.start, columns)]
            )
        return ratios - 1.0

    def periods(self, days: npt.NDArray[np.int64]) -> int:
        """Periods in a year, A, as observed from the first row to the last."""
        count = len(self.end)
        return periods_in_year(count, int(days[self.end[-1]] - days[self.start[0]]) if count else 0)


class Window(NamedTuple):
    """The newest common returns of N names.

    Attributes:
        weighted: ``sqrt(k) * R``, one row per name, shape ``(N, L)``.
        periods: How many such returns make a year, A: 365, 252, 52 or 12.
    """

    weighted: npt.NDArray[np.float64]
    periods: int


class _Group(NamedTuple):
    """Names with closes in the same newest rows, where these make a full window."""

    weighted: npt.NDArray[np.float64]
    complete: npt.NDArray[np.bool_]
    periods: int


class Calendars:
    """The common returns of any names of one set of bars.

    Names that have closes in the very same of the newest rows share one array of weighted returns: for
    a portfolio of one exchange only its names are picked from it. Where the calendars of a portfolio
    differ, or the newest rows hold no full window, its rows are looked for in as much of the past as it
    takes. What any other name has or lacks does not enter.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._groups: dict[int, _Group | None] = {}

    def window(self, columns: npt.NDArray[np.intp]) -> Window:
        """The newest common returns of some columns; of a name without a column, -1, there are none."""
        return self._shared(columns) or self._searched(columns)

    def _shared(self, columns: npt.NDArray[np.intp]) -> Window | None:
        """Of names in one group; None where they are in several, or their group has no full window."""
        if columns.min() < 0 or not self._bars.dates:
            return None
        signatures, places = self._signatures
        own = signatures[columns]
        number = int(own[0])
        if not (own == number).all():
            return None
        if number not in self._groups:
            self._groups[number] = self._group(np.flatnonzero(signatures == number))
        group = self._groups[number]
        if group is None:
            return None
        within = places[columns]
        return Window(group.weighted[within], group.periods) if group.complete[within].all() else None

    @cached_property
    def _signatures(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The group of each column, and the place of the column among those of its group."""
        packed = np.packbits(np.isfinite(self._bars.closes[-NEAR:]), axis=0)
        # One opaque value for each column, which sorts and compares as a whole.
        keys = np.ascontiguousarray(packed.T).view(f"V{len(packed)}").ravel()
        _, groups, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        places = np.empty(len(groups), dtype=np.intp)
        first = np.cumsum(sizes) - sizes
        places[np.argsort(groups, kind="stable")] = np.arange(len(groups)) - np.repeat(first, sizes)
        return groups, places

    def _group(self, columns: npt.NDArray[np.intp]) -> _Group | None:
        bars = self._bars
        oldest = max(len(bars.dates) - NEAR, 0)
        rows = np.flatnonzero(np.isfinite(bars.closes[oldest:, columns[0]])) + oldest
        steps = Steps.between(rows, bars.days).newest()
        if len(steps.end) < WINDOW:
            return None
        returns = steps.returns(bars.closes, columns)
        complete: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(returns), axis=0)
        return _Group(weigh(returns), complete, steps.periods(bars.days))

    def _searched(self, columns: npt.NDArray[np.intp]) -> Window:
        """Of any names, from the newest rows, or from all where these do not hold a full window."""
        bars = self._bars
        window = Window(np.empty((len(columns), 0)), periods_in_year(0, 0))
        if columns.min() < 0:
            return window
        for rows in _common_rows(bars.closes, columns):
            steps = Steps.between(rows, bars.days)
            window, full = self._weighted(steps, columns)
            if full:
                break
        return window

    def _weighted(self, steps: Steps, columns: npt.NDArray[np.intp]) -> tuple[Window, bool]:
        """The newest window of some steps, and whether it is full."""
        newest = steps.newest()
        returns = newest.returns(self._bars.closes, columns)
        finite = np.isfinite(returns).all(axis=1)
        if not finite.all():
            # Rare enough to look at all of them once more.
            finite = np.isfinite(steps.returns(self._bars.closes, columns)).all(axis=1)
            newest = Steps(steps.start[finite], steps.end[finite]).newest()
            returns = newest.returns(self._bars.closes, columns)
        return Window(weigh(returns), newest.periods(self._bars.days)), len(newest.end) == WINDOW


def _common_rows(
    closes: npt.NDArray[np.float64], columns: npt.NDArray[np.intp]
) -> Iterator[npt.NDArray[np.intp]]:
    """The rows that all columns have: of the newest first, then of ever more of the past."""
    total = len(closes)
    for depth in (NEAR, 4 * NEAR, total):
        oldest = max(total - depth, 0)
        common = np.ones(total - oldest, dtype=np.bool_)
        # A column lies in one piece: this reads each once and copies none.
        for column in columns.tolist():
            common &= np.isfinite(closes[oldest:, column])
        yield np.flatnonzero(common) + oldest
        if not oldest:
            return
