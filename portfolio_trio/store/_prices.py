"""The prices of one tick, as the scripts are given them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from portfolio_trio.store._texts import checked_ticker, checked_time, valued_text
from portfolio_trio.store.errors import MissingPrices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portfolio_trio.store.models import PriceLookup, Tick

# Beyond this number of prices per key, a call does not send all of them in advance: the script returns the
# names it lacks, and is then sent only those.
_PRICES_PER_KEY: Final = 32


class Prices:
    """A tick's prices and where to ask for more.

    Prices that are not finite and positive count as absent: a wrong price is reported as missing, never
    summed.
    """

    def __init__(
        self, tick: Tick, lookup: PriceLookup | None = None, last_known: PriceLookup | None = None
    ) -> None:
        self.tick_id = tick.tick_id
        self.as_of = checked_time(tick.as_of)
        self._prices = tick.prices
        self._lookup = lookup
        self._last_known = last_known
        self._offers: dict[bool, Mapping[str, float]] = {}
        # Compared by identity: the offers live as long as this object.
        self._texts: dict[int, str] = {}

    @property
    def valued(self) -> str:
        """The document's ``valued`` at this tick, as JSON text."""
        return valued_text(self.tick_id, self.as_of)

    def offer(self, keys: int) -> Mapping[str, float]:
        """What to send before knowing what is held: all prices if there are few per key, else none."""
        few = len(self._prices) <= _PRICES_PER_KEY * keys
        if few not in self._offers:
            self._offers[few] = _usable(self._prices) if few else {}
        return self._offers[few]

    def text(self, prices: Mapping[str, float]) -> str:
        """Return prices as JSON text; the text of an offer is made only once."""
        if not any(prices is offered for offered in self._offers.values()):
            return prices_text(prices)
        if id(prices) not in self._texts:
            self._texts[id(prices)] = prices_text(prices)
        return self._texts[id(prices)]

    def find(self, names: Iterable[str]) -> Mapping[str, float]:
        """Return the prices of ``names``; a name without a usable price is left out."""
        wanted = list(names)
        found = _usable({name: self._prices[name] for name in wanted if name in self._prices})
        unknown = [name for name in wanted if name not in found]
        if unknown and self._lookup is not None:
            asked = self._lookup(unknown)
            found |= _usable({name: asked[name] for name in unknown if name in asked})
        return found

    def value(self, names: Iterable[str], *, traded: str) -> Mapping[str, float]:
        """Return the price at which each of ``names`` is valued: its current price, or its last known one.

        The traded name must have a current price: a trade never leaves its own line without one.

        Raises:
            MissingPrices: A name has neither price.
        """
        wanted = list(names)
        found = dict(self.find(wanted))
        unpriced = [name for name in wanted if name not in found and name != traded]
        if unpriced and self._last_known is not None:
            asked = self._last_known(unpriced)
            found |= _usable({name: asked[name] for name in unpriced if name in asked})
        if len(found) < len(wanted):
            raise MissingPrices([name for name in wanted if name not in found])
        return found


def prices_text(prices: Mapping[str, float]) -> str:
    """Return finite prices as text that scripts read back exactly; no JSON engine parses it."""
    return "{" + ",".join(f'"{checked_ticker(name)}":{price:.17g}' for name, price in prices.items()) + "}"


def _usable(prices: Mapping[str, float]) -> dict[str, float]:
    return {name: float(price) for name, price in prices.items() if math.isfinite(price) and price > 0}
