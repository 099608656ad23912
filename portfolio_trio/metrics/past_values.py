"""The past values of today's holdings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.positions import Positions

_FIRST_LOOK: Final = 512


class Drawdown(NamedTuple):
    """The deepest fall from a peak.

    Attributes:
        depth: Peak less trough, as a fraction of gross value at the peak; 0 if the value never fell.
        peak: Position of the peak.
        trough: Position of the trough.
    """

    depth: float
    peak: int
    trough: int


class PastValues(NamedTuple):
    """The value of today's shares on past days.

    Attributes:
        dates: Days on which all held names have a close, oldest first.
        values: Sum of shares times close on each day, in currency units; then today's live value.
        drawdown: Of `values`; None without any past day.
    """

    dates: tuple[str, ...]
    values: npt.NDArray[np.float64]
    drawdown: Drawdown | None


def past_values(positions: Positions, bars: Bars, rows: int) -> PastValues:
    """Value today's holdings on the newest rows in which every held name has a close; cash costs 1.

    Without dividends and past trades: today's shares on every day.
    """
    moving = [place for place, name in enumerate(positions.tickers) if name not in positions.history.cash]
    fixed = np.delete(positions.values, moving)
    columns = [bars.column.get(positions.tickers[place], -1) for place in moving]
    days = _common(bars, columns, rows)
    closes = bars.closes[np.ix_(days, np.array(columns, dtype=np.intp))]
    shares = positions.shares[moving]
    values = np.append(closes.dot(shares) + fixed.sum(), positions.values.sum())
    gross = np.append(closes.dot(np.abs(shares)) + np.abs(fixed).sum(), positions.gross)
    return PastValues(
        tuple(bars.dates[day] for day in days.tolist()),
        values,
        _deepest(values, gross) if len(days) else None,
    )


def _common(bars: Bars, columns: list[int], rows: int) -> npt.NDArray[np.intp]:
    """The newest rows in which all columns have a close."""
    total = len(bars.dates)
    if min(columns, default=0) < 0:
        return np.empty(0, dtype=np.intp)
    depth = max(2 * rows, _FIRST_LOOK)
    while True:
        oldest = max(total - depth, 0)
        common = np.ones(total - oldest, dtype=np.bool_)
        # This reads each column once and copies none.
        for column in columns:
            common &= np.isfinite(bars.closes[oldest:, column])
        found = np.flatnonzero(common) + oldest
        if len(found) >= rows or not oldest:
            return found[-rows:]
        depth *= 8


def _deepest(values: npt.NDArray[np.float64], gross: npt.NDArray[np.float64]) -> Drawdown:
    places = np.arange(len(values))
    highest = np.maximum.accumulate(values)
    # For each day, the newest earlier position of the highest value so far.
    peaks = np.maximum.accumulate(np.where(values == highest, places, 0))
    depths = (highest - values) / gross[peaks]
    trough = int(depths.argmax())
    return Drawdown(float(depths[trough]), int(peaks[trough]), trough)
