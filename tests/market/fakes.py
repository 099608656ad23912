"""A price source controlled by the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from portfolio_trio.market import Admission, PriceBook, Unusable
from portfolio_trio.metrics.bars import Bars
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Mapping


def some_bars(*tickers: str, days: int = 3, level: float = 10.0) -> Bars:
    dates = tuple(f"2026-11-{day:02}" for day in range(1, days + 1))
    return Bars(dates, tickers, np.full((days, len(tickers)), level))


class ScriptedSource:
    """Quotes what `prices` holds; fails, hangs or admits as its attributes say."""

    name = "scripted"

    def __init__(self, **prices: float | Unusable) -> None:
        self.bars = some_bars(*prices)
        self.prices: dict[str, float | Unusable] = dict(prices)
        self.supplies: dict[str, float] = {}
        self.load_error: Exception | None = None
        self.quote_error: Exception | None = None
        self.gate: trio.Event | None = None
        self.quoting = trio.Event()
        self.asked: list[Mapping[str, float]] = []
        self.admitted: list[str] = []

    async def load(self) -> Bars:
        await trio.lowlevel.checkpoint()
        if self.load_error is not None:
            raise self.load_error
        return self.bars

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float | Unusable]:
        self.asked.append(previous)
        self.quoting.set()
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.quote_error is not None:
            raise self.quote_error
        return dict(self.prices)

    def admit(self, ticker: str) -> Admission | None:
        self.admitted.append(ticker)
        if ticker not in self.supplies:
            return None
        return Admission(np.full(len(self.bars.dates), self.supplies[ticker]), self.supplies[ticker])


async def opened(source: ScriptedSource, **options: Any) -> tuple[PriceBook, ManualClock]:
    """Open a book over `source`, with the clock it goes by."""
    clock = ManualClock()
    book = PriceBook(source, now=clock, **options)
    await book.open()
    return book, clock
