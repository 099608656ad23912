"""From bars to inputs: weighted returns built once per bar, snapshots built from them."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from math import inf, isfinite
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from portfolio_trio.metrics.errors import AnalysisError
from portfolio_trio.metrics.history import MIN_ROWS, WINDOW, History, decay_weights
from portfolio_trio.metrics.inputs import AnalysisInputs
from portfolio_trio.metrics.snapshot import history_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars

NAN = float("nan")

_Culprits: TypeAlias = "Mapping[int, tuple[str, ...]]"


class ReturnsCache:
    """The weighted returns of one set of bars, for all sessions; make a new one when a bar closes.

    Where a portfolio's names are complete in the newest 253 bars, their returns come from one array
    shared by the whole universe; a gap makes the rows of its portfolio differ, so these are built for
    that set of names. Either way the result is kept for the next snapshot of the same set, the most
    recently used first, within `max_bytes`. Not for use by several threads at once; the inputs it
    hands out are.

    Args:
        bars: Closed daily bars.
        max_bytes: Memory for held sets; the newest is kept whatever its size.
    """

    def __init__(self, bars: Bars, *, max_bytes: int = 64 * 2**20) -> None:
        self.bars = bars
        self._max_bytes = max_bytes
        self._bytes = 0
        self._histories: OrderedDict[tuple[str, ...], History] = OrderedDict()

    def inputs(
        self,
        ticker: str,
        holdings: Mapping[str, float],
        prices: Mapping[str, float],
        *,
        targets: Mapping[str, float] | None = None,
    ) -> AnalysisInputs:
        """Take one snapshot: what every metric of a run reads.

        Args:
            ticker: The name to analyse.
            holdings: Signed shares of each name; zero is a line that is not held.
            prices: Live prices in currency units, at least of every name held.
            targets: Risk budget and target weight of each name, at least 0, scaled to sum 1 over what
                is held; a name left out has 0. None means 1/N each.

        Raises:
            AnalysisError: ``empty_portfolio``, ``not_held`` or ``bad_price``, checked in this order.
            ValueError: Shares are not finite, or targets are negative, not finite or all zero.
        """
        held = tuple(sorted(name for name, count in holdings.items() if count))
        if not held:
            raise AnalysisError("empty_portfolio", "the portfolio holds nothing: add a holding first")
        if not holdings.get(ticker):
            raise AnalysisError("not_held", f"{ticker} is not in the portfolio", (ticker,))
        shares = np.array([holdings[name] for name in held], dtype=np.float64)
        live = np.array([prices.get(name, NAN) for name in held], dtype=np.float64)
        values, gross = _values(held, shares, live)
        history = self.history(held)
        for array in (shares, live, values):
            array.setflags(write=False)
        return AnalysisInputs(
            ticker=ticker,
            index=held.index(ticker),
            tickers=held,
            shares=shares,
            prices=live,
            targets=history.equal_targets if targets is None else _targets(held, targets),
            values=values,
            gross=gross,
            history=history,
            bars=self.bars,
        )

    def history(self, tickers: tuple[str, ...]) -> History:
        """The weighted returns of a set of names, sorted; built once and kept within `max_bytes`."""
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
        columns = [self.bars.column.get(ticker, -1) for ticker in tickers]
        weighted, culprits = self._from_universe(columns) or self._from_closes(tickers, columns)
        weighted.setflags(write=False)
        return History(
            tickers=tickers,
            n_obs=weighted.shape[1],
            weighted=weighted,
            culprits=culprits,
            digest=history_digest(self.bars, tickers),
        )

    @cached_property
    def _universe(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Weighted returns of the newest 252 rows, shape ``(M, 252)``, and which names are complete."""
        returns = _simple_returns(self.bars.closes[-WINDOW - 1 :])
        complete: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(returns), axis=0)
        return _weighted(returns), complete

    def _from_universe(self, columns: list[int]) -> tuple[npt.NDArray[np.float64], _Culprits] | None:
        """Names complete in the newest rows share one array; None where one of them is not."""
        weighted, complete = self._universe
        if weighted.shape[1] < WINDOW or -1 in columns or not complete[columns].all():
            return None
        return weighted[columns], {}

    def _from_closes(
        self, tickers: tuple[str, ...], columns: list[int]
    ) -> tuple[npt.NDArray[np.float64], _Culprits]:
        """Common returns of names with gaps, and who is to blame where there are too few."""
        if -1 not in columns:
            # A gap of a few days is made up for nearby; only a short history needs every row.
            near = _simple_returns(self.bars.closes[-4 * WINDOW :, columns])
            common = near[np.isfinite(near).all(axis=1)]
            if len(common) >= WINDOW:
                return _weighted(common[-WINDOW:]), {}
        # A name without a column has no returns at all.
        returns = np.full((max(len(self.bars.dates) - 1, 0), len(columns)), np.nan)
        known = [place for place, column in enumerate(columns) if column >= 0]
        returns[:, known] = _simple_returns(self.bars.closes[:, [columns[place] for place in known]])
        valid = np.isfinite(returns)
        common = returns[valid.all(axis=1)][-WINDOW:]
        short = {rows: _culprits(tickers, valid, rows) for rows in (MIN_ROWS, WINDOW) if len(common) < rows}
        return _weighted(common), short


def _simple_returns(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``P_t / P_(t-1) - 1`` of adjacent rows, shape ``(T-1, N)``; not finite where a close is missing."""
    # A ratio too large for a double is a broken series: it counts as missing, like NaN.
    with np.errstate(over="ignore"):
        returns: npt.NDArray[np.float64] = closes[1:] / closes[:-1] - 1.0
    return returns


def _weighted(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``sqrt(k) * R`` from shape ``(L, N)`` to one contiguous row per name, shape ``(N, L)``."""
    return np.ascontiguousarray(returns.T) * np.sqrt(decay_weights(len(returns)))


def _culprits(tickers: tuple[str, ...], valid: npt.NDArray[np.bool_], rows: int) -> tuple[str, ...]:
    """The names without so many returns of their own, else those with a gap in the newest rows.

    The second kind exists whenever the first does not: of the newest `rows` rows at least one is not
    common, so somebody misses it.
    """
    to_blame = valid.sum(axis=0) < rows
    if not to_blame.any():
        to_blame = ~valid[-rows:].all(axis=0)
    return _named(tickers, to_blame)


def _values(
    held: tuple[str, ...], shares: npt.NDArray[np.float64], live: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Signed values m and their gross sum G; raises `AnalysisError` ``bad_price``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values = shares * live
        sizes = np.abs(values)
        gross = float(np.add.reduce(sizes))
    # A NaN fails every comparison, so what is not finite anywhere ends up in the slow branch.
    if not (live.min() > 0.0 and sizes.min() > 0.0 and gross < inf and live.max() < inf):
        raise _bad_value(held, shares, live, values)
    return values, gross


def _bad_value(
    held: tuple[str, ...],
    shares: npt.NDArray[np.float64],
    live: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
) -> AnalysisError | ValueError:
    """Say what is wrong with the value of a position."""
    if not np.isfinite(shares).all():
        return ValueError("shares must be finite numbers")
    names = _named(held, ~(np.isfinite(live) & (live > 0.0)))
    if names:
        return AnalysisError("bad_price", f"no usable live price for {', '.join(names)}", names)
    names = _named(held, ~(np.isfinite(values) & (values != 0.0))) or held
    return AnalysisError("bad_price", f"shares times price is out of range for {', '.join(names)}", names)


def _named(tickers: tuple[str, ...], which: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, yes in zip(tickers, which.tolist(), strict=True) if yes)


def _targets(held: tuple[str, ...], targets: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """The target share of each name held, scaled to sum 1."""
    raw = np.array([targets.get(name, 0.0) for name in held], dtype=np.float64)
    total = float(raw.sum())
    if not (isfinite(total) and total > 0.0 and (raw >= 0.0).all()):
        raise ValueError("targets must be finite, not negative, and more than 0 for something that is held")
    return raw / total
