"""The closed bars of a price book: those its source lists, and those of names admitted since."""

from __future__ import annotations

from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from portfolio_trio.market._errors import BookNotOpenError
from portfolio_trio.market._last_closes import LastCloses
from portfolio_trio.metrics.bars import Bars

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

_NONE: Final = float("nan")


class _Ordered(NamedTuple):
    """Prices, and the same in the order of the columns of some bars."""

    prices: Mapping[str, float]
    bars: Bars
    ordered: npt.NDArray[np.float64]


class Columns:
    """One table, to which columns are added and from which they are removed.

    A name's column is either in the table or among those that wait to be merged into it, never in both. Many
    columns added one after another cost only one merge, the next time the table is read.

    Attributes:
        listed: The names that the source listed last.
    """

    def __init__(self) -> None:
        self.listed: Bars | None = None
        self._bars: Bars | None = None
        self._waiting: dict[str, npt.NDArray[np.float64]] = {}
        self._last: LastCloses | None = None
        self._ordered: _Ordered | None = None

    def __contains__(self, ticker: str) -> bool:
        """Whether a name has a column."""
        return ticker in self._waiting or (self._bars is not None and ticker in self._bars.column)

    def __len__(self) -> int:
        """How many names have a column."""
        return len(self._waiting) + (0 if self._bars is None else len(self._bars.tickers))

    @property
    def rows(self) -> int:
        """How many dates there are."""
        return 0 if self._bars is None else len(self._bars.dates)

    @property
    def bars(self) -> Bars:
        """The whole table. `BookNotOpenError` before the first `replace`."""
        if self._bars is None:
            raise BookNotOpenError("the price book has no bars yet: await open() first")
        if self._waiting:
            self._bars = _with_columns(self._bars, self._waiting)
            self._waiting = {}
        return self._bars

    @property
    def last_closes(self) -> LastCloses:
        """The newest close of each name."""
        bars = self.bars
        if self._last is None or self._last.bars is not bars:
            self._last = LastCloses(bars)
        return self._last

    def in_order(self, prices: Mapping[str, float]) -> npt.NDArray[np.float64]:
        """Prices in the order of the columns, NaN for a name without one, and a last one of 1.

        Computed once for the same mapping, as long as no column is added or removed.
        """
        bars, known = self.bars, self._ordered
        if known is None or known.prices is not prices or known.bars is not bars:
            ordered = np.array(array("d", [*map(prices.get, bars.tickers, repeat(_NONE)), 1.0]))
            ordered.setflags(write=False)
            known = self._ordered = _Ordered(prices, bars, ordered)
        return known.ordered

    def replace(self, listed: Bars) -> tuple[str, ...]:
        """Replace the table by what the source lists; return the names that no longer have a column."""
        known = () if self.listed is None else self.bars.tickers
        self.listed = self._bars = listed
        self._waiting = {}
        return tuple(ticker for ticker in known if ticker not in listed.column)

    def add(self, ticker: str, column: npt.NDArray[np.float64]) -> None:
        """Add a column of `rows` closes for a name that has none."""
        self._waiting[ticker] = column

    def remove(self, tickers: Collection[str]) -> None:
        """Remove columns."""
        self._bars = _without_columns(self.bars, frozenset(tickers))


def _with_columns(bars: Bars, columns: Mapping[str, npt.NDArray[np.float64]]) -> Bars:
    # Row by row of the transposed table, because in `Bars` each column is contiguous.
    closes = np.vstack([bars.closes.T, *columns.values()]).T
    return Bars(bars.dates, (*bars.tickers, *columns), closes)


def _without_columns(bars: Bars, gone: Collection[str]) -> Bars:
    kept = [place for place, ticker in enumerate(bars.tickers) if ticker not in gone]
    return Bars(bars.dates, tuple(bars.tickers[place] for place in kept), bars.closes[:, kept])
