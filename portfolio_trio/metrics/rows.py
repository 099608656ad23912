"""The rows that a set of names has in common, and the number of them in a year."""

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
"""The maximum number of days between two closes that give a return."""
DAYS_IN_YEAR: Final = 365.25
NEAR: Final = 384
"""The newest rows of the file, examined first: a year of weekdays among the rows of seven-day names."""

# Returns per year from which names count as traded every day, and up to which closes are weekly or monthly.
_EVERY_DAY, _WEEKLY, _MONTHLY = 300.0, 60.0, 20.0


def periods_in_year(returns: int, days: int) -> int:
    """The conventional number, 365, 252, 52 or 12, for a number of returns in a number of days."""
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
        """The steps between consecutive rows of a calendar, without those over `LONGEST_GAP` days."""
        start, end = rows[:-1], rows[1:]
        near = days[end] - days[start] <= LONGEST_GAP
        return cls(start, end) if near.all() else cls(start[near], end[near])

    def newest(self) -> Steps:
        """The last 252 steps."""
        return Steps(self.start[-WINDOW:], self.end[-WINDOW:])

    def returns(
        self, closes: npt.NDArray[np.float64], columns: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """``P_end / P_start - 1`` of some columns, shape ``(N, L)``; infinite if too large for a double."""
        if not len(self.end):
            return np.empty((len(columns), 0))
        first, last = int(self.start[0]), int(self.end[-1])
        # Columns are contiguous, so take the same rows of each.
        prices = closes[first : last + 1].T[columns]
        if last - first == len(self.end):
            before, after = prices[:, :-1], prices[:, 1:]
        else:
            before, after = prices[:, self.start - first], prices[:, self.end - first]
        # A ratio too large for a double means a broken series: it counts as missing, like NaN.
        with np.errstate(over="ignore"):
            returns: npt.NDArray[np.float64] = after / before - 1.0
        return returns

    def periods(self, days: npt.NDArray[np.int64]) -> int:
        """Periods in a year, A, as observed from the first row to the last."""
        count = len(self.end)
        return periods_in_year(count, int(days[self.end[-1]] - days[self.start[0]]) if count else 0)


class Window(NamedTuple):
    """The newest common returns of N names.

    Attributes:
        weighted: ``sqrt(k) * R``, one row per name, shape ``(N, L)``.
        periods: How many such returns make a year, A: 365, 252, 52 or 12.
        newest: The row of the newest close of any of them; -1 if there is none.
    """

    weighted: npt.NDArray[np.float64]
    periods: int
    newest: int


class _Group(NamedTuple):
    """Names with closes in the same newest rows, if these make a full window."""

    window: Window
    # Names with a return that does not fit in a double, which would change the rows of all.
    broken: npt.NDArray[np.intp]


class _Signatures(NamedTuple):
    """Groups of columns that have closes in the same newest rows.

    Attributes:
        group: The group of each column, shape ``(M,)``.
        place: The position of each column within its group, shape ``(M,)``.
        rows: Whether a group has a close, one row per group, one column per row of the bars.
    """

    group: npt.NDArray[np.intp]
    place: npt.NDArray[np.intp]
    rows: npt.NDArray[np.bool_]


class Calendars:
    """The common returns of any names of one set of bars.

    Names that have closes in exactly the same newest rows share one array of weighted returns: for a
    portfolio of one exchange its names are just selected from it. If the calendars of a portfolio differ, or
    the newest rows contain no full window, its rows are searched as far back as necessary. Other names have
    no influence.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._oldest_near = max(len(bars.dates) - NEAR, 0)
        self._groups: dict[int, _Group | None] = {}

    def window(self, columns: npt.NDArray[np.intp]) -> Window:
        """The newest common returns of some columns; a name without a column, -1, has none."""
        if not self._bars.dates or columns.min() < 0:
            known = columns[columns >= 0]
            return Window(np.empty((len(columns), 0)), periods_in_year(0, 0), self._newest(known))
        return self._shared(columns) or self._searched(columns)

    def _newest(self, columns: npt.NDArray[np.intp]) -> int:
        return int(self._bars.newest_rows[columns].max(initial=-1))

    def _shared(self, columns: npt.NDArray[np.intp]) -> Window | None:
        """For names in one group; None if they are in several, or their group has no full window."""
        signatures, number = self._signatures, 0
        if len(signatures.rows) > 1:
            own = signatures.group[columns]
            number = int(own[0])
            if not (own == number).all():
                return None
        if number not in self._groups:
            self._groups[number] = self._group(number)
        group = self._groups[number]
        if group is None or (len(group.broken) and np.isin(columns, group.broken).any()):
            return None
        weighted, periods, newest = group.window
        return Window(weighted[signatures.place[columns]], periods, newest)

    @cached_property
    def _signatures(self) -> _Signatures:
        near = np.isfinite(self._bars.closes[self._oldest_near :].T)
        packed = np.packbits(near, axis=1)
        if (packed == packed[0]).all():
            columns = np.arange(len(near))
            return _Signatures(np.zeros_like(columns), columns, near[:1])
        size, text = packed.shape[1], packed.tobytes()
        numbers: dict[bytes, int] = {}
        counts: list[int] = []
        group, place = np.empty((2, len(near)), dtype=np.intp)
        members: list[int] = []
        for column in range(len(near)):
            number = numbers.setdefault(text[column * size : (column + 1) * size], len(counts))
            if number == len(counts):
                counts.append(0)
                members.append(column)
            group[column], place[column] = number, counts[number]
            counts[number] += 1
        return _Signatures(group, place, near[members])

    def _group(self, number: int) -> _Group | None:
        bars, signatures = self._bars, self._signatures
        rows = np.flatnonzero(signatures.rows[number]) + self._oldest_near
        steps = Steps.between(rows, bars.days).newest()
        if len(steps.end) < WINDOW:
            return None
        columns = np.flatnonzero(signatures.group == number)
        returns = steps.returns(bars.closes, columns)
        broken = columns[~np.isfinite(returns).all(axis=1)]
        return _Group(Window(weigh(returns), steps.periods(bars.days), int(rows[-1])), broken)

    def _searched(self, columns: npt.NDArray[np.intp]) -> Window:
        """For any names, from the newest rows, or from all rows if these contain no full window."""
        bars = self._bars
        newest, steps = self._newest(columns), Steps.between(np.empty(0, dtype=np.intp), bars.days)
        returns = np.empty((len(columns), 0))
        for rows in self._common_rows(columns):
            steps, returns = _finite(Steps.between(rows, bars.days), bars.closes, columns)
            if len(steps.end) == WINDOW:
                break
        return Window(weigh(returns), steps.periods(bars.days), newest)

    def _common_rows(self, columns: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        """The rows that all columns have: among the newest first, then further and further back."""
        signatures, oldest = self._signatures, self._oldest_near
        common = signatures.rows[np.unique(signatures.group[columns])].all(axis=0)
        yield np.flatnonzero(common) + oldest
        total = len(self._bars.dates)
        for depth in (4 * NEAR, total):
            if not oldest:
                return
            oldest = max(total - depth, 0)
            common = np.ones(total - oldest, dtype=np.bool_)
            # This reads each column once and copies none.
            for column in columns.tolist():
                common &= np.isfinite(self._bars.closes[oldest:, column])
            yield np.flatnonzero(common) + oldest


def _finite(
    steps: Steps, closes: npt.NDArray[np.float64], columns: npt.NDArray[np.intp]
) -> tuple[Steps, npt.NDArray[np.float64]]:
    """The newest 252 steps at which every return fits in a double, and the returns."""
    newest = steps.newest()
    returns = newest.returns(closes, columns)
    if not np.isfinite(returns).all():
        # Rare enough to examine all of them once more.
        finite = np.isfinite(steps.returns(closes, columns)).all(axis=0)
        newest = Steps(steps.start[finite], steps.end[finite]).newest()
        returns = newest.returns(closes, columns)
    return newest, returns
