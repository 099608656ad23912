"""Which quoted prices can be used: the one place that decides it, for every source."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Final

import numpy as np

from portfolio_trio.canonical import canonical
from portfolio_trio.market._errors import PriceSourceError, shown
from portfolio_trio.market._source import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portfolio_trio.metrics.bars import Bars


MAX_PRICE: Final = 1e15
"""Nothing costs more. A slip beyond it would make totals that no document can hold."""


def checked_price(value: object) -> float | None:
    """Return `value` as a canonical float when it is above zero and at most `MAX_PRICE`; else None."""
    if isinstance(value, bool) or not isinstance(value, (float, Real)):
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    if not 0.0 < price <= MAX_PRICE:
        return None
    # What is left of nothing is no price.
    return canonical(price) or None


def sift(
    quoted: Mapping[str, object], has_column: Callable[[str], bool]
) -> tuple[dict[str, float], dict[str, str]]:
    """Split what a source quoted into prices and, for each unusable one, the reason.

    Names without a column of bars are dropped: no number could be computed for them.
    """
    prices: dict[str, float] = {}
    unpriced: dict[str, str] = {}
    for ticker, value in quoted.items():
        if not has_column(ticker):
            continue
        price = checked_price(value)
        if price is not None:
            prices[ticker] = price
        elif isinstance(value, Unusable):
            unpriced[ticker] = value.reason
        else:
            unpriced[ticker] = f"{shown(value)} is not a price"
    return prices, unpriced


def check_cash_column(source: str, bars: Bars, ticker: str) -> None:
    """Refuse bars in which the name of cash is that of something else.

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
            f"price source {source} has {ticker} at {closes[others[0]]:g} on {bars.dates[others[0]]}, and as"
            " cash it costs 1: rename that column, or choose what cash is called with --cash (PORTFOLIO_CASH)"
        )
