"""One stock's own closes, counted in its own calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from portfolio_trio.metrics.rows import periods_in_year

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DAYS_LOOKED_AT: Final = 365
# Closes in a month, a quarter and half a year, for each number of closes in a year.
_SPANS: Final = {365: (30, 91, 182), 252: (21, 63, 126), 52: (4, 13, 26), 12: (1, 3, 6)}


class Trend(NamedTuple):
    """The trend of a stock's own closes; returns as fractions, None if it has too few closes.

    Attributes:
        year: Closes in a year, Y: 365, 252, 52 or 12.
        month: Closes in a month: 30, 21, 4 or 1.
        closes: The total number of its closes.
        newest: Day of the newest close, in days since 1970-01-01; None if there is none.
        raw: P[-month - 1] / P[-Y - 1] - 1, the return of the year up to a month ago.
        return_1m: P[-1] over the close a month before it, less 1.
        return_3m: The same for three months: 91, 63, 13 or 3 closes.
        return_6m: The same for six months: 182, 126, 26 or 6 closes.
        from_high: P[-1] over the highest of the newest Y closes, less 1: at most 0.
    """

    year: int
    month: int
    closes: int
    newest: int | None
    raw: float | None
    return_1m: float | None
    return_3m: float | None
    return_6m: float | None
    from_high: float | None


CASH_TREND: Final = Trend(252, 21, 253, None, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The trend of cash."""


def trend_of(days: npt.NDArray[np.int64], closes: npt.NDArray[np.float64]) -> Trend:
    """Read the closes of one stock, oldest first and none missing, and their days since 1970-01-01."""
    count = len(closes)
    if not count:
        return Trend(252, 21, 0, None, None, None, None, None, None)
    newest = int(days[-1])
    year = _year(days[days >= newest - _DAYS_LOOKED_AT])
    month, quarter, half = _SPANS[year]
    # Older closes are not read: a few hundred numbers, however long the file.
    recent: list[float] = closes[-year - 1 :].tolist()

    def gain(ago: int, until: int = 0) -> float | None:
        return None if len(recent) <= ago else recent[-1 - until] / recent[-1 - ago] - 1.0

    high = recent[-1] / max(recent[-year:]) - 1.0
    return Trend(year, month, count, newest, gain(year, month), gain(month), gain(quarter), gain(half), high)


def _year(days: npt.NDArray[np.int64]) -> int:
    return periods_in_year(len(days) - 1, int(days[-1] - days[0]))
