"""The tick: the prices of one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Tick:
    """The prices of one moment, the same for every portfolio.

    A tick object never changes. When the book admits a name, it replaces the current tick by one with the
    same `tick_id` and one more price: a price published under a `tick_id` never changes.

    Attributes:
        tick_id: Increases with every tick, also across restarts: at least the time in milliseconds.
        as_of: When the prices were quoted, RFC 3339 in UTC with milliseconds and Z.
        prices: Live price of each priced name, in currency units, each finite and positive.
        stale: These prices are not current: the source failed at this tick, so they are those of `as_of`, or
            its files have not been written for too long.
        why: What makes it stale, one reason each.
        last_known: The newest price, or the last close, of names that have no price at this tick.
        stale_prices: The names that were not quoted and whose price is their last close, with its ISO date.
    """

    tick_id: int
    as_of: str
    prices: Mapping[str, float]
    stale: bool = False
    why: tuple[str, ...] = ()
    last_known: Mapping[str, float] = field(default_factory=dict)
    stale_prices: Mapping[str, str] = field(default_factory=dict)
