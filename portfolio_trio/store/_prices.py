"""The prices of one tick, as the scripts are given them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from portfolio_trio.store._texts import checked_ticker, checked_time, valued_text
from portfolio_trio.store.errors import MissingPrices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portfolio_trio.store.models import PriceLookup, Tick

# More prices than this for each key of a call are not sent on the chance that they are held: the script
# names what it misses, and is then sent just that.
_PRICES_PER_KEY: Final = 32


class Prices:
    """A tick's prices and where to ask for more.

    Prices that are not finite and above zero count as absent: a wrong price is reported as a missing one,
    never summed.
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
        # By identity: the offers live as long as this does.
        self._texts: dict[int, str] = {}

    @property
    def valued(self) -> str:
        """The document's ``valued`` at this tick, as JSON text."""
        return valued_text(self.tick_id, self.as_of)

    def offer(self, keys: int) -> Mapping[str, float]:
        """What to send before knowing what is held: all prices if few for so many keys, else none."""
        few = len(self._prices) <= _PRICES_PER_KEY * keys
        if few not in self._offers:
            self._offers[few] = _usable(self._prices) if few else {}
        return self._offers[few]

    def text(self, prices: Mapping[str, float]) -> str:
        """Return prices as JSON text; what is offered to every key is written once."""
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
        """Return what lines of ``names`` are worth a share: their prices, or last known ones.

        The traded name must have a price now: a line that is changed is not left without one.

        Raises:
            MissingPrices: A name has neither.
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
    """Return finite prices as text that scripts read to the very same doubles; no JSON engine sees it."""
    return "{" + ",".join(f'"{checked_ticker(name)}":{price:.17g}' for name, price in prices.items()) + "}"


def _usable(prices: Mapping[str, float]) -> dict[str, float]:
    return {name: float(price) for name, price in prices.items() if math.isfinite(price) and price > 0}
