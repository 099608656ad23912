"""Which quoted prices can be used: decided in this one place, for every source."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Final

import numpy as np

from portfolio_trio.canonical import canonical
from portfolio_trio.market._errors import PriceSourceError, shown
from portfolio_trio.market._source import LeftOut, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portfolio_trio.market._last_closes import LastCloses
    from portfolio_trio.metrics.bars import Bars

MAX_PRICE: Final = 1e15
"""The highest valid price. An erroneous higher one would make totals that no document can hold."""


def checked_price(value: object) -> float | None:
    """Return `value` as a canonical float if it is positive and at most `MAX_PRICE`; else None."""
    if isinstance(value, bool) or not isinstance(value, (float, Real)):
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    if not 0.0 < price <= MAX_PRICE:
        return None
    # A value that rounds to zero is not a price.
    return canonical(price) or None


@dataclass(frozen=True, slots=True)
class Quotes:
    """The usable part of a source's quotes.

    Attributes:
        prices: In currency units; last closes are included.
        stale_prices: The names that count at their last close, with its ISO date.
        unpriced: Why a name has no price.
    """

    prices: dict[str, float] = field(default_factory=dict)
    stale_prices: dict[str, str] = field(default_factory=dict)
    unpriced: dict[str, str] = field(default_factory=dict)


def sift(
    quoted: Mapping[str, object], has_column: Callable[[str], bool], last: LastCloses, *, oldest_bar: str
) -> Quotes:
    """Split what a source quoted into prices, last closes, and names that have neither.

    Names without a column of bars are dropped: no number could be computed for them. If the source has no
    usable price at all, it says nothing about the market, and no name counts at its last close.

    Args:
        quoted: The quotes.
        has_column: Whether a name has a column of bars.
        last: The newest closes.
        oldest_bar: The ISO date before which a close is too old to replace a price.
    """
    quotes = Quotes()
    left_out: dict[str, LeftOut] = {}
    for ticker, value in quoted.items():
        if not has_column(ticker):
            continue
        price = checked_price(value)
        if price is not None:
            quotes.prices[ticker] = price
        elif isinstance(value, LeftOut):
            left_out[ticker] = value
        elif isinstance(value, Unusable):
            quotes.unpriced[ticker] = value.reason
        else:
            quotes.unpriced[ticker] = f"{shown(value)} is not a price"
    any_price = bool(quotes.prices)
    for ticker, missing in left_out.items():
        close, day = checked_price(last.close_of(ticker)), last.date_of(ticker)
        if any_price and close and day and day >= oldest_bar and not last.has_ended(ticker):
            quotes.prices[ticker], quotes.stale_prices[ticker] = close, day
        else:
            quotes.unpriced[ticker] = missing.reason
    return quotes


def check_cash_column(source: str, bars: Bars, ticker: str) -> None:
    """Refuse bars in which a cash name is used for something else.

    Raises:
        PriceSourceError: It has a close that is not 1.
    """
    column = bars.column.get(ticker)
    if column is None:
        return
    closes = bars.closes[:, column]
    others = np.flatnonzero(np.isfinite(closes) & (closes != 1.0))
    if len(others):
        raise PriceSourceError(
            f"price source {source} has {ticker} at {closes[others[0]]:g} on {bars.dates[others[0]]}, but as"
            " cash it costs 1: rename that column, or set the names of cash with --cash (PORTFOLIO_CASH)"
        )
