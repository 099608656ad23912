"""The format of tickers of stocks, indices, currency pairs and coins."""

from __future__ import annotations

import re
from typing import Final

# No character needs escaping in JSON text, from which the scripts extract names, or ends a name there.
TICKER_PATTERN: Final = r"^[A-Z0-9^][A-Z0-9.\-=^&/_:]{0,31}$"

TICKER_RULE: Final = "1 to 32 of A-Z 0-9 . - = ^ & / _ : starting with a letter, a digit or ^"
"""`TICKER_PATTERN` in words."""

_TICKER: Final = re.compile(TICKER_PATTERN, re.ASCII)


def is_ticker(text: str) -> bool:
    """Whether ``text`` is a ticker in upper case: see `TICKER_RULE`."""
    # Match the whole text: $ would also match before a line end.
    return _TICKER.fullmatch(text) is not None


def ticker_of(name: str) -> str | None:
    """Return ``name`` in upper case; None if that is not a ticker."""
    ticker = name.upper()
    # Some letters become different ones, or two, in upper case.
    return ticker if name.isascii() and is_ticker(ticker) else None
