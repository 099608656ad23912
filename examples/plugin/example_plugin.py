"""A metric and a price source, found by their entry points where this package is installed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np

from portfolio_trio.market import Admission
from portfolio_trio.metrics import AnalysisInputs, Bars, MetricError, metric

TICKERS = ("AAPL", "GOOGL", "MSFT")
DAYS = 400


@metric("worst_day")
def worst_day(inputs: AnalysisInputs) -> float:
    """The position's worst daily return over the known closes, as a fraction; negative is a loss."""
    closes = inputs.closes[np.isfinite(inputs.closes)]
    if closes.size < 2:  # noqa: PLR2004 - one return takes two closes
        raise MetricError("insufficient_history", f"{inputs.ticker} has no two closes", [inputs.ticker])
    return float((closes[1:] / closes[:-1] - 1.0).min())


class SinePrices:
    """Prices that swing around 100, each name at its own pace; `--prices sine`."""

    name = "sine"

    def __init__(self, argument: str) -> None:
        if argument:
            raise ValueError("sine takes no argument")
        days = np.arange(DAYS)
        first = date(2025, 1, 1)
        closes = np.column_stack(
            [100.0 + 5.0 * np.sin(days / pace) + 0.1 * np.cos(days * pace) for pace in (5.0, 7.0, 11.0)]
        )
        dates = tuple((first + timedelta(days=int(day))).isoformat() for day in days)
        self._bars = Bars(dates, TICKERS, closes)

    async def load(self) -> Bars:
        """The closed bars; always the same object, because they never change."""
        return self._bars

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float]:
        """The last closes at first, then one percent more at every tick."""
        if not previous:
            return dict(zip(TICKERS, map(float, self._bars.closes[-1]), strict=True))
        return {ticker: price * 1.01 for ticker, price in previous.items()}

    def admit(self, ticker: str) -> Admission | None:  # noqa: ARG002 - no name is admitted
        """No names other than those listed."""
        return None
