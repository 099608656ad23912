"""From bars to inputs: weighted returns computed once per bar, and snapshots made from them."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.metrics.culprits import culprits
from portfolio_trio.metrics.errors import AnalysisError
from portfolio_trio.metrics.history import MIN_ROWS, WINDOW, History
from portfolio_trio.metrics.portfolio import Lines, PortfolioInputs
from portfolio_trio.metrics.positions import Positions
from portfolio_trio.metrics.recent import Recent
from portfolio_trio.metrics.rows import Calendars, Window
from portfolio_trio.metrics.snapshot import history_digest
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.targets import Targets

_ONLY_CASH: Final = Window(np.empty((0, WINDOW)), periods=252, newest=-1)
_NONE: Final = float("nan")
_NO_CASH: Final[frozenset[str]] = frozenset()

MAX_LINES: Final = 8_192
"""The maximum number of holdings in cached snapshots: at most 5 KB each, with the returns they refer to."""

# The names and the shares of a portfolio, in the order of its mapping.
_Key: TypeAlias = tuple[tuple[str, ...], tuple[float, ...]]


class _Taken(NamedTuple):
    """A snapshot, and the prices it was taken at."""

    portfolio: PortfolioInputs
    prices: tuple[float | None, ...]


class _Considered(NamedTuple):
    """Positions, some possibly with 0 shares, and the prices they were taken at."""

    positions: Positions
    prices: tuple[float | None, ...]


class ReturnsCache:
    """The weighted returns of one set of bars, for all sessions; make a new cache when a bar closes.

    If the names of a portfolio have the same calendar, their returns come from an array shared by all names
    of that calendar; if calendars differ, the common rows are found for that set of names. Either way the
    result is cached for the next snapshot of the same set, most recently used first, within `max_bytes`.
    Whole snapshots are cached as well, because several tickers of one portfolio may be analysed between two
    ticks. Not thread-safe; the inputs it returns are.

    Args:
        bars: Closed daily bars.
        cash: Names that always cost 1, even if they have a column.
        max_bytes: Memory limit for the returns of held sets; the newest is kept whatever its size.
    """

    def __init__(self, bars: Bars, *, cash: Iterable[str] = (), max_bytes: int = 64 * 2**20) -> None:
        self.bars = bars
        self._cash = frozenset(cash)
        self._calendars = Calendars(bars)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._histories: OrderedDict[tuple[str, ...], History] = OrderedDict()
        self._portfolios: Recent[_Key, _Taken] = Recent(MAX_LINES)
        self._positions: Recent[tuple[_Key, tuple[str, ...]], _Considered] = Recent(MAX_LINES)

    def inputs(
        self,
        ticker: str,
        holdings: Mapping[str, float],
        prices: Mapping[str, float],
        *,
        targets: Targets = NO_TARGETS,
    ) -> AnalysisInputs:
        """Take one snapshot: the inputs of every metric of a run.

        Args:
            ticker: The name to analyse.
            holdings: Signed shares of each name; zero means not held.
            prices: Live prices in currency units, at least of every held name.
            targets: Target weights and risk budgets. If not set they are 1/N, the budgets over the names that
                move.

        Raises:
            AnalysisError: ``empty_portfolio``, ``not_held`` or ``bad_price``, checked in this order.
            ValueError: Shares are not finite.
        """
        # That it is not held is reported before any problem with a price.
        if any(holdings.values()) and not holdings.get(ticker):
            raise AnalysisError("not_held", f"{ticker} is not in the portfolio", (ticker,))
        return self.portfolio(holdings, prices, targets=targets).of(ticker)

    def portfolio(
        self,
        holdings: Mapping[str, float],
        prices: Mapping[str, float],
        *,
        targets: Targets = NO_TARGETS,
    ) -> PortfolioInputs:
        """Take one snapshot of all holdings; arguments and errors are those of `inputs`, without a ticker.

        Called again with the same holdings, prices and targets, it returns the same snapshot as long as that
        is cached.
        """
        key = (tuple(holdings), tuple(holdings.values()))
        known = self._portfolios.get(key)
        if known is None:
            held = _held(holdings)
            shares = array("d", [holdings[name] for name in held])
            live = tuple(map(prices.get, held))
        else:
            held, shares = known.portfolio.tickers, known.portfolio.lines.shares
            live = tuple(map(prices.get, held))
            if live == known.prices and targets == known.portfolio.wanted:
                return known.portfolio
        lines = Lines.of(held, shares, array("d", [_NONE if price is None else price for price in live]))
        taken = PortfolioInputs(held, lines, targets, self.history(held), self.bars)
        self._portfolios.keep(key, _Taken(taken, live), len(held))
        return taken

    def positions(
        self,
        holdings: Mapping[str, float],
        prices: Mapping[str, float],
        *,
        targets: Targets = NO_TARGETS,
        also: Iterable[str] = (),
    ) -> Positions:
        """Take one snapshot of the holdings and of the names ``also``, at the prices of all of them.

        Cached like `portfolio`.

        Raises:
            AnalysisError: ``empty_portfolio`` without any name, or ``bad_price``.
            ValueError: Shares are not finite.
        """
        others = tuple(sorted({name for name in also if not holdings.get(name)}))
        if not others:
            return self.portfolio(holdings, prices, targets=targets).positions
        key = ((tuple(holdings), tuple(holdings.values())), others)
        known = self._positions.get(key)
        if known is not None:
            live = tuple(map(prices.get, known.positions.tickers))
            if live == known.prices and targets == known.positions.targets:
                return known.positions
        names = tuple(sorted([*(name for name, count in holdings.items() if count), *others]))
        live = tuple(map(prices.get, names))
        bad = tuple(
            name for name, price in zip(names, live, strict=True) if price is None or not 0.0 < price < inf
        )
        if bad:
            raise AnalysisError("bad_price", f"no usable live price for {', '.join(bad)}", bad)
        shares = np.array([holdings.get(name, 0.0) for name in names], dtype=np.float64)
        taken = Positions(names, shares, np.array(live, dtype=np.float64), self.history(names), targets)
        self._positions.keep(key, _Considered(taken, live), len(names))
        return taken

    def history(self, tickers: tuple[str, ...]) -> History:
        """The weighted returns of a sorted set of names; computed once and cached within `max_bytes`."""
        found = self._histories.get(tickers)
        if found is not None:
            self._histories.move_to_end(tickers)
            return found
        built = self._histories[tickers] = self._build(tickers)
        self._bytes += built.nbytes
        while self._bytes > self._max_bytes and len(self._histories) > 1:
            _, evicted = self._histories.popitem(last=False)
            self._bytes -= evicted.nbytes
        return built

    def _build(self, tickers: tuple[str, ...]) -> History:
        bars = self.bars
        cash = _NO_CASH if self._cash.isdisjoint(tickers) else self._cash.intersection(tickers)
        names = tuple(name for name in tickers if name not in cash) if cash else tickers
        columns = np.array([bars.column.get(name, -1) for name in names], dtype=np.intp)
        # Cash has no calendar: on its own, it has as many returns as needed.
        window = self._calendars.window(columns) if names else _ONLY_CASH
        weighted = window.weighted if not cash else _with_cash(tickers, cash, window.weighted)
        weighted.setflags(write=False)
        n_obs = weighted.shape[1]
        newest = window.newest
        return History(
            tickers=tickers,
            n_obs=n_obs,
            weighted=weighted,
            periods=window.periods,
            last_bar=bars.dates[newest] if newest >= 0 else None,
            last_day=int(bars.days[newest]) if newest >= 0 else None,
            cash=cash,
            culprits=() if n_obs >= MIN_ROWS else culprits(bars, names),
            digest=history_digest(bars, tickers, cash),
            columns=_columns(bars, tickers, cash),
        )


def _with_cash(
    tickers: tuple[str, ...], cash: frozenset[str], moving: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The rows of names, in the order of all of them, with zeros for cash."""
    weighted = np.zeros((len(tickers), moving.shape[1]))
    weighted[[place for place, name in enumerate(tickers) if name not in cash]] = moving
    return weighted


def _columns(bars: Bars, tickers: tuple[str, ...], cash: frozenset[str]) -> npt.NDArray[np.intp] | None:
    """The column of each name, -1 for cash; None if one that is not cash has none."""
    columns = [-1 if name in cash else bars.column.get(name) for name in tickers]
    return None if None in columns else np.array(columns, dtype=np.intp)


def _held(holdings: Mapping[str, float]) -> tuple[str, ...]:
    held = tuple(sorted([name for name, count in holdings.items() if count]))
    if not held:
        raise AnalysisError("empty_portfolio", "the portfolio holds nothing: add a holding first")
    return held
