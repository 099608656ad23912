"""The market updater: a tick on a fixed schedule, at which every session is revalued."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.log_throttle import Lasting
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from portfolio_trio.faults import Faults
    from portfolio_trio.market import PriceBook, Tick
    from portfolio_trio.telemetry import Telemetry

log: Final = logging.getLogger(__name__)


class Report(Protocol):
    """The result of one sweep."""

    @property
    def revalued(self) -> int:
        """Documents with the new total."""

    @property
    def errors(self) -> int:
        """Documents that should have it but do not."""

    @property
    def reasons(self) -> str:
        """Some of these, with the reasons."""

    @property
    def unpriced_names(self) -> int:
        """How many names that documents hold have no price."""

    @property
    def held(self) -> Collection[str] | None:
        """All names that were found in documents; None if not known."""


class Ledger(Protocol):
    """The store of the sessions."""

    async def revalue_all(
        self,
        tick: Tick,
        *,
        price_lookup: Callable[[Iterable[str]], Mapping[str, float]],
        lost: Sequence[str],
    ) -> Report:
        """Revalue every session at a tick, and remove what dead processes have left there."""


class Exchange(Protocol):
    """The other processes of the market."""

    @property
    def lost(self) -> Sequence[str]:
        """Processes that have died and may have left something behind."""

    async def publish(self, tick: Tick) -> None:
        """Share a tick with all; if it raises, the tick does not become the current one."""

    async def swept(self, tick: Tick, lost: Sequence[str]) -> None:
        """Every session has been valued at the tick, and the remains of lost workers are gone."""


class Audience(Protocol):
    """The listeners to ticks."""

    async def ticked(self, tick: Tick) -> None:
        """A tick has been published; no session has been valued at it yet."""

    async def swept(self, tick: Tick) -> None:
        """Every session has been valued at the tick."""


class MarketUpdater:
    """Advances the price book every ``interval`` seconds and revalues all sessions at the new tick.

    Ticks fall on ``first + k * interval``: a sweep's own time does not shift the next one. A sweep longer
    than the interval skips the missed ticks and logs that. A failure at one tick is logged, and the next tick
    runs.

    Args:
        book: The prices; nothing else may write it meanwhile.
        ledger: The sessions.
        exchange: The other processes.
        audience: Notified of each tick, and again when every session has been valued at it.
        interval: Seconds between ticks.
        failures: The exceptions of a sweep that are not faults.
        faults: Contains everything else that a tick raises.
        telemetry: Counts sweeps.
    """

    def __init__(
        self,
        book: PriceBook,
        ledger: Ledger,
        exchange: Exchange,
        audience: Audience,
        *,
        interval: float,
        failures: tuple[type[Exception], ...],
        faults: Faults,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._telemetry = telemetry
        self._book = book
        self._ledger = ledger
        self._exchange = exchange
        self._audience = audience
        self._interval = interval
        self._failures = failures
        self._faults = faults
        self.skipped = 0
        """Ticks that were missed because a sweep took longer than the interval."""
        # A store may be down all night: log the beginning and the end, not each tick.
        self._failure_log, self._error_log, self._late_log = (
            Lasting(log, clock=trio.current_time) for _ in range(3)
        )

    async def run(self, first: float) -> None:
        """Tick until cancelled, first at a time of Trio's clock, or now if that is past."""
        try:
            await self._tick_forever(max(first, trio.current_time()))
        finally:
            # From here on, whichever worker updates the market next reports problems.
            for each in (self._failure_log, self._error_log, self._late_log):
                each.forget()

    async def _tick_forever(self, start: float) -> None:
        due = 0
        while True:
            await trio.sleep_until(start + due * self._interval)
            await self.tick()
            late = math.floor((trio.current_time() - start) / self._interval)
            if late > due:
                self.skipped += late - due
                self._late_log.begins(
                    "a sweep took longer than the interval; ticks are skipped",
                    extra={
                        "event": "ticks_skipped",
                        "tick_id": self._book.current.tick_id,
                        "skipped": late - due,
                        "interval_seconds": self._interval,
                    },
                )
            else:
                self._late_log.ends("sweeps fit into the interval again", extra={"event": "ticks_kept"})
            due = max(late, due) + 1

    async def tick(self) -> bool:
        """Get the next prices and revalue every session; return whether that succeeded."""
        done = False
        # The boundary between ticks: a bug in this program or a plug-in costs only one tick.
        with self._faults.contained("the market"):
            try:
                await self._advance()
                done = True
            except self._failures as error:
                self._failure_log.begins(
                    "the market cannot be updated; values stay unchanged",
                    extra={"event": "market_update_failed", "error": str(error)},
                )
            else:
                self._failure_log.ends("the market is updated again", extra={"event": "market_recovered"})
        return done

    async def _advance(self) -> None:
        lost = self._exchange.lost
        tick = await self._book.advance(self._exchange.publish)
        # The boundary to the listeners: their errors must not keep sessions from being valued at the tick.
        with self._faults.contained("a tick"):
            await self._audience.ticked(tick)
        began = trio.current_time()
        report = await self._ledger.revalue_all(tick, price_lookup=self._book.values_for, lost=lost)
        seconds = trio.current_time() - began
        self._telemetry.swept(seconds, sessions=report.revalued, unpriced=report.unpriced_names)
        if report.held is not None:
            self._book.release(report.held)
        await self._exchange.swept(tick, lost)
        await self._audience.swept(tick)
        if report.errors:
            self._error_log.begins(
                "some sessions could not be valued; they keep their old value",
                extra={
                    "event": "sweep_errors",
                    "tick_id": tick.tick_id,
                    "sessions": report.revalued,
                    "errors": report.errors,
                    "reasons": report.reasons,
                },
            )
        else:
            self._error_log.ends("all sessions are valued again", extra={"event": "sweep_errors_end"})
        log.debug(
            "all sessions were swept",
            extra={
                "event": "sweep",
                "tick_id": tick.tick_id,
                "sessions": report.revalued,
                "seconds": round(seconds, 4),
            },
        )
