"""The price book: the latest tick and the closed bars, one writer and many readers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import trio

from portfolio_trio.log_throttle import Seldom
from portfolio_trio.market._admissions import Admissions
from portfolio_trio.market._check import check_cash_column, checked_price, sift
from portfolio_trio.market._errors import (
    BookNotOpenError,
    MarketError,
    MarketFullError,
    PriceSourceError,
    PriceSourceTimeoutError,
    shown,
)
from portfolio_trio.market._freshness import Dated, Freshness, MaxAge, freshness
from portfolio_trio.market._last_closes import LastCloses
from portfolio_trio.market._tick import Tick
from portfolio_trio.metrics.bars import Bars
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    import numpy.typing as npt

    from portfolio_trio.market._source import PriceSource

_T = TypeVar("_T")
log: Final = logging.getLogger(__name__)

_FULL_LOG_SECONDS: Final = 60.0


class PriceBook:
    """Holds the newest tick and the closed bars of one price source.

    One task writes (`open` once, then `advance` or `adopt` at each tick); any number read. Every name that
    has a price has a column in `bars`. Reading and admitting are synchronous: what a task reads
    without awaiting in between belongs together.

    Attributes:
        cash: Names that cost 1 at every tick, without a column.
        last_error: Why the newest tick is stale, or has old bars; None while all is well.
        unpriced: Why a name has no price at the newest tick, for each name the source reported on.
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
            source: The prices; from now on called by this book only.
            now: Wall clock, seconds since 1970 in UTC.
            cash: Names that cost 1 at every tick and need no column; whatever the source says of them
                does not count.
            max_names: `prices_for` admits no name beyond so many columns.
            quote_timeout: Seconds the source gets for its bars and again for its prices at each tick.
            open_timeout: The same at `open`, where a long history may have to be read.
            max_age: How old prices may be before a tick is stale; by default as old as they like.
        """
        self._source = source
        self._now = now
        self.cash: Final = frozenset(cash)
        self._cash_prices: Final = dict.fromkeys(sorted(self.cash), 1.0)
        self._max_names = max_names
        self._quote_timeout = quote_timeout
        self._open_timeout = open_timeout
        self._max_age = max_age or MaxAge()
        self._writing = trio.Lock()
        self._tick: Tick | None = None
        # The newest tick that all processes have: `open` makes one for this process alone.
        self._shared_id = 0
        self._listed: Bars | None = None
        self._bars: Bars | None = None
        self._last: LastCloses | None = None
        self._unmerged: dict[str, npt.NDArray[np.float64]] = {}
        self._first: dict[str, float] = {}
        self._admissions = Admissions()
        # What names that have gone cost at the current tick: back within it, they cost the same.
        self._parted: dict[str, float] = {}
        self._full_log = Seldom(log, seconds=_FULL_LOG_SECONDS, clock=now)
        self.last_error: MarketError | None = None
        self.unpriced: Mapping[str, str] = MappingProxyType({})

    @property
    def source_name(self) -> str:
        """What the source calls itself."""
        return self._source.name

    @property
    def market_name(self) -> str:
        """The source and what is cash: all workers on one Redis have the same."""
        return ", ".join((self.source_name, *(f"cash {ticker}" for ticker in self._cash_prices)))

    @property
    def current(self) -> Tick:
        """The newest tick. `BookNotOpenError` before `open`."""
        if self._tick is None:
            raise BookNotOpenError("the price book has no tick yet: await open() first")
        return self._tick

    @property
    def bars(self) -> Bars:
        """The closed bars, admitted names included. `BookNotOpenError` before `open`.

        Merged when first read after an admission, so that admissions in between cost nothing.
        """
        if self._bars is None:
            raise BookNotOpenError("the price book has no bars yet: await open() first")
        if self._unmerged:
            self._bars = _with_columns(self._bars, self._unmerged)
            self._unmerged = {}
        return self._bars

    @property
    def last_closes(self) -> LastCloses:
        """The newest close of each name in `bars`."""
        bars = self.bars
        if self._last is None or self._last.bars is not bars:
            self._last = LastCloses(bars)
        return self._last

    def freshness(self, holdings: Mapping[str, float]) -> Freshness:
        """What the current prices are worth to a portfolio; lines of zero shares do not count."""
        held = [ticker for ticker, shares in holdings.items() if shares and ticker not in self.cash]
        return freshness(
            held,
            self.prices_for(held),
            self.last_closes,
            oldest_bar=self._max_age.oldest_bar(self._now()),
            stale=self.current.stale,
        )

    def is_stale(self, tickers: Iterable[str]) -> bool:
        """Whether the current prices of `tickers`, or their bars, are older than they may be."""
        old = self.last_closes.older_than(self._max_age.oldest_bar(self._now()))
        return self.current.stale or not old.difference(self.cash).isdisjoint(tickers)

    async def open(self) -> Tick:
        """Load the bars and publish the first tick.

        Raises:
            PriceSourceError: The source cannot load bars or cannot quote: there is nothing to start with.
        """
        async with self._writing:
            self._list(await self._load(self._open_timeout))
            return self._set(self._quoted(await self._quote({}, self._open_timeout)))

    async def advance(self, commit: Callable[[Tick], Awaitable[None]] | None = None) -> Tick:
        """Publish the next tick.

        A source that fails or is late keeps what it keeps from being new: without bars the old bars
        stay, without prices the old prices stay with their `as_of`, and the tick is stale.
        `last_error` then says why. Cancelling publishes nothing.

        Args:
            commit: Awaited with the tick before it becomes the current one; if it raises, the tick is
                not published.
        """
        async with self._writing:
            bars_error = await self._reload()
            previous = self.current.prices
            try:
                quoted = await self._quote(previous, self._quote_timeout)
            except PriceSourceError as error:
                self._report(error)
                tick = self._repeated(error)
            else:
                tick = self._quoted(quoted)
                self._report(bars_error or _staleness(tick))
            if commit is not None:
                await commit(tick)
            self._shared_id = tick.tick_id
            return self._set(self._with_admitted(tick, previous))

    async def share(self, commit: Callable[[Tick], Awaitable[None]]) -> None:
        """Let other processes have the current tick, which `open` made for this one alone.

        Args:
            commit: Awaited with the tick; if it raises, the tick stays this process's own.
        """
        async with self._writing:
            tick = self.current
            await commit(tick)
            self._shared_id = tick.tick_id

    async def adopt(self, tick: Tick, *, unpriced: Collection[str] = ()) -> bool:
        """Make the tick of another process the current one; False, and nothing, if it is not newer.

        A name of the tick that the source has no bars for is left out. A name that was admitted here, and
        that the other process does not know of, keeps its first price.

        Args:
            tick: The tick; this process has not published a newer one.
            unpriced: Names that the other process knows and that have no price at the tick.
        """
        async with self._writing:
            if tick.tick_id <= self._shared_id:
                return False
            self._report(await self._reload() or _staleness(tick))
            self.unpriced = MappingProxyType(dict.fromkeys(unpriced, "had none where the tick was made"))
            for ticker in tick.prices:
                if not self._has_column(ticker) and ticker not in self.cash:
                    self._admit_column(ticker)
            first = {
                t: price for t, price in self._first.items() if t not in unpriced and self._has_column(t)
            }
            told = {t: price for t, price in tick.prices.items() if self._has_column(t)}
            self._shared_id = tick.tick_id
            self._set(replace(tick, prices=MappingProxyType({**first, **told, **self._cash_prices})))
            # Whoever leads has looked at all portfolios, and knows each name that is held.
            self.release({*tick.prices, *unpriced})
            return True

    def keep(self, tickers: Iterable[str]) -> None:
        """Let `tickers` stay in the book though no portfolio holds them."""
        self._admissions.keep(tickers)

    def release(self, held: Collection[str]) -> None:
        """Give the places of admitted names back that no portfolio holds.

        A name goes when some sweeps in a row have not found it and nobody has asked for it meanwhile; asked
        for again, it is admitted anew.

        Args:
            held: All names that a sweep has found in portfolios.
        """
        gone = self._admissions.idle(held)
        if not gone:
            return
        for ticker in gone:
            self._admissions.leave(ticker)
            self._first.pop(ticker, None)
        self._bars = _without_columns(self.bars, frozenset(gone))
        tick = self.current
        kept = dict(tick.prices)
        self._parted.update((ticker, kept.pop(ticker)) for ticker in gone if ticker in kept)
        self._tick = replace(tick, prices=MappingProxyType(kept))
        log.info("%d names that nobody holds have left the market", len(gone))

    def prices_for(self, tickers: Iterable[str], *, session_id: str | None = None) -> Mapping[str, float]:
        """Return the current prices of `tickers`, admitting names the book did not know.

        A new name joins the current tick at its first price; no other price changes. A name that
        cannot be priced is left out: it has no price at this tick, or the source does not supply it,
        or the book is full.

        Args:
            tickers: The names.
            session_id: Who wants to hold them; by default they are held already, and count as nobody's.

        Raises:
            MarketFullError: The session has brought as many new names as it may; none was admitted.
        """
        wanted = list(tickers)
        self._admissions.ask(wanted)
        known = self.current.prices
        unknown = [ticker for ticker in dict.fromkeys(wanted) if ticker not in known]
        if unknown:
            self._check_share([ticker for ticker in unknown if not self._has_column(ticker)], session_id)
            self._admit(unknown, session_id)
        prices = self.current.prices
        return {ticker: prices[ticker] for ticker in wanted if ticker in prices}

    def values_for(self, tickers: Iterable[str]) -> Mapping[str, float]:
        """Return what a share of `tickers` is valued at: `prices_for`, and `last_known` for the others."""
        wanted = list(tickers)
        return {**self.last_known(wanted), **self.prices_for(wanted)}

    def last_known(self, tickers: Iterable[str]) -> Mapping[str, float]:
        """Return the newest price there has been of `tickers`, else their last close, in currency units.

        A name that has had neither is left out.
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
            self._list(await self._load(self._quote_timeout))
        except PriceSourceError as error:
            return error
        return None

    async def _load(self, seconds: float) -> Bars:
        bars: object = await self._ask(self._source.load, seconds)
        if not isinstance(bars, Bars):
            raise PriceSourceError(f"price source {self._source.name} loaded {shown(bars)}, which is no Bars")
        for ticker in self._cash_prices:
            check_cash_column(self._source.name, bars, ticker)
        return bars

    async def _quote(self, previous: Mapping[str, float], seconds: float) -> Mapping[str, object]:
        asked = {ticker: price for ticker, price in previous.items() if ticker not in self.cash}
        quoted: object = await self._ask(partial(self._source.quote, asked), seconds)
        if not isinstance(quoted, Mapping):
            raise PriceSourceError(
                f"price source {self._source.name} quoted {shown(quoted)}, which is no mapping"
            )
        return quoted

    async def _ask(self, ask: Callable[[], Awaitable[_T]], seconds: float) -> _T:
        """Await what the source answers; whatever it raises becomes a `PriceSourceError`."""
        with trio.move_on_after(seconds):
            try:
                return await ask()
            except PriceSourceError:
                raise
            # A source may be anybody's plug-in: what it raises must not end the updater.
            except Exception as error:
                raise PriceSourceError(f"price source {self._source.name}: {error!r}") from error
        raise PriceSourceTimeoutError(f"price source {self._source.name} did not answer in {seconds:g} s")

    def _list(self, bars: Bars) -> None:
        """Take the source's bars; names admitted before are asked for again, as dates may differ.

        A name that has no column any more loses its price at once, as what is priced has a column.
        """
        if bars is self._listed:
            return
        known = () if self._listed is None else self.bars.tickers
        self._listed = self._bars = bars
        self._unmerged = {}
        for ticker in known:
            if ticker not in bars.column and self._admit_column(ticker) is None:
                self._admissions.leave(ticker)
        if self._tick is not None:
            kept = {t: price for t, price in self._tick.prices.items() if self._has_column(t)}
            prices = {**kept, **self._cash_prices}
            self._tick = replace(
                self._tick,
                prices=MappingProxyType(prices),
                last_known=MappingProxyType(self._known_without(prices)),
            )

    def _quoted(self, quoted: Mapping[str, object]) -> Tick:
        """Return what the source has quoted as the next tick."""
        prices, unpriced = sift(quoted, self._is_quoted)
        self._report_unpriced(unpriced)
        now = self._now()
        now_ms = int(now * 1000)
        why = self._max_age.reasons(
            now,
            priced=prices,
            newest_bar=self.last_closes.newest,
            quoted_at=self._source.quoted_at if isinstance(self._source, Dated) else None,
        )
        prices.update(self._cash_prices)
        return Tick(
            self._next_id(now_ms),
            rfc3339(now_ms / 1000),
            MappingProxyType(prices),
            stale=bool(why),
            why=why,
            last_known=MappingProxyType(self._known_without(prices)),
        )

    def _repeated(self, error: PriceSourceError) -> Tick:
        """Return the old prices under a new id."""
        tick_id = self._next_id(int(self._now() * 1000))
        return replace(self.current, tick_id=tick_id, stale=True, why=(str(error),))

    def _known_without(self, prices: Mapping[str, float]) -> dict[str, float]:
        """The newest price of each name that had one and is not among `prices`; the newest `max_names`."""
        if self._tick is None:
            return {}
        had = {**self._tick.last_known, **self._tick.prices}
        known = [(ticker, price) for ticker, price in had.items() if ticker not in prices]
        return dict(known[-self._max_names :])

    def _with_admitted(self, tick: Tick, previous: Mapping[str, float]) -> Tick:
        """Add the names that were admitted while the source was quoting: it could not know of them."""
        admitted = {
            ticker: price
            for ticker, price in self.current.prices.items()
            if ticker not in previous and ticker not in self.unpriced and ticker not in tick.prices
        }
        return replace(tick, prices=MappingProxyType({**tick.prices, **admitted})) if admitted else tick

    def _next_id(self, now_ms: int) -> int:
        return max(now_ms, 1 if self._tick is None else self._tick.tick_id + 1)

    def _set(self, tick: Tick) -> Tick:
        self._tick = tick
        self._parted = {}
        return tick

    def _has_column(self, ticker: str) -> bool:
        return ticker in self._unmerged or (self._bars is not None and ticker in self._bars.column)

    def _is_quoted(self, ticker: str) -> bool:
        return self._has_column(ticker) and ticker not in self.cash

    def _check_share(self, new: Sequence[str], session_id: str | None) -> None:
        if session_id is None or not new:
            return
        try:
            self._admissions.check(session_id, len(new), self._max_names - self._columns)
        except MarketFullError as full:
            # One will do: a source that supplies no name at all lacks no room for them.
            if self._ask_for_admission(new[0]) is None:
                return
            self._full_log.warning("the market: %s", full)
            raise

    def _admit(self, tickers: Iterable[str], session_id: str | None = None) -> None:
        first = {}
        for ticker in tickers:
            if self._has_column(ticker):
                continue
            price = self._admit_column(ticker, session_id)
            if price is not None:
                first[ticker] = self._parted.pop(ticker, price)
        if first:
            self._tick = replace(self.current, prices=MappingProxyType({**self.current.prices, **first}))

    @property
    def _columns(self) -> int:
        return len(self._unmerged) + (0 if self._bars is None else len(self._bars.tickers))

    def _admit_column(self, ticker: str, session_id: str | None = None) -> float | None:
        """Take the history of `ticker` from the source; return its first price, None if there is none."""
        if self._columns >= self._max_names:
            return None
        admission = self._ask_for_admission(ticker)
        if admission is None:
            return None
        price, self._unmerged[ticker] = admission
        self._first[ticker] = price
        self._admissions.enter(ticker, session_id)
        return price

    def _ask_for_admission(self, ticker: str) -> tuple[float, npt.NDArray[np.float64]] | None:
        """The first price and the column of a name, if the source supplies it and both can be used."""
        try:
            admission = self._source.admit(ticker)
            if admission is None:
                return None
            price = checked_price(admission.price)
            column = np.asarray(admission.closes, dtype=np.float64)
        except Exception:
            log.exception("price source %s could not admit %s", self._source.name, shown(ticker))
            return None
        if price is None or self._bars is None or column.shape != (len(self._bars.dates),):
            log.error(
                "price source %s admitted %s with no usable price or column", self._source.name, shown(ticker)
            )
            return None
        return price, column

    def _report(self, error: MarketError | None) -> None:
        """Keep `error` and log it when it is news: a feed that is down all night fills no log."""
        if error is not None and str(error) != str(self.last_error):
            log.warning("prices are not up to date: %s", error)
        elif error is None and self.last_error is not None:
            log.info("prices are up to date again")
        self.last_error = error

    def _report_unpriced(self, unpriced: Mapping[str, str]) -> None:
        news = {ticker: reason for ticker, reason in unpriced.items() if self.unpriced.get(ticker) != reason}
        if news:
            log.warning(
                "no price for %s", "; ".join(f"{t} ({reason})" for t, reason in list(news.items())[:20])
            )
        self.unpriced = MappingProxyType(dict(unpriced))


def _staleness(tick: Tick) -> PriceSourceError | None:
    if not tick.stale:
        return None
    return PriceSourceError("; ".join(tick.why) or "the source failed where the tick was made")


def _with_columns(bars: Bars, columns: Mapping[str, npt.NDArray[np.float64]]) -> Bars:
    # Row by row of the transposed table, as in `Bars` each column lies in one piece.
    closes = np.vstack([bars.closes.T, *columns.values()]).T
    return Bars(bars.dates, (*bars.tickers, *columns), closes)


def _without_columns(bars: Bars, gone: Collection[str]) -> Bars:
    kept = [place for place, ticker in enumerate(bars.tickers) if ticker not in gone]
    return Bars(bars.dates, tuple(bars.tickers[place] for place in kept), bars.closes[:, kept])
