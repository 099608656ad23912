"""Closed daily bars: the price history that every metric of every session reads."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


@dataclass(frozen=True, slots=False, eq=False)
class Bars:
    """Closing prices of closed daily bars, oldest first; immutable.

    Attributes:
        dates: ISO dates (``2026-11-20``), strictly increasing, shape ``(T,)``.
        tickers: One name per column, unique, shape ``(M,)``.
        closes: Closing prices in currency units, shape ``(T, M)``, read-only;
            NaN where a name has no close on that day. Every finite entry is positive.

    Raises:
        ValueError: The shapes do not fit, dates do not increase or a ticker stands twice.
    """

    dates: tuple[str, ...]
    tickers: tuple[str, ...]
    closes: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.closes.shape != (len(self.dates), len(self.tickers)):
            raise ValueError(
                f"closes has shape {self.closes.shape}; {len(self.dates)} dates and "
                f"{len(self.tickers)} tickers want {(len(self.dates), len(self.tickers))}"
            )
        if any(a >= b for a, b in zip(self.dates, self.dates[1:], strict=False)):
            raise ValueError("dates must increase strictly, oldest first")
        if len(self.column) != len(self.tickers):
            raise ValueError("a ticker stands twice")
        # A metric reads one name's history, so a column lies in one piece.
        closes = np.array(self.closes, dtype=np.float64, order="F")
        # What is not a positive finite price is a missing price.
        closes[~(np.isfinite(closes) & (closes > 0.0))] = np.nan
        closes.setflags(write=False)
        object.__setattr__(self, "closes", closes)

    @cached_property
    def column(self) -> Mapping[str, int]:
        """The column of each ticker."""
        return {ticker: index for index, ticker in enumerate(self.tickers)}

    @cached_property
    def calendar_digest(self) -> bytes:
        """SHA-256 of the dates joined by line feeds, in UTF-8; 32 bytes."""
        return hashlib.sha256("\n".join(self.dates).encode()).digest()

    @cached_property
    def _column_digests(self) -> dict[str, bytes]:
        return {}

    def column_digest(self, ticker: str) -> bytes:
        """SHA-256 of one name's closes as big-endian IEEE-754 doubles, oldest first; 32 bytes.

        A missing close is the quiet NaN ``7ff8000000000000``. A name without a column is a name
        whose closes are all missing: both give the same metrics, so both give the same digest.
        """
        digest = self._column_digests.get(ticker)
        if digest is None:
            index = self.column.get(ticker)
            closes = np.full(len(self.dates), np.nan) if index is None else self.closes[:, index]
            digest = hashlib.sha256(closes.astype(">f8").tobytes()).digest()
            if index is not None:
                self._column_digests[ticker] = digest
        return digest

    def until(self, date: str) -> Bars:
        """The bars up to and including an ISO date: what was closed history at that time."""
        end = bisect_right(self.dates, date)
        return self if end == len(self.dates) else Bars(self.dates[:end], self.tickers, self.closes[:end])
