"""The inputs of a metric: one ticker within one portfolio at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS, WINDOW
from portfolio_trio.metrics.kernel import require_moving
from portfolio_trio.metrics.rows import LONGEST_GAP
from portfolio_trio.metrics.trend import CASH_TREND

if TYPE_CHECKING:
    from array import array

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.history import History
    from portfolio_trio.metrics.kernel import Moments
    from portfolio_trio.metrics.portfolio import PortfolioInputs
    from portfolio_trio.metrics.trend import Trend


@dataclass(frozen=True, slots=False, eq=False)
class AnalysisInputs:
    """One ticker within one portfolio, its live prices and its closed bars; immutable.

    Made by `ReturnsCache.inputs`, which has checked that the ticker is held and every price is positive; it
    is not checked again here. Values are computed when first read, and only once. Reading one that needs
    history raises `MetricError` ``insufficient_history`` below 60 common returns, so a metric need not check.

    The letters are those of the formulas in the documentation. The *rest* is the portfolio without
    the ticker, weighted by its own gross value H = sum of abs(m_j), j != i.

    Attributes:
        ticker: The name analysed.
        index: Its position in `tickers`, i.
        portfolio: The whole portfolio, and everything that does not depend on the ticker.
    """

    ticker: str
    index: int
    portfolio: PortfolioInputs

    @property
    def tickers(self) -> tuple[str, ...]:
        """Names with non-zero shares, sorted, shape ``(N,)``."""
        return self.portfolio.tickers

    @property
    def count(self) -> int:
        """N, the number of names with non-zero shares."""
        return len(self.portfolio.tickers)

    @property
    def history(self) -> History:
        """Weighted common returns of `tickers`."""
        return self.portfolio.history

    @property
    def bars(self) -> Bars:
        """The closed bars themselves."""
        return self.portfolio.bars

    @property
    def snapshot(self) -> str:
        """The hash of holdings, prices, targets, bars and method: see `snapshot_hash`."""
        return self.portfolio.snapshot

    @cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """Signed share counts, shape ``(N,)``, read-only."""
        return _view(self.portfolio.lines.shares)

    @cached_property
    def prices(self) -> npt.NDArray[np.float64]:
        """Live prices in currency units, shape ``(N,)``, read-only."""
        return _view(self.portfolio.lines.prices)

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """m, signed value of each position in currency units, shape ``(N,)``, read-only."""
        return _view(self.portfolio.lines.values)

    @property
    def value(self) -> float:
        """m_i, signed value of the ticker's position in currency units."""
        return self.portfolio.lines.values[self.index]

    @property
    def price(self) -> float:
        """The ticker's live price in currency units."""
        return self.portfolio.lines.prices[self.index]

    @property
    def gross(self) -> float:
        """G, sum of abs(m), in currency units."""
        return self.portfolio.lines.gross

    @property
    def last_bar(self) -> str | None:
        """ISO date of the newest close of any holding; None if there is none."""
        return self.history.last_bar

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Signed weights w = m / G, sum of abs(w) = 1, shape ``(N,)``, read-only."""
        return self.portfolio.weights

    @property
    def weight(self) -> float:
        """The ticker's signed weight, w_i."""
        return self.value / self.gross

    @cached_property
    def targets(self) -> npt.NDArray[np.float64]:
        """Target weight of each name, shape ``(N,)``, read-only; 1/N each unless set."""
        return _view(self.portfolio.targets)

    @property
    def target(self) -> float:
        """The ticker's target weight: 1/N unless set."""
        return self.portfolio.targets[self.index]

    @property
    def budgets(self) -> npt.NDArray[np.float64]:
        """Risk budgets, shape ``(N,)``: 1/N over the names that move, 0 for others, unless set."""
        return _view(self.portfolio.budgets)

    @property
    def budget(self) -> float:
        """The ticker's risk budget, b_i."""
        return self.portfolio.budgets[self.index]

    @property
    def is_cash(self) -> bool:
        """Whether the ticker is cash, which always costs 1."""
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
        """Raise `MetricError` ``insufficient_history`` below a number of common returns, by default 60."""
        self.portfolio.require_rows(rows)

    @property
    def weighted_returns(self) -> npt.NDArray[np.float64]:
        """Y = sqrt(k) * R of all names, not demeaned; a read-only view, shape ``(L, N)``."""
        self.require_rows()
        return self.history.weighted.T

    @cached_property
    def moments(self) -> Moments:
        """Everything estimated from history about the ticker, the rest and the portfolio; cached."""
        return self.portfolio.moments(self.index)

    @property
    def own_returns(self) -> npt.NDArray[np.float64]:
        """Weighted returns of the ticker, y_i, its column of Y, shape ``(L,)``, read-only."""
        self.require_rows()
        own: npt.NDArray[np.float64] = self.history.weighted[self.index]
        return own

    @cached_property
    def rest_weights(self) -> npt.NDArray[np.float64]:
        """The others' signed values over their gross value, 0 for the ticker, shape ``(N,)``, read-only."""
        weights = np.array(self.portfolio.lines.values)
        weights[self.index] = 0.0
        weights /= self.rest_gross or 1.0
        weights.setflags(write=False)
        return weights

    @cached_property
    def rest_returns(self) -> npt.NDArray[np.float64]:
        """Weighted returns of the rest on its own gross value, z / H, shape ``(L,)``, read-only."""
        if self.history.kernel.is_folded:
            rest: npt.NDArray[np.float64] = self.rest_weights.dot(self.history.weighted)
        else:
            rest = self.portfolio.rest_returns(self.index)
        rest.setflags(write=False)
        return rest

    @cached_property
    def plain_rest_returns(self) -> npt.NDArray[np.float64]:
        """Returns of the rest on its own gross value, not weighted, shape ``(L,)``, read-only."""
        rest: npt.NDArray[np.float64] = self.rest_returns * self.history.undo_weights
        rest.setflags(write=False)
        return rest

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
    def volatility(self) -> float:
        """Annualised EWMA volatility of the ticker, sqrt(A a), as a fraction."""
        return sqrt(self.periods * self.variance)

    def require_moving(self) -> None:
        """Raise `MetricError` ``zero_variance`` if the ticker's own prices do not move."""
        require_moving(self.ticker, self.moments)

    @cached_property
    def closes(self) -> npt.NDArray[np.float64]:
        """P, the ticker's own closes, oldest first, none missing; for cash 253 ones."""
        closes = np.ones(WINDOW + 1) if self.is_cash else self.bars.own_closes(self.ticker)[1]
        closes.setflags(write=False)
        return closes

    def close_at(self, place: int) -> float | None:
        """The ticker's own close at a negative position (-1 the newest); None if it has too few."""
        closes = self.closes
        return float(closes[place]) if -len(closes) <= place < 0 else None

    @property
    def trend(self) -> Trend:
        """The trend of the ticker's own closes, in its own calendar."""
        return CASH_TREND if self.is_cash else self.bars.trend(self.ticker)

    def require_year(self) -> float:
        """Return the ticker's 12-1 return; raise `MetricError` ``insufficient_history`` without one.

        There is none with fewer than Y + 1 closes of its own, or if its newest close is more than 14 days
        older than the newest close of any holding.
        """
        trend, last_day = self.trend, self.history.last_day
        if trend.newest is not None and last_day is not None and last_day - trend.newest > LONGEST_GAP:
            raise MetricError(
                "insufficient_history",
                f"the newest close of {self.ticker} is {last_day - trend.newest} days older than the newest"
                " of any holding; at most 14 are allowed",
                (self.ticker,),
            )
        if trend.raw is None:
            raise MetricError(
                "insufficient_history",
                f"{self.ticker} has {trend.closes} closes, but a year needs {trend.year + 1}",
                (self.ticker,),
            )
        return trend.raw


def _view(numbers: array[float]) -> npt.NDArray[np.float64]:
    view: npt.NDArray[np.float64] = np.frombuffer(numbers)
    view.setflags(write=False)
    return view
