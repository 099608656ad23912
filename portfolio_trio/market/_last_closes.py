"""Each name's newest close, which may be some rows before the last if its calendar differs."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portfolio_trio.metrics.bars import Bars

MAX_LAG_DAYS: Final = 7
"""A close up to this many days older than the newest of all still counts; an older one has ended."""


class LastCloses:
    """The newest close of each name of some bars; computed once for them.

    Attributes:
        bars: The bars.
        newest: The newest date on which any name has a close; None if none has one.
    """

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        rows = bars.newest_rows
        # As a list: names are looked up here one at a time.
        self._rows = rows.tolist()
        last = int(rows.max(initial=-1))
        self.newest = bars.dates[last] if last >= 0 else None
        self._old: tuple[str, frozenset[str]] = ("", frozenset())
        self._oldest_row = _first_row_from(bars.dates, self.newest)

    def date_of(self, ticker: str) -> str | None:
        """ISO date of a name's newest close; None if it has none."""
        row = self._row(ticker)
        return None if row is None else self.bars.dates[row]

    def close_of(self, ticker: str) -> float | None:
        """A name's newest close, in currency units; None if it has none."""
        row = self._row(ticker)
        return None if row is None else float(self.bars.closes[row, self.bars.column[ticker]])

    def has_ended(self, ticker: str) -> bool:
        """Whether a name has no close within `MAX_LAG_DAYS` of the newest, so that its value is unknown."""
        row = self._row(ticker)
        return row is None or row < self._oldest_row

    def older_than(self, day: str) -> frozenset[str]:
        """The names that have closes, but none on an ISO date or later; cached for the last date."""
        if self._old[0] != day:
            first = bisect_left(self.bars.dates, day)
            old = (t for t, row in zip(self.bars.tickers, self._rows, strict=True) if 0 <= row < first)
            self._old = day, frozenset(old)
        return self._old[1]

    def _row(self, ticker: str) -> int | None:
        column = self.bars.column.get(ticker)
        row = -1 if column is None else self._rows[column]
        return row if row >= 0 else None


def _first_row_from(dates: tuple[str, ...], newest: str | None) -> int:
    """The first row that is at most `MAX_LAG_DAYS` older than a date."""
    if newest is None:
        return len(dates)
    try:
        day = date.fromisoformat(newest).toordinal()
    except ValueError:
        # A plug-in's own form of date, whose age is unknown.
        return 0
    return bisect_left(dates, date.fromordinal(max(day - MAX_LAG_DAYS, 1)).isoformat())
