"""Inspecting a table of closes, name by name: its calendar, its gaps, and jumps that are not returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars

JUMP: Final = 1.5
"""A close that is more than this many times the one before, or less than its reciprocal, is a jump."""

JUMPS_KEPT: Final = 20
"""The maximum number of jumps of a name that are examined."""

UNIT: Final = 100.0
"""Pence in a pound, cents in a dollar: the factor between two units of one price."""

_SPLITS: Final = (1.25, 4 / 3, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 15, 16, 20, 25, 30, 40, 50, 100)
# A price also moves on the day of its split.
_NEAR_UNIT: Final = 1.25
_UNDONE_WITHIN: Final = 10
_DAYS_A_YEAR: Final = 365.25
_YEAR: Final = 365

# For each calendar: the fewest closes per year, the number it counts as a year, its name, and the most days
# between closes that are not a gap: a day, a long weekend, a week and a half, a month and a half.
_CALENDARS: Final = (
    (300.0, 365, "every day", 1),
    (60.0, 252, "weekdays", 5),
    (20.0, 52, "weekly", 10),
    (0.0, 12, "monthly", 45),
)


@dataclass(frozen=True, slots=True)
class Jump:
    """A close too far from the one before it.

    Attributes:
        date: Its ISO date.
        ratio: The close divided by the one before.
        undone_on: The date of a jump back to the old level soon after; None if there is none.
    """

    date: str
    ratio: float
    undone_on: str | None

    @property
    def is_unit(self) -> bool:
        """Whether the ratio is that between two units of one price."""
        return abs(abs(math.log(self.ratio)) - math.log(UNIT)) < math.log(_NEAR_UNIT)

    @property
    def split(self) -> str:
        """The nearest ratio of a split, new shares to old ones."""
        size = abs(math.log(self.ratio))
        factor = min(_SPLITS, key=lambda one: abs(math.log(one) - size))
        new, old = float(factor).as_integer_ratio() if factor != _SPLITS[1] else (4, 3)
        return f"{new}:{old}" if self.ratio < 1 else f"{old}:{new}"

    @override
    def __str__(self) -> str:
        text = f"on {self.date} {self.ratio:.4g} times the close before"
        if self.undone_on is not None:
            text += f", undone on {self.undone_on}"
        if self.is_unit:
            return f"{text}; factor 100: another unit (pounds and pence)?"
        if self.undone_on is not None:
            return f"{text}; a wrong close?"
        return f"{text}; nearest split {self.split}: are the closes adjusted?"


@dataclass(frozen=True, slots=True)
class NameReport:
    """One name of a table of closes.

    Attributes:
        ticker: Its name.
        closes: How many closes it has.
        first: ISO date of its first close; None if it has none, as in `last`.
        last: ISO date of its newest close.
        a_year: Closes per year, by those of its last 365 days; None if there are fewer than two.
        calendar: Its name, with the number it counts as a year.
        gaps: How many times two successive closes are further apart than the calendar allows.
        longest_gap: The most days from one close to the next.
        jumps: The first few jumps.
        jumped: How many jumps there are.
    """

    ticker: str
    closes: int
    first: str | None
    last: str | None
    a_year: float | None
    calendar: str
    gaps: int
    longest_gap: int
    jumps: tuple[Jump, ...]
    jumped: int


def inspect(bars: Bars) -> Iterator[NameReport]:
    """Inspect each name of some bars, in their order."""
    days = np.array([date.fromisoformat(day).toordinal() for day in bars.dates], dtype=np.int64)
    for ticker, rows, closes in _known(bars):
        jumping = _jumping(closes)
        steps = np.diff(days[rows])
        a_year = _a_year(days[rows])
        _, counted, name, longest = next(one for one in _CALENDARS if (a_year or 0.0) >= one[0])
        yield NameReport(
            ticker=ticker,
            closes=len(rows),
            first=bars.dates[rows[0]] if len(rows) else None,
            last=bars.dates[rows[-1]] if len(rows) else None,
            a_year=a_year,
            calendar="-" if a_year is None else f"{name}, {counted}",
            gaps=0 if a_year is None else int((steps > longest).sum()),
            longest_gap=int(steps.max(initial=0)),
            jumps=_jumps(bars.dates, rows, closes, jumping),
            jumped=len(jumping),
        )


def suspicions(bars: Bars) -> Iterator[tuple[str, str]]:
    """Names with a jump, and one sentence about the first."""
    for ticker, rows, closes in _known(bars):
        jumping = _jumping(closes)
        if len(jumping):
            first, *_ = _jumps(bars.dates, rows, closes, jumping[:2])
            more = len(jumping) - (1 if first.undone_on is None else 2)
            yield ticker, f"{first} (and {more} more)" if more else str(first)


def _known(bars: Bars) -> Iterator[tuple[str, npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
    """Each name with the rows of its closes, and the closes."""
    for column, ticker in enumerate(bars.tickers):
        closes = bars.closes[:, column]
        rows = np.flatnonzero(np.isfinite(closes))
        yield ticker, rows, closes[rows]


def _a_year(days: npt.NDArray[np.int64]) -> float | None:
    recent = days[days >= days[-1] - _YEAR] if len(days) else days
    if len(recent) < 2:  # noqa: PLR2004 - it takes two to have a distance
        return None
    return float((len(recent) - 1) * _DAYS_A_YEAR / (recent[-1] - recent[0]))


def _jumping(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The positions of closes too far from the one before."""
    with np.errstate(over="ignore"):
        ratios = closes[1:] / closes[:-1]
    return np.flatnonzero((ratios > JUMP) | (ratios < 1 / JUMP)) + 1


def _jumps(
    dates: Sequence[str],
    rows: npt.NDArray[np.intp],
    closes: npt.NDArray[np.float64],
    jumping: npt.NDArray[np.intp],
) -> tuple[Jump, ...]:
    """The first few jumps: in a table of noise every close is one, and nobody reads them all."""
    jumps = []
    back: int | None = None
    for place, following in pairwise([*jumping[:JUMPS_KEPT].tolist(), None]):
        if place == back:
            # It is reported with the jump that it undoes.
            continue
        ratio = float(closes[place] / closes[place - 1])
        back = following if _undoes(closes, place, following) else None
        jumps.append(Jump(dates[rows[place]], ratio, None if back is None else dates[rows[back]]))
    return tuple(jumps)


def _undoes(closes: npt.NDArray[np.float64], place: int, following: int | None) -> bool:
    """Whether the next jump soon brings the close back to its level before this one."""
    if following is None or following - place > _UNDONE_WITHIN:
        return False
    return bool(1 / JUMP < closes[following] / closes[place - 1] < JUMP)
