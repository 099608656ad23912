"""Files of many calendars: seven-day names, holidays, halts, weekly and monthly, newcomers, leavers."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import strategies as st

from portfolio_trio.metrics import AnalysisInputs, Bars, ReturnsCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

END = date(2026, 11, 25)
SATURDAY = 5
CALENDARS: Mapping[str, Callable[[date], bool]] = {
    "weekday": lambda day: day.weekday() < SATURDAY,
    "holidays": lambda day: day.weekday() < SATURDAY and day.toordinal() % 23 != 0,
    "others": lambda day: day.weekday() < SATURDAY and day.toordinal() % 17 != 5,
    "seven": lambda _: True,
    "sunday": lambda day: day.weekday() not in {4, SATURDAY},
    "halted": lambda day: day.weekday() < SATURDAY and not 60 <= (END - day).days <= 81,
    "holed": lambda day: day.weekday() < SATURDAY and not 150 <= (END - day).days <= 400,
    "weekly": lambda day: day.weekday() == SATURDAY - 1,
    "monthly": lambda day: day.day == 3,
    "thinned": lambda day: day.weekday() == 0 or (day.weekday() < SATURDAY and (END - day).days > 400),
    "delisted": lambda day: day.weekday() < SATURDAY and (END - day).days > 16,
    "paused": lambda day: day.weekday() < SATURDAY and (END - day).days > 14,
    "listed": lambda day: day.weekday() < SATURDAY and (END - day).days < 140,
    "young": lambda day: (END - day).days < 80,
}
COMMON = ("weekday", "holidays", "others", "seven", "sunday", "halted")


class Mixed(NamedTuple):
    """Closes by name and date; the file of them; what is held, and at which prices."""

    closes: dict[str, dict[date, float]]
    holdings: dict[str, float]
    cash: frozenset[str]

    @property
    def prices(self) -> dict[str, float]:
        return {
            name: 1.0 if name in self.cash else list(self.closes[name].values())[-1] * 1.01
            for name in self.holdings
        }

    def bars(self, *, extra: tuple[date, ...] = (), names: tuple[str, ...] | None = None) -> Bars:
        """The file: a row for each date on which anything has a close, and for each extra one."""
        columns = tuple(self.closes) if names is None else names
        days = sorted({day for name in columns for day in self.closes[name]}.union(extra))
        place = {day: row for row, day in enumerate(days)}
        table = np.full((len(days), len(columns)), np.nan)
        for column, name in enumerate(columns):
            for day, close in self.closes[name].items():
                table[place[day], column] = close
        return Bars(tuple(day.isoformat() for day in days), columns, table)

    def inputs(self, ticker: str, bars: Bars | None = None) -> AnalysisInputs:
        cache = ReturnsCache(self.bars() if bars is None else bars, cash=self.cash)
        return cache.inputs(ticker, self.holdings, self.prices)


def series(calendar: str, seed: int, days: int) -> dict[date, float]:
    """A random walk over a number of days up to the end, observed on the days of a calendar."""
    random = np.random.default_rng([seed, 1])
    market = np.random.default_rng(days).normal(0.0003, 0.01, size=days)
    walk = 100.0 * np.exp(np.cumsum(market + random.normal(0.0, 0.012, size=days)))
    dates = [END - timedelta(days=days - 1 - place) for place in range(days)]
    return {
        day: round(close, 4)
        for day, close in zip(dates, walk.tolist(), strict=True)
        if CALENDARS[calendar](day)
    }


@st.composite
def mixes(draw: st.DrawFn, *, cash: bool = True) -> Mixed:
    """One to five names held, most of common calendars, long and short, some cash; others that are not."""
    days = draw(st.sampled_from([200, 420, 560, 700, 1900]))
    kinds = draw(
        st.lists(st.sampled_from(COMMON), min_size=1, max_size=4)
        | st.lists(st.sampled_from(tuple(CALENDARS)), min_size=1, max_size=4)
    )
    seed = draw(st.integers(0, 2**16))
    closes = {f"N{place}-{kind}": series(kind, seed + place, days) for place, kind in enumerate(kinds)}
    sizes = st.floats(0.5, 100.0).flatmap(lambda size: st.sampled_from([size, size, -size]))
    holdings = {name: draw(sizes) for name in closes if closes[name]}
    if cash and draw(st.booleans()):
        holdings["CASH"] = draw(st.sampled_from([5_000.0, -900.0]))
    others = draw(st.lists(st.sampled_from(tuple(CALENDARS)), max_size=2))
    for place, kind in enumerate(others):
        closes[f"X{place}-{kind}"] = series(kind, seed + 100 + place, draw(st.sampled_from([days, 300])))
    return Mixed(closes, holdings, frozenset({"CASH"}))
