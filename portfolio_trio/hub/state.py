"""The state of a session as a message for clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.canonical import canonical
from portfolio_trio.protocol.messages import Portfolio, Running, Valued

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio import store
    from portfolio_trio.market import PriceBook
    from portfolio_trio.targets import Targets


def drifts(
    targets: Targets | None, holdings: Mapping[str, float], prices: Mapping[str, float]
) -> dict[str, float]:
    """Drift of each name outside the band of its target, at these prices."""
    if targets is None:
        return {}
    values = {name: shares * prices[name] for name, shares in holdings.items() if name in prices}
    return {name: canonical(drift) for name, drift in targets.outside(values).items()}


def line_values(holdings: Mapping[str, float], prices: Mapping[str, float]) -> dict[str, float]:
    """The value of each line at these prices, in currency units; a line without a price is left out."""
    return {name: canonical(shares * prices[name]) for name, shares in holdings.items() if name in prices}


def portfolio_message(stored: store.Portfolio, book: PriceBook | None = None) -> Portfolio:
    """The ``portfolio`` message for a portfolio in the store, with the book's information about its prices.

    The book has the prices of one tick; if that is not the tick of the store's total, values are left out.
    """
    current = stored.current_analysis
    fresh = None if book is None else book.freshness(stored.holdings)
    prices = {} if book is None else book.values_for(stored.holdings)
    is_of_tick = book is not None and book.current.tick_id == stored.valued.tick_id
    return Portfolio(
        session_id=stored.session_id,
        incarnation=stored.incarnation or None,
        holdings=dict(stored.holdings),
        version=stored.version,
        total_value=stored.total_value,
        valued=Valued(tick_id=stored.valued.tick_id, as_of=stored.valued.as_of),
        values=line_values(stored.holdings, prices) if is_of_tick else None,
        last_bar=fresh and fresh.last_bar,
        stale=fresh is not None and fresh.stale,
        unpriced={} if fresh is None else dict(fresh.unpriced),
        stale_prices={} if fresh is None else dict(fresh.stale_prices),
        targets=stored.targets,
        outside={} if book is None else drifts(stored.targets, stored.holdings, prices),
        current_analysis=current and Running.model_validate(current, from_attributes=True),
    )
