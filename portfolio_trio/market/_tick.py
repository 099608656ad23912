"""The tick: the prices of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Tick:
    """The prices of one moment, the same for every portfolio.

    A tick object never changes. When the book admits a name, it replaces the current tick by one
    that has the same `tick_id` and one price more: a price once published under a `tick_id` stays.

    Attributes:
        tick_id: Rises with every tick, also over restarts: at least the time in milliseconds.
        as_of: When the prices were quoted, RFC 3339 in UTC with milliseconds and Z.
        prices: Live price of each priced name, in currency units, each finite and positive.
        stale: The source failed at this tick: these are the prices of `as_of`, quoted earlier.
    """

    tick_id: int
    as_of: str
    prices: Mapping[str, float]
    stale: bool = False
