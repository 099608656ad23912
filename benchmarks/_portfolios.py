"""The portfolios of the load driver's clients: one for all of them, or one for each."""

from __future__ import annotations

import random
from typing import Final

COMMON: Final = {"AAPL": 100.0, "GOOGL": 50.0, "MSFT": 75.0}
"""The default holdings of a new session on every server."""
MARKET: Final = tuple(f"N{number:02d}" for number in range(60))
WIDE_MARKET: Final = tuple(f"N{number:02d}" for number in range(600))
"""The same and more, for portfolios of a given size."""
FEWEST, MOST = 3, 30


def portfolio_of(number: int, count: int | None = None) -> dict[str, float]:
    """The holdings of a client: 3 to 30 of 60 names, drawn by its number, so that hardly two are alike.

    Args:
        number: The client.
        count: How many names of `WIDE_MARKET` instead.
    """
    draw = random.Random(number)  # noqa: S311 - spreads load
    names = draw.sample(WIDE_MARKET, count) if count else draw.sample(MARKET, draw.randint(FEWEST, MOST))
    return {name: float(draw.randint(1, 500)) for name in names}
