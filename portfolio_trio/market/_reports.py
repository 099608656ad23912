"""The problems with the prices, kept for readers and logged when they change."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.log_throttle import Lasting, Seldom

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portfolio_trio.market._errors import MarketError

log: Final = logging.getLogger(__name__)

_NAMED: Final = 20
_NAMES_SECONDS: Final = 60.0


class Reports:
    """Logs when problems change, not at each tick while they last: a feed may be down all night.

    Attributes:
        error: Why the newest tick is stale, or has old bars; None if it is neither.
        unpriced: Why a name has no price at the newest tick, for each name the source reported on.
    """

    def __init__(self) -> None:
        self.error: MarketError | None = None
        self.unpriced: Mapping[str, str] = MappingProxyType({})
        self._stale_prices: Mapping[str, str] = {}
        self._stale_log = Lasting(log, clock=trio.current_time)
        # The same names may come and go with each tick.
        self._names_log = Seldom(log, seconds=_NAMES_SECONDS, clock=trio.current_time)

    def report(self, error: MarketError | None) -> None:
        """Record the problem with the newest tick."""
        if error is None:
            self._stale_log.ends("prices are up to date again", extra={"event": "prices_stale_end"})
        else:
            self._stale_log.begins(
                "prices are not up to date", extra={"event": "prices_stale_begin", "error": str(error)}
            )
        self.error = error

    def adopt_unpriced(self, tickers: Iterable[str]) -> None:
        """Record the names that another process could not price; that process has logged why."""
        self.unpriced = MappingProxyType(dict.fromkeys(tickers, "had none where the tick was made"))

    def report_unpriced(self, unpriced: Mapping[str, str]) -> None:
        """Record which names the source could not price, and why."""
        news = {ticker: reason for ticker, reason in unpriced.items() if self.unpriced.get(ticker) != reason}
        if news:
            named = list(news.items())[:_NAMED]
            self._names_log.warning(
                "names have no price",
                extra={
                    "event": "unpriced",
                    "names": len(news),
                    "reasons": "; ".join(f"{ticker} ({reason})" for ticker, reason in named),
                },
                alike=("unpriced", *news),
            )
        self.unpriced = MappingProxyType(dict(unpriced))

    def report_stale_prices(self, stale_prices: Mapping[str, str]) -> None:
        """Record which names count at their last close, and the date of that close."""
        news = [ticker for ticker in stale_prices if ticker not in self._stale_prices]
        if news:
            named = "; ".join(f"{ticker} (of {stale_prices[ticker]})" for ticker in news[:_NAMED])
            self._names_log.warning(
                "names are missing from the live prices; they count at their last close",
                extra={"event": "live_prices_left_out", "names": len(news), "last_closes": named},
                alike=("left out", *news),
            )
        self._stale_prices = stale_prices
