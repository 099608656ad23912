"""Closed daily bars: the price history that every metric of every session reads."""

from __future__ import annotations

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
        # What is not a positive finite price is a missing price.
        closes = np.array(self.closes, dtype=np.float64)
        closes[~(np.isfinite(closes) & (closes > 0.0))] = np.nan
        closes.setflags(write=False)
        object.__setattr__(self, "closes", closes)

    @cached_property
    def column(self) -> Mapping[str, int]:
        """The column of each ticker."""
        return {ticker: index for index, ticker in enumerate(self.tickers)}
