"""Everything a metric may read: one ticker within one portfolio at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS, WINDOW, ZERO_VARIANCE, History
from portfolio_trio.metrics.rows import LONGEST_GAP
from portfolio_trio.metrics.snapshot import snapshot_hash
from portfolio_trio.metrics.trend import CASH_TREND

if TYPE_CHECKING:
    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.trend import Trend


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
        targets: Target weight of each name, sum 1, shape ``(N,)``; 1/N each unless set.
        set_budgets: Risk budget of each name where they are set, sum 1, shape ``(N,)``; else None.
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
    set_budgets: npt.NDArray[np.float64] | None
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
        """ISO date of the newest close of anything that is held; None where there is none."""
        return self.history.last_bar

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
        """The ticker's target weight: 1/N unless set."""
        return float(self.targets[self.index])

    @property
    def budgets(self) -> npt.NDArray[np.float64]:
        """Risk budgets, sum 1, shape ``(N,)``: 1/N over the names that move, 0 for others, unless set."""
        if self.set_budgets is not None:
            return self.set_budgets
        self.require_rows()
        return self.history.equal_budgets

    @property
    def budget(self) -> float:
        """The ticker's risk budget, b_i."""
        return float(self.budgets[self.index])

    @property
    def is_cash(self) -> bool:
        """Whether the ticker costs 1 for ever."""
        return self.ticker in self.history.cash

    @property
    def n_obs(self) -> int:
        """L, the number of common returns used, at most 252; may be below 60."""
        return self.history.n_obs

    @property
    def periods(self) -> int:
        """A, how many of the common returns make a year: 365, 252, 52 or 12."""
        return self.history.periods

    def require_rows(self, rows: int = MIN_ROWS) -> None:
        """Raise `MetricError` ``insufficient_history`` below so many common returns, by default 60."""
        if self.history.n_obs < rows:
            culprits = self.history.culprits
            raise MetricError(
                "insufficient_history",
                f"{rows} common returns are needed, {self.history.n_obs} exist; too short, with gaps, or with"
                f" closes more than 14 days apart: {', '.join(culprits)}",
                culprits,
            )

    @property
    def weighted_returns(self) -> npt.NDArray[np.float64]:
        """Y = sqrt(k) * R of all names, not demeaned; a read-only view, shape ``(L, N)``."""
        self.require_rows()
        return self.history.weighted.T

    @cached_property
    def moments(self) -> Moments:
        """Everything estimated from history about the ticker, the rest and the portfolio; cached."""
        self.require_rows()
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
        """EWMA variance of the ticker's returns, a = S_ii."""
        return self.moments.variance

    @property
    def rest_covariance(self) -> float:
        """EWMA covariance of the ticker's returns with the rest's, c / H."""
        return self.moments.rest_covariance

    @property
    def rest_variance(self) -> float:
        """EWMA variance of the rest's returns, v / H^2."""
        return self.moments.rest_variance

    @property
    def portfolio_covariance(self) -> float:
        """EWMA covariance of the ticker's returns with the portfolio's, (Sw)_i."""
        return self.moments.portfolio_covariance

    @property
    def portfolio_variance(self) -> float:
        """EWMA variance of the portfolio's returns on gross value, w'Sw = Q / G^2."""
        return self.moments.portfolio_variance

    @property
    def is_flat(self) -> bool:
        """Whether the ticker's returns have no variance."""
        return self.variance <= ZERO_VARIANCE

    @property
    def volatility(self) -> float:
        """Annualised EWMA volatility of the ticker, sqrt(A a), as a fraction."""
        return sqrt(self.periods * self.variance)

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
        """P, the ticker's own closes, oldest first, none missing; of cash 253 ones."""
        closes = np.ones(WINDOW + 1) if self.is_cash else self.bars.own_closes(self.ticker)[1]
        closes.setflags(write=False)
        return closes

    def close_at(self, place: int) -> float | None:
        """The ticker's own close at a negative place (-1 the newest); None where it has not so many."""
        closes = self.closes
        return float(closes[place]) if -len(closes) <= place < 0 else None

    @property
    def trend(self) -> Trend:
        """What the ticker's own closes say, in its own calendar."""
        return CASH_TREND if self.is_cash else self.bars.trend(self.ticker)

    def require_year(self) -> float:
        """Return the ticker's 12-1 return; raise `MetricError` ``insufficient_history`` without one.

        There is none with fewer than Y + 1 closes of its own, or where the newest is more than 14 days
        older than the newest of what is held.
        """
        trend, last_day = self.trend, self.history.last_day
        if trend.newest is not None and last_day is not None and last_day - trend.newest > LONGEST_GAP:
            raise MetricError(
                "insufficient_history",
                f"the newest close of {self.ticker} is {last_day - trend.newest} days older than the newest"
                " of what is held; at most 14 are allowed",
                (self.ticker,),
            )
        if trend.raw is None:
            raise MetricError(
                "insufficient_history",
                f"{self.ticker} has {trend.closes} closes, and its year takes {trend.year + 1}",
                (self.ticker,),
            )
        return trend.raw
