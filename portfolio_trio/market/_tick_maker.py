"""From prices to the next tick: its number and time, its staleness, and the names that lost their price."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from portfolio_trio.market._tick import Tick
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portfolio_trio.market._freshness import MaxAge


class TickMaker:
    """Makes the ticks of one process, each with a higher number than the one before.

    Args:
        now: Wall clock, seconds since 1970 in UTC.
        max_age: How old prices may be before a tick is stale.
        cash: The prices of names that cost the same at every tick.
        max_names: How many names without a price are remembered; the newest stay.
    """

    def __init__(
        self, now: Callable[[], float], max_age: MaxAge, *, cash: Mapping[str, float], max_names: int
    ) -> None:
        self._now = now
        self._max_age = max_age
        self._cash = cash
        self._max_names = max_names

    def make(
        self,
        prices: dict[str, float],
        before: Tick | None,
        *,
        newest_bar: str | None,
        quoted_at: float | None,
        stale_prices: Mapping[str, str],
    ) -> Tick:
        """Make a tick of these prices.

        Args:
            prices: The prices, without those of cash.
            before: The tick before it.
            newest_bar: ISO date of the newest closed bar.
            quoted_at: When the prices were written, seconds since 1970; None if unknown.
            stale_prices: Names whose price is their last close, with its date.
        """
        now = self._now()
        why = self._max_age.reasons(now, priced=prices, newest_bar=newest_bar, quoted_at=quoted_at)
        now_ms = int(now * 1000)
        priced = {**prices, **self._cash}
        return Tick(
            _next_id(now_ms, before),
            rfc3339(now_ms / 1000),
            MappingProxyType(priced),
            stale=bool(why),
            why=why,
            last_known=MappingProxyType(self._known_without(priced, before)),
            stale_prices=MappingProxyType(stale_prices),
        )

    def repeat(self, tick: Tick, why: Exception) -> Tick:
        """The old prices under a new number, for want of new ones."""
        tick_id = _next_id(int(self._now() * 1000), tick)
        return replace(tick, tick_id=tick_id, stale=True, why=(str(why),))

    def reprice(self, tick: Tick, prices: Mapping[str, float]) -> Tick:
        """The same tick with other prices; removed ones stay in `last_known`."""
        priced = {**prices, **self._cash}
        return replace(
            tick,
            prices=MappingProxyType(priced),
            last_known=MappingProxyType(self._known_without(priced, tick)),
        )

    def _known_without(self, prices: Mapping[str, float], before: Tick | None) -> dict[str, float]:
        if before is None:
            return {}
        had = {**before.last_known, **before.prices}
        known = [(ticker, price) for ticker, price in had.items() if ticker not in prices]
        return dict(known[-self._max_names :])


def _next_id(now_ms: int, before: Tick | None) -> int:
    """The time in milliseconds, or more if the clock went back."""
    return max(now_ms, 1 if before is None else before.tick_id + 1)
