"""Closed daily bars: the price history that all metrics of all sessions read."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.trend import trend_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.trend import Trend

_DATE_LENGTH = len("2026-11-20")
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=False, eq=False)
class Bars:
    """Closing prices of closed daily bars, oldest first; immutable.

    Attributes:
        dates: ISO dates (``2026-11-20``), strictly increasing, shape ``(T,)``.
        tickers: One name per column, unique, shape ``(M,)``.
        closes: Closing prices in currency units, shape ``(T, M)``, read-only;
            NaN if a name has no close on that day. Every finite entry is positive.
        days: The dates in days since 1970-01-01, shape ``(T,)``, read-only.

    Raises:
        ValueError: The shapes do not match, a date is invalid, dates do not increase or a ticker occurs
            twice.
    """

    dates: tuple[str, ...]
    tickers: tuple[str, ...]
    closes: npt.NDArray[np.float64]
    days: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.closes.shape != (len(self.dates), len(self.tickers)):
            raise ValueError(
                f"closes has shape {self.closes.shape}; {len(self.dates)} dates and "
                f"{len(self.tickers)} tickers need {(len(self.dates), len(self.tickers))}"
            )
        if any(a >= b for a, b in zip(self.dates, self.dates[1:], strict=False)):
            raise ValueError("dates must increase strictly, oldest first")
        if len(self.column) != len(self.tickers):
            raise ValueError("a ticker occurs twice")
        object.__setattr__(self, "days", _days(self.dates))
        # A metric reads one name's history, so columns are contiguous.
        closes = np.array(self.closes, dtype=np.float64, order="F")
        # A value that is not a positive finite price is a missing price.
        closes[~(np.isfinite(closes) & (closes > 0.0))] = np.nan
        closes.setflags(write=False)
        object.__setattr__(self, "closes", closes)

    @cached_property
    def column(self) -> Mapping[str, int]:
        """The column of each ticker."""
        return {ticker: index for index, ticker in enumerate(self.tickers)}

    @cached_property
    def newest_rows(self) -> npt.NDArray[np.intp]:
        """The row of each name's newest close, -1 if it has none, shape ``(M,)``."""
        newest = np.full(len(self.tickers), -1, dtype=np.intp)
        # From the end, some rows at a time: most newest closes are near it.
        left, end = np.arange(len(self.tickers)), len(self.dates)
        while end > 0 and len(left):
            start = max(end - _ROWS_AT_ONCE, 0)
            known = np.isfinite(self.closes[start:end, left])
            found = known.any(axis=0)
            newest[left[found]] = end - 1 - known[::-1, found].argmax(axis=0)
            left, end = left[~found], start
        return newest

    def own_closes(self, ticker: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The days on which a name has a close, and the closes, oldest first; empty without a column."""
        index = self.column.get(ticker)
        if index is None:
            return self.days[:0], np.empty(0)
        closes = self.closes[:, index]
        there = np.isfinite(closes)
        return (self.days, closes) if there.all() else (self.days[there], closes[there])

    @cached_property
    def _trends(self) -> dict[str, Trend]:
        return {}

    def trend(self, ticker: str) -> Trend:
        """The trend of a name's own closes; computed once."""
        trend = self._trends.get(ticker)
        if trend is None:
            trend = trend_of(*self.own_closes(ticker))
            if ticker in self.column:
                self._trends[ticker] = trend
        return trend

    @cached_property
    def _column_digests(self) -> dict[str, bytes]:
        return {}

    def column_digest(self, ticker: str) -> bytes:
        """SHA-256 digest of one name's closes and their dates; 32 bytes.

        The input is the SHA-256 of the days of its own closes (each as a big-endian 32-bit integer, days
        since 1970-01-01), then those closes as big-endian IEEE-754 doubles, both oldest first. Days on which
        it has no close are not included, so other names' calendars have no effect. A name without a column
        has the same digest as a name without closes: both give the same metrics.
        """
        digest = self._column_digests.get(ticker)
        if digest is None:
            days, closes = self.own_closes(ticker)
            dates = self._days_digest if days is self.days else _digest_of(days)
            digest = hashlib.sha256(dates + closes.astype(">f8").tobytes()).digest()
            if ticker in self.column:
                self._column_digests[ticker] = digest
        return digest

    @cached_property
    def _days_digest(self) -> bytes:
        return _digest_of(self.days)

    def until(self, date: str) -> Bars:
        """The bars up to and including an ISO date: the closed history at that time."""
        end = bisect_right(self.dates, date)
        return self if end == len(self.dates) else Bars(self.dates[:end], self.tickers, self.closes[:end])


def _days(dates: tuple[str, ...]) -> npt.NDArray[np.int64]:
    wrong = next((date for date in dates if len(date) != _DATE_LENGTH), None)
    if wrong is not None:
        raise ValueError(f"dates must be written as 2026-11-20, not {wrong!r}")
    days: npt.NDArray[np.int64] = np.array(dates, dtype="datetime64[D]").astype(np.int64)
    days.setflags(write=False)
    return days


def _digest_of(days: npt.NDArray[np.int64]) -> bytes:
    return hashlib.sha256(days.astype(">i4").tobytes()).digest()
