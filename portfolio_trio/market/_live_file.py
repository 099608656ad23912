"""Live prices from a JSON file: ``{"AAPL": 130.1, "MSFT": 411.0}``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from portfolio_trio.market._check import checked_price
from portfolio_trio.market._errors import PriceFileError, shown
from portfolio_trio.market._source import Unusable
from portfolio_trio.tickers import ticker_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 8 * 2**20
"""Maximum size of a live file in bytes: some 300,000 names."""


def parse_live(content: bytes, path: Path) -> dict[str, float | Unusable]:
    """Return the prices in `content`, names upper-cased; a bad value spoils only its own name.

    A value that is not a finite, positive number, or a name given twice, is `Unusable`. A name that is not a
    ticker is left out.

    Raises:
        PriceFileError: The text is not a JSON object in UTF-8, for example because it is only half written.
    """
    try:
        # An object becomes a tuple of pairs, which nothing else does, so that a name given twice stays
        # visible. All numbers become floats, whatever their length, and so do NaN and Infinity, which JSON
        # does not have.
        pairs = json.loads(content.decode("utf-8-sig"), object_pairs_hook=tuple, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise PriceFileError(path, f"not JSON, or only half written: {error}") from None
    if not isinstance(pairs, tuple):
        raise PriceFileError(path, 'must hold one JSON object: {"AAPL": 130.1}')
    prices: dict[str, float | Unusable] = {}
    for name, value in pairs:
        ticker = ticker_of(str(name).strip())
        if ticker is None:
            continue
        price = checked_price(value)
        if ticker in prices:
            prices[ticker] = Unusable("given twice in the live prices")
        elif price is None:
            prices[ticker] = Unusable(f"{shown(value)} is not a price")
        else:
            prices[ticker] = price
    return prices
