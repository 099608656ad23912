"""What can name a stock."""

from __future__ import annotations

import re
from typing import Final

TICKER_PATTERN: Final = r"^[A-Z][A-Z0-9.\-]{0,14}$"

_TICKER: Final = re.compile(TICKER_PATTERN, re.ASCII)


def is_ticker(text: str) -> bool:
    """Whether ``text`` can name a stock: a letter, then up to 14 letters, digits, dots or dashes."""
    # The whole of it: $ would match before a line end, too.
    return _TICKER.fullmatch(text) is not None
