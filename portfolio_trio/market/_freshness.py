"""How old prices may be, and how that is reported for a portfolio."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from portfolio_trio.market._last_closes import LastCloses
    from portfolio_trio.market._tick import Tick

NO_PRICE: Final = "no name has a usable price"


_DAY_SECONDS: Final = 86_400.0


@lru_cache(maxsize=4)
def _iso_day(day: int) -> str:
    """The ISO date of a day counted from 1970-01-01; each run asks for the same one."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


@runtime_checkable
class Dated(Protocol):
    """A price source that knows when its live prices were written."""

    @property
    def quoted_at(self) -> float | None:
        """Seconds since 1970 in UTC; None if it has no live prices."""
        ...


@dataclass(frozen=True, slots=True)
class MaxAge:
    """How old prices may be before they are stale; None means no limit.

    Attributes:
        bar_days: Days from the newest closed bar to today, in UTC.
        price_seconds: Seconds since live prices were written.
    """

    bar_days: float | None = None
    price_seconds: float | None = None

    def oldest_bar(self, now: float) -> str:
        """The ISO date before which a bar is too old."""
        if self.bar_days is None:
            return ""
        return _iso_day(floor(now / _DAY_SECONDS - self.bar_days))

    def reasons(
        self, now: float, *, priced: Collection[str], newest_bar: str | None, quoted_at: float | None
    ) -> tuple[str, ...]:
        """Why prices are not current, one sentence each; the same sentences as long as nothing changes."""
        reasons = []
        if not priced:
            reasons.append(NO_PRICE)
        if newest_bar is not None and newest_bar < self.oldest_bar(now):
            reasons.append(f"the newest closed bar is of {newest_bar}, more than {self.bar_days:g} days ago")
        if quoted_at is not None and self.price_seconds is not None and now - quoted_at > self.price_seconds:
            reasons.append(f"the live prices were last written more than {self.price_seconds:g} s ago")
        return tuple(reasons)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh the prices of one portfolio are.

    Attributes:
        last_bar: ISO date of the newest close of any held name; None if there is none.
        unpriced: Held names that have no price at the newest tick, with the date of their last close, None if
            they have no close.
        stale_prices: Held names whose price at the newest tick is their last close, with its date.
        stale: The portfolio's value is not current: a name has no price, or counts at its last close, or its
            newest close is too old, or the tick is stale.
    """

    last_bar: str | None
    unpriced: Mapping[str, str | None] = field(default_factory=dict)
    stale_prices: Mapping[str, str] = field(default_factory=dict)
    stale: bool = False


def freshness(
    held: Collection[str], priced: Collection[str], last: LastCloses, *, oldest_bar: str, tick: Tick
) -> Freshness:
    """The freshness of these names.

    Args:
        held: The names.
        priced: The names that have a price now; may include others.
        last: Their newest closes.
        oldest_bar: The date before which a close is too old.
        tick: The newest tick.
    """
    unpriced = {name: last.date_of(name) for name in held if name not in priced}
    # Checked once for all names: nearly no tick has any.
    at_close = tick.stale_prices and {
        name: day for name in held if (day := tick.stale_prices.get(name)) and name in priced
    }
    return Freshness(
        last_bar=max((day for name in held if (day := last.date_of(name)) is not None), default=last.newest),
        unpriced=unpriced,
        stale_prices=at_close,
        stale=tick.stale or bool(unpriced or at_close) or not last.older_than(oldest_bar).isdisjoint(held),
    )
