"""Everything a metric may read: one ticker within one portfolio at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isnan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS, TRADING_DAYS, WINDOW, ZERO_VARIANCE, History
from portfolio_trio.metrics.snapshot import snapshot_hash

if TYPE_CHECKING:
    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars

END_POINT_ROWS = 5
"""How many rows earlier the price that stands in for a missing one may lie."""


class Moments(NamedTuple):
    """What history says about one ticker, the rest and the whole; see `AnalysisInputs` for each."""

    own_returns: npt.NDArray[np.float64]
    rest_returns: npt.NDArray[np.float64]
    rest_gross: float
    variance: float
    rest_covariance: float
    rest_variance: float
    portfolio_covariance: float
    portfolio_variance: float

    @classmethod
    def of(
        cls, weighted: npt.NDArray[np.float64], index: int, values: npt.NDArray[np.float64], gross: float
    ) -> Moments:
        """From ``sqrt(k) * R`` of shape ``(N, L)`` and signed values of shape ``(N,)``.

        The rest is multiplied out by itself, never by subtracting the ticker from the whole, which
        would cancel where it is small. The variance of the whole is the square of the summed returns
        and not ``m^2 a + 2 m c + v``: the three terms of a hedged portfolio cancel and leave rounding
        where nothing should be left.
        """
        rest = values.copy()
        rest[index] = 0.0
        rest_gross = float(np.add.reduce(np.abs(rest)))
        own = weighted[index]
        others = (rest / (rest_gross or 1.0)).dot(weighted)
        others.setflags(write=False)
        portfolio = own * (float(values[index]) / gross) + others * (rest_gross / gross)
        return cls(
            own_returns=own,
            rest_returns=others,
            rest_gross=rest_gross,
            variance=float(own.dot(own)),
            rest_covariance=float(own.dot(others)),
            rest_variance=float(others.dot(others)),
            portfolio_covariance=float(own.dot(portfolio)),
            portfolio_variance=float(portfolio.dot(portfolio)),
        )


@dataclass(frozen=True, slots=False, eq=False)
class AnalysisInputs:
    """One ticker within one portfolio, its live prices and its closed bars; immutable.

    Made by `ReturnsCache.inputs`, which has checked what is checked here nowhere: the ticker is held
    and every price is positive. Parts cost nothing until read and are computed once. Reading one that
    needs history raises `MetricError` ``insufficient_history`` below 60 common returns, so a metric
    need not check.

    The letters are those of the formulas in the documentation. The *rest* is the portfolio without
    the ticker, weighted by its own gross value H = sum of abs(m_j), j != i.

    Attributes:
        ticker: The name analysed.
        index: Its place in `tickers`, i.
        tickers: Names with non-zero shares, sorted, shape ``(N,)``.
        shares: Signed share counts, shape ``(N,)``.
        prices: Live prices in currency units, shape ``(N,)``.
        targets: Target share of each name, sum 1, shape ``(N,)``; 1/N each unless set.
        values: m, signed value of each position in currency units, shape ``(N,)``.
        gross: G, sum of abs(m), in currency units.
        history: Weighted common returns of `tickers`.
        bars: The closed bars themselves.
    """

    ticker: str
    index: int
    tickers: tuple[str, ...]
    shares: npt.NDArray[np.float64]
    prices: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    gross: float
    history: History
    bars: Bars

    @cached_property
    def snapshot(self) -> str:
        """The hash of holdings, prices, targets, bars and method: see `snapshot_hash`."""
        return snapshot_hash(self.history.digest, self.shares, self.prices, self.targets)

    @property
    def count(self) -> int:
        """N, the number of names with non-zero shares."""
        return len(self.tickers)

    @property
    def last_bar(self) -> str | None:
        """ISO date of the newest closed bar; None without bars."""
        return self.bars.dates[-1] if self.bars.dates else None

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """Signed weights w = m / G, sum of abs(w) = 1, shape ``(N,)``."""
        weights: npt.NDArray[np.float64] = self.values / self.gross
        weights.setflags(write=False)
        return weights

    @property
    def weight(self) -> float:
        """The ticker's signed weight, w_i."""
        return float(self.values[self.index]) / self.gross

    @property
    def target(self) -> float:
        """The ticker's target share, b_i: 1/N unless set."""
        return float(self.targets[self.index])

    @property
    def n_obs(self) -> int:
        """L, the number of common returns used, at most 252; may be below 60."""
        return self.history.n_obs

    def require_rows(self, rows: int) -> None:
        """Raise `MetricError` ``insufficient_history`` below so many (60 or 252) common returns."""
        if self.history.n_obs < rows:
            culprits = self.history.culprits[rows]
            raise MetricError(
                "insufficient_history",
                f"{rows} common daily returns are needed, {self.history.n_obs} exist;"
                f" too short or with gaps: {', '.join(culprits)}",
                culprits,
            )

    @property
    def weighted_returns(self) -> npt.NDArray[np.float64]:
        """Y = sqrt(k) * R of all names, not demeaned; a read-only view, shape ``(L, N)``."""
        self.require_rows(MIN_ROWS)
        return self.history.weighted.T

    @cached_property
    def moments(self) -> Moments:
        """Everything estimated from history about the ticker, the rest and the portfolio; cached."""
        self.require_rows(MIN_ROWS)
        return Moments.of(self.history.weighted, self.index, self.values, self.gross)

    @property
    def own_returns(self) -> npt.NDArray[np.float64]:
        """Weighted returns of the ticker, y_i, its column of Y, shape ``(L,)``."""
        return self.moments.own_returns

    @property
    def rest_returns(self) -> npt.NDArray[np.float64]:
        """Weighted returns of the rest on its own gross value, z / H, shape ``(L,)``."""
        return self.moments.rest_returns

    @property
    def rest_gross(self) -> float:
        """Gross value of the other holdings, H, in currency units; 0 for a single holding."""
        return self.moments.rest_gross

    @property
    def variance(self) -> float:
        """EWMA variance of the ticker's daily returns, a = S_ii."""
        return self.moments.variance

    @property
    def rest_covariance(self) -> float:
        """EWMA covariance of the ticker's daily returns with the rest's, c / H."""
        return self.moments.rest_covariance

    @property
    def rest_variance(self) -> float:
        """EWMA variance of the rest's daily returns, v / H^2."""
        return self.moments.rest_variance

    @property
    def portfolio_covariance(self) -> float:
        """EWMA covariance of the ticker's daily returns with the portfolio's, (Sw)_i."""
        return self.moments.portfolio_covariance

    @property
    def portfolio_variance(self) -> float:
        """EWMA variance of the portfolio's daily returns on gross value, w'Sw = Q / G^2."""
        return self.moments.portfolio_variance

    @property
    def is_flat(self) -> bool:
        """Whether the ticker's returns have no variance."""
        return self.variance <= ZERO_VARIANCE

    @property
    def volatility(self) -> float:
        """Annualised EWMA volatility of the ticker, sqrt(252 a), as a fraction."""
        return sqrt(TRADING_DAYS * self.variance)

    def require_moving(self) -> None:
        """Raise `MetricError` ``zero_variance`` where the ticker's own prices do not move."""
        if self.is_flat:
            raise MetricError("zero_variance", f"the price of {self.ticker} does not move", (self.ticker,))

    def require_portfolio_variance(self) -> float:
        """Return w'Sw; raise `MetricError` ``zero_portfolio_variance`` where there is none."""
        if self.portfolio_variance <= ZERO_VARIANCE:
            raise MetricError(
                "zero_portfolio_variance", "the portfolio's value does not move: there is no risk to share"
            )
        return self.portfolio_variance

    @cached_property
    def closes(self) -> npt.NDArray[np.float64]:
        """P, the ticker's closes of all bars, oldest first, NaN where missing, shape ``(T,)``."""
        column = self.bars.column.get(self.ticker)
        return np.full(len(self.bars.dates), np.nan) if column is None else self.bars.closes[:, column]

    def close_at(self, row: int) -> float | None:
        """The ticker's close at a negative row (-1 the newest), or the last at most 5 rows earlier."""
        closes = self.closes
        newest = len(closes) + row
        for position in range(newest, max(newest - END_POINT_ROWS, 0) - 1, -1):
            close = float(closes[position])
            if not isnan(close):
                return close
        return None

    def require_window(self) -> None:
        """Raise `MetricError` ``insufficient_history`` below a full year of common returns."""
        self.require_rows(WINDOW)
