"""The market updater: one tick on a fixed schedule, and every session revalued at it."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from portfolio_trio.market import PriceBook, Tick

log: Final = logging.getLogger(__name__)


class Report(Protocol):
    """What came of one sweep."""

    @property
    def revalued(self) -> int:
        """Documents with the new total."""

    @property
    def errors(self) -> int:
        """Documents that should have it and have not."""


class Ledger(Protocol):
    """Where the sessions are."""

    async def revalue_all(
        self, tick: Tick, *, price_lookup: Callable[[Iterable[str]], Mapping[str, float]]
    ) -> Report:
        """Bring every session to the prices of a tick."""


class Audience(Protocol):
    """Who wants to know of ticks."""

    def ticked(self, tick: Tick) -> None:
        """A tick has been published; no session is valued at it yet."""

    async def swept(self, tick: Tick) -> None:
        """Every session has been valued at the tick."""


class MarketUpdater:
    """Advances the price book every ``interval`` seconds and revalues all sessions at the new tick.

    Ticks fall on ``start + k * interval``: a sweep's own time does not shift the next one. A sweep longer
    than the interval skips the ticks it missed and says so. What fails at one tick is logged, and the next
    one runs.

    Args:
        book: The prices; this is its one writer.
        ledger: The sessions.
        audience: Is told of each tick, and again when every session is valued at it.
        interval: Seconds between ticks.
        failures: What a sweep may raise without ending the updater.
    """

    def __init__(
        self,
        book: PriceBook,
        ledger: Ledger,
        audience: Audience,
        *,
        interval: float,
        failures: tuple[type[Exception], ...],
    ) -> None:
        self._book = book
        self._ledger = ledger
        self._audience = audience
        self._interval = interval
        self._failures = failures
        self.skipped = 0
        """Ticks that were missed because a sweep took longer than the interval."""
        self.last_sweep_failed = False

    async def run(self) -> None:
        """Tick for ever."""
        start = trio.current_time()
        due = 1
        while True:
            await trio.sleep_until(start + due * self._interval)
            await self.tick()
            late = math.floor((trio.current_time() - start) / self._interval)
            if late > due:
                self.skipped += late - due
                log.warning("the sweep of tick %d took so long that %d ticks were skipped", due, late - due)
            due = max(late, due) + 1

    async def tick(self) -> None:
        """Take the next prices and revalue every session."""
        tick = await self._book.advance()
        self._audience.ticked(tick)
        try:
            report = await self._ledger.revalue_all(tick, price_lookup=self._book.prices_for)
            await self._audience.swept(tick)
        except self._failures as error:
            self.last_sweep_failed = True
            log.warning("sweep of tick %d failed: %s", tick.tick_id, error)
            return
        self.last_sweep_failed = False
        if report.errors:
            log.warning("sweep of tick %d: %s", tick.tick_id, report)
        else:
            log.info("sweep of tick %d: %d sessions revalued", tick.tick_id, report.revalued)
