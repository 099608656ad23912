"""What can name a stock, an index, a currency pair or a coin."""

from __future__ import annotations

import re
from typing import Final

# Nothing here needs escaping in JSON text, out of which the scripts cut names, nor ends a name there.
TICKER_PATTERN: Final = r"^[A-Z0-9^][A-Z0-9.\-=^&/_:]{0,31}$"

TICKER_RULE: Final = "1 to 32 of A-Z 0-9 . - = ^ & / _ : starting with a letter, a digit or ^"
"""`TICKER_PATTERN` in words."""

_TICKER: Final = re.compile(TICKER_PATTERN, re.ASCII)


def is_ticker(text: str) -> bool:
    """Whether ``text`` is a ticker in upper case: see `TICKER_RULE`."""
    # The whole of it: $ would match before a line end, too.
    return _TICKER.fullmatch(text) is not None


def ticker_of(name: str) -> str | None:
    """Return ``name`` in upper case; None where that is no ticker."""
    ticker = name.upper()
    # Some letters become others, or two, in upper case.
    return ticker if name.isascii() and is_ticker(ticker) else None
