"""Calling a price source with a time limit: the result is usable, or a named error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import trio

from portfolio_trio.log_throttle import Seldom
from portfolio_trio.market._check import check_cash_column, checked_price
from portfolio_trio.market._errors import PriceSourceError, PriceSourceTimeoutError, shown
from portfolio_trio.market._freshness import Dated
from portfolio_trio.metrics.bars import Bars

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import numpy.typing as npt

    from portfolio_trio.market._source import PriceSource

_T = TypeVar("_T")
log: Final = logging.getLogger(__name__)


class SourceCalls:
    """The calls of one price book to its source, which may be a third-party plug-in.

    Args:
        source: The prices.
        cash: Names that are not requested from it; if it lists one, that name costs 1 on every day.
    """

    def __init__(self, source: PriceSource, cash: Iterable[str]) -> None:
        self._source = source
        self._cash = frozenset(cash)
        self._log = Seldom(log, clock=trio.current_time)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self._source.name

    @property
    def quoted_at(self) -> float | None:
        """When its live prices were written, seconds since 1970; None if it does not say."""
        return self._source.quoted_at if isinstance(self._source, Dated) else None

    async def load(self, seconds: float) -> Bars:
        """The closed bars.

        Raises:
            PriceSourceError: It has none, or no usable ones, or is late.
        """
        bars: object = await self._ask(self._source.load, seconds)
        if not isinstance(bars, Bars):
            raise PriceSourceError(f"price source {self.name} loaded {shown(bars)}, which is not a Bars")
        for ticker in sorted(self._cash):
            check_cash_column(self.name, bars, ticker)
        return bars

    async def quote(self, previous: Mapping[str, float], seconds: float) -> Mapping[str, object]:
        """Its unchecked quotes, given the previous prices.

        Raises:
            PriceSourceError: It returns no quotes, or is late.
        """
        asked = {ticker: price for ticker, price in previous.items() if ticker not in self._cash}
        quoted: object = await self._ask(partial(self._source.quote, asked), seconds)
        if not isinstance(quoted, Mapping):
            raise PriceSourceError(f"price source {self.name} quoted {shown(quoted)}, which is not a mapping")
        return quoted

    def admit(self, ticker: str, closes: int) -> tuple[float, npt.NDArray[np.float64]] | None:
        """The first price and the column of a name; None unless it supplies both and they are usable.

        Args:
            ticker: The name.
            closes: The required length of the column.
        """
        try:
            admission = self._source.admit(ticker)
            if admission is None:
                return None
            price = checked_price(admission.price)
            column = np.asarray(admission.closes, dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - logged, with its traceback
            # May come from a plug-in, and from each client that requests a name.
            self._log.error(
                "the price source failed for a new name, which counts as unknown",
                exc_info=error,
                extra={"event": "admission_failed", "source": self.name, "ticker": shown(ticker)},
                alike=type(error).__name__,
            )
            return None
        if price is None or column.shape != (closes,):
            self._log.error(
                "the price source gave no usable price or column for a new name; it counts as unknown",
                extra={"event": "admission_unusable", "source": self.name, "ticker": shown(ticker)},
                alike="unusable",
            )
            return None
        return price, column

    async def _ask(self, ask: Callable[[], Awaitable[_T]], seconds: float) -> _T:
        """Await the source's answer; whatever it raises becomes a `PriceSourceError`."""
        with trio.move_on_after(seconds):
            try:
                return await ask()
            except PriceSourceError:
                raise
            # An exception of a plug-in must not end the updater.
            except Exception as error:
                raise PriceSourceError(f"price source {self.name}: {error!r}") from error
        raise PriceSourceTimeoutError(f"price source {self.name} did not answer in {seconds:g} s")
