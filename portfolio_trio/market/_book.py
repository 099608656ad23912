"""The price book: the latest tick and the closed bars, with one writer and many readers."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.log_throttle import Seldom
from portfolio_trio.market._admissions import Admissions
from portfolio_trio.market._check import checked_price, sift
from portfolio_trio.market._columns import Columns
from portfolio_trio.market._errors import (
    BookNotOpenError,
    MarketError,
    MarketFullError,
    PriceSourceError,
)
from portfolio_trio.market._freshness import Freshness, MaxAge, freshness
from portfolio_trio.market._reports import Reports
from portfolio_trio.market._source_calls import SourceCalls
from portfolio_trio.market._tick_maker import TickMaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from portfolio_trio.market._last_closes import LastCloses
    from portfolio_trio.market._source import PriceSource
    from portfolio_trio.market._tick import Tick
    from portfolio_trio.metrics.bars import Bars

log: Final = logging.getLogger(__name__)

_FULL_LOG_SECONDS: Final = 60.0


class PriceBook:
    """Holds the newest tick and the closed bars of one price source.

    One task writes (`open` once, then `advance` or `adopt` at each tick); any number read. Every name that
    has a price has a column in `bars`. Reading and admitting are synchronous: values read without an await in
    between are consistent.

    Attributes:
        cash: Names that cost 1 at every tick, without a column.
    """

    def __init__(
        self,
        source: PriceSource,
        *,
        now: Callable[[], float],
        cash: Iterable[str] = (),
        max_names: int = 10_000,
        quote_timeout: float = 10.0,
        open_timeout: float = 60.0,
        max_age: MaxAge | None = None,
    ) -> None:
        """Make a book over `source`; nothing is read before `open`.

        Args:
            source: The prices; from now on only this book calls it.
            now: Wall clock, seconds since 1970 in UTC.
            cash: Names that cost 1 at every tick and need no column; the source's prices for them are
                ignored.
            max_names: Maximum number of columns; `prices_for` admits no names beyond it.
            quote_timeout: Seconds the source may take for its bars, and again for its prices, at each tick.
            open_timeout: The same at `open`, when a long history may have to be read.
            max_age: How old prices may be before a tick is stale; unlimited by default.
        """
        self._source = source
        self._calls = SourceCalls(source, cash)
        self._now = now
        self.cash: Final = frozenset(cash)
        self._cash_prices: Final = dict.fromkeys(sorted(self.cash), 1.0)
        self._max_names = max_names
        self._quote_timeout = quote_timeout
        self._open_timeout = open_timeout
        self._max_age = max_age or MaxAge()
        self._writing = trio.Lock()
        self._tick: Tick | None = None
        # The newest tick shared with all processes; `open` makes one for this process only.
        self._shared_id = 0
        self._ticks = TickMaker(now, self._max_age, cash=self._cash_prices, max_names=max_names)
        self._columns = Columns()
        self._admissions = Admissions()
        # Prices of removed names at the current tick: if admitted again within it, they cost the same.
        self._parted: dict[str, float] = {}
        self._full_log = Seldom(log, seconds=_FULL_LOG_SECONDS, clock=now)
        self._reports = Reports()

    @property
    def source_name(self) -> str:
        """The name of the source."""
        return self._source.name

    @property
    def market_name(self) -> str:
        """The source and the cash names, which must be the same for all workers on one Redis."""
        return ", ".join((self.source_name, *(f"cash {ticker}" for ticker in self._cash_prices)))

    @property
    def current(self) -> Tick:
        """The newest tick. `BookNotOpenError` before `open`."""
        if self._tick is None:
            raise BookNotOpenError("the price book has no tick yet: await open() first")
        return self._tick

    @property
    def last_error(self) -> MarketError | None:
        """Why the newest tick is stale, or has old bars; None if it is neither."""
        return self._reports.error

    @property
    def unpriced(self) -> Mapping[str, str]:
        """Why a name has no price at the newest tick, for each name the source reported on."""
        return self._reports.unpriced

    @property
    def bars(self) -> Bars:
        """The closed bars, admitted names included. `BookNotOpenError` before `open`."""
        return self._columns.bars

    @property
    def column_prices(self) -> npt.NDArray[np.float64]:
        """The current prices in the order of `bars`, NaN for a name without one; after them 1, for cash."""
        return self._columns.in_order(self.current.prices)

    @property
    def last_closes(self) -> LastCloses:
        """The newest close of each name in `bars`."""
        return self._columns.last_closes

    def freshness(self, holdings: Mapping[str, float]) -> Freshness:
        """How fresh the prices of a portfolio are; lines of zero shares do not count."""
        held = [ticker for ticker, shares in holdings.items() if shares and ticker not in self.cash]
        oldest = self._max_age.oldest_bar(self._now())
        return freshness(held, self.prices_for(held), self.last_closes, oldest_bar=oldest, tick=self.current)

    def is_stale(self, tickers: Iterable[str]) -> bool:
        """Whether the current prices of `tickers`, or their bars, are older than allowed."""
        tick, old = self.current, self.last_closes.older_than(self._max_age.oldest_bar(self._now()))
        if tick.stale or not (tick.stale_prices or old):
            return tick.stale
        return any(
            ticker in tick.stale_prices or (ticker in old and ticker not in self.cash) for ticker in tickers
        )

    async def open(self) -> Tick:
        """Load the bars and publish the first tick.

        Raises:
            PriceSourceError: The source cannot load bars or cannot quote.
        """
        async with self._writing:
            self._list(await self._calls.load(self._open_timeout))
            return self._set(self._quoted(await self._calls.quote({}, self._open_timeout)))

    async def advance(self, commit: Callable[[Tick], Awaitable[None]] | None = None) -> Tick:
        """Publish the next tick.

        If the source fails or is late, the old values stay: without new bars the old bars, without new prices
        the old prices with their `as_of`, and the tick is stale. `last_error` then says why. Cancelling
        publishes nothing.

        Args:
            commit: Awaited with the tick before it becomes the current one; if it raises, the tick is
                not published.
        """
        async with self._writing:
            bars_error = await self._reload()
            previous = self.current.prices
            try:
                quoted = await self._calls.quote(previous, self._quote_timeout)
            except PriceSourceError as error:
                self._reports.report(error)
                tick = self._ticks.repeat(self.current, error)
            else:
                tick = self._quoted(quoted)
                self._reports.report(bars_error or _staleness(tick))
            if commit is not None:
                await commit(tick)
            self._shared_id = tick.tick_id
            return self._set(self._with_admitted(tick, previous))

    async def share(self, commit: Callable[[Tick], Awaitable[None]]) -> None:
        """Share the current tick, which `open` made for this process only, with the other processes.

        Args:
            commit: Awaited with the tick; if it raises, the tick is not shared.
        """
        async with self._writing:
            tick = self.current
            await commit(tick)
            self._shared_id = tick.tick_id

    async def adopt(self, tick: Tick, *, unpriced: Collection[str] = ()) -> bool:
        """Make the tick of another process the current one; False, without effect, if it is not newer.

        Names of the tick for which the source has no bars are left out. A name that was admitted here, and
        that the other process does not know, keeps its first price.

        Args:
            tick: The tick; this process has not published a newer one.
            unpriced: Names that the other process knows but that have no price at the tick.
        """
        async with self._writing:
            if tick.tick_id <= self._shared_id:
                return False
            self._reports.report(await self._reload() or _staleness(tick))
            self._reports.adopt_unpriced(unpriced)
            for ticker in tick.prices:
                if ticker not in self._columns and ticker not in self.cash:
                    self._admit_column(ticker)
            admitted = self._admissions.prices.items()
            first = {t: price for t, price in admitted if t not in unpriced and t in self._columns}
            told = {t: price for t, price in tick.prices.items() if t in self._columns}
            self._shared_id = tick.tick_id
            self._set(replace(tick, prices=MappingProxyType({**first, **told, **self._cash_prices})))
            # The leader has swept all portfolios, and knows every held name.
            self.release({*tick.prices, *unpriced})
            return True

    def keep(self, tickers: Iterable[str]) -> None:
        """Keep `tickers` in the book even if no portfolio holds them."""
        self._admissions.keep(tickers)

    def release(self, held: Collection[str]) -> None:
        """Remove admitted names that no portfolio holds.

        A name is removed when some sweeps in a row have not found it and it was not requested meanwhile; when
        it is requested again, it is admitted again.

        Args:
            held: All names that a sweep has found in portfolios.
        """
        gone = self._admissions.idle(held)
        if not gone:
            return
        for ticker in gone:
            self._admissions.leave(ticker)
        self._columns.remove(gone)
        tick = self.current
        kept = dict(tick.prices)
        self._parted.update((ticker, kept.pop(ticker)) for ticker in gone if ticker in kept)
        self._tick = replace(tick, prices=MappingProxyType(kept))
        log.info(
            "names that nobody holds were removed from the market",
            extra={"event": "names_left", "names": len(gone)},
        )

    def prices_for(
        self, tickers: Iterable[str], *, session_id: str | None = None, address: str | None = None
    ) -> Mapping[str, float]:
        """Return the current prices of `tickers`, admitting unknown names.

        A new name joins the current tick at its first price; no other price changes. A name is left out that
        has no price at this tick, that the source does not supply, or for which there is no room.

        Args:
            tickers: The names.
            session_id: The session that wants to hold them; None if they are held already, and are nobody's.
            address: What the client's address counts as; None if it does not count.

        Raises:
            MarketFullError: The session or the address has added as many names as it may; none was admitted.
        """
        wanted = list(tickers)
        self._admissions.ask(wanted)
        known = self.current.prices
        unknown = [ticker for ticker in dict.fromkeys(wanted) if ticker not in known]
        if unknown:
            self._check_share(unknown, session_id, address)
            self._admit(unknown, session_id, address)
        prices = self.current.prices
        return {ticker: prices[ticker] for ticker in wanted if ticker in prices}

    def values_for(self, tickers: Iterable[str]) -> Mapping[str, float]:
        """Return the price at which each of `tickers` is valued: `prices_for`, else `last_known`."""
        wanted = list(tickers)
        prices = self.prices_for(wanted)
        missing = [ticker for ticker in wanted if ticker not in prices]
        return {**prices, **self.last_known(missing)} if missing else prices

    def last_known(self, tickers: Iterable[str]) -> Mapping[str, float]:
        """Return the newest known price of `tickers`, else their last close, in currency units.

        A name with neither is left out.
        """
        tick, last = self.current, self.last_closes
        known = {}
        for ticker in tickers:
            price = tick.prices.get(ticker) or tick.last_known.get(ticker)
            price = price or checked_price(last.close_of(ticker))
            if price is not None:
                known[ticker] = price
        return known

    async def _reload(self) -> PriceSourceError | None:
        try:
            self._list(await self._calls.load(self._quote_timeout))
        except PriceSourceError as error:
            return error
        return None

    def _list(self, bars: Bars) -> None:
        """Replace the bars by the source's; names admitted before are requested again, as dates may differ.

        A name that no longer has a column loses its price at once, because every priced name has a column.
        """
        if bars is self._columns.listed:
            return
        for ticker in self._columns.replace(bars):
            if self._admit_column(ticker) is None:
                self._admissions.leave(ticker)
        if self._tick is not None:
            kept = {t: price for t, price in self._tick.prices.items() if t in self._columns}
            self._tick = self._ticks.reprice(self._tick, kept)

    def _quoted(self, quoted: Mapping[str, object]) -> Tick:
        """Return the next tick, from the source's quotes."""
        last, oldest = self.last_closes, self._max_age.oldest_bar(self._now())
        quotes = sift(quoted, self._is_quoted, last, oldest_bar=oldest)
        self._reports.report_unpriced(quotes.unpriced)
        self._reports.report_stale_prices(quotes.stale_prices)
        return self._ticks.make(
            quotes.prices,
            self._tick,
            newest_bar=last.newest,
            quoted_at=self._calls.quoted_at,
            stale_prices=quotes.stale_prices,
        )

    def _with_admitted(self, tick: Tick, previous: Mapping[str, float]) -> Tick:
        """Add the names that were admitted while the source was quoting, which it could not know."""
        admitted = {
            ticker: price
            for ticker, price in self.current.prices.items()
            if ticker not in previous and ticker not in self.unpriced and ticker not in tick.prices
        }
        return replace(tick, prices=MappingProxyType({**tick.prices, **admitted})) if admitted else tick

    def _set(self, tick: Tick) -> Tick:
        self._tick = tick
        self._parted = {}
        return tick

    def _is_quoted(self, ticker: str) -> bool:
        return ticker in self._columns and ticker not in self.cash

    def _check_share(self, unknown: Sequence[str], session_id: str | None, address: str | None) -> None:
        new = [ticker for ticker in unknown if ticker not in self._columns]
        if session_id is None or not new:
            return
        try:
            self._admissions.check(session_id, address, len(new), self._max_names - len(self._columns))
        except MarketFullError as full:
            # One such name is enough: for a source that supplies no unknown names, room is not the problem.
            if self._calls.admit(new[0], self._columns.rows) is None:
                return
            self._full_log.warning(
                "a session wants more names than the market has room for",
                extra={"event": "market_full", "session": session_id, "error": str(full)},
            )
            raise

    def _admit(self, tickers: Iterable[str], *owner: str | None) -> None:
        first = {}
        for ticker in tickers:
            if ticker in self._columns:
                continue
            if (price := self._admit_column(ticker, *owner)) is not None:
                first[ticker] = self._parted.pop(ticker, price)
        if first:
            self._tick = replace(self.current, prices=MappingProxyType({**self.current.prices, **first}))

    def _admit_column(self, ticker: str, *owner: str | None) -> float | None:
        """Add the history of `ticker` from the source; return its first price, None if there is none."""
        if len(self._columns) >= self._max_names:
            return None
        admission = self._calls.admit(ticker, self._columns.rows)
        if admission is None:
            return None
        price, column = admission
        self._columns.add(ticker, column)
        self._admissions.enter(ticker, price, *owner)
        return price


def _staleness(tick: Tick) -> PriceSourceError | None:
    if not tick.stale:
        return None
    return PriceSourceError("; ".join(tick.why) or "the source failed where the tick was made")
