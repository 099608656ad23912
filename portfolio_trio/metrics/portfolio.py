"""One portfolio at one moment, for analyses of any of its tickers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.errors import AnalysisError, MetricError
from portfolio_trio.metrics.history import MIN_ROWS, History
from portfolio_trio.metrics.inputs import AnalysisInputs
from portfolio_trio.metrics.positions import Positions, exact_sum
from portfolio_trio.metrics.snapshot import snapshot_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.kernel import AllMoments, Moments, Whole
    from portfolio_trio.targets import Targets


@dataclass(frozen=True, slots=False, eq=False)
class PortfolioInputs:
    """Holdings, live prices and closed bars of one moment; immutable.

    Made by `ReturnsCache.portfolio`. Values are computed when first read, and only once.

    Attributes:
        tickers: Names with non-zero shares, sorted, shape ``(N,)``.
        lines: The shares and prices of these names.
        wanted: Target weights and risk budgets as they were set.
        history: Weighted common returns of `tickers`.
        bars: The closed bars themselves.
    """

    tickers: tuple[str, ...]
    lines: Lines
    wanted: Targets
    history: History
    bars: Bars

    @property
    def count(self) -> int:
        """N, the number of names with non-zero shares."""
        return len(self.tickers)

    @property
    def gross(self) -> float:
        """G, sum of abs(m), in currency units."""
        return self.lines.gross

    def of(self, ticker: str) -> AnalysisInputs:
        """The inputs of the metrics of one ticker.

        Raises:
            AnalysisError: ``not_held``.
        """
        index = self.place.get(ticker)
        if index is None:
            raise AnalysisError("not_held", f"{ticker} is not in the portfolio", (ticker,))
        return AnalysisInputs(ticker, index, self)

    def at_prices(self, prices: npt.NDArray[np.float64]) -> PortfolioInputs | None:
        """The same holdings and targets at other prices, without looking up a name.

        Args:
            prices: Live prices in currency units in the order of the columns of the bars, NaN for a name
                without one; after them 1, for cash.

        Returns:
            The snapshot; None if a holding has no column or no usable price.
        """
        columns = self.history.columns
        if columns is None:
            return None
        try:
            lines = Lines.of(self.tickers, self.lines.shares, array("d", prices[columns].tobytes()))
        except AnalysisError:
            return None
        return PortfolioInputs(self.tickers, lines, self.wanted, self.history, self.bars)

    @property
    def place(self) -> Mapping[str, int]:
        """The position of each name in `tickers`."""
        return self.history.place

    @cached_property
    def snapshot(self) -> str:
        """The hash of holdings, prices, targets, bars and method: see `snapshot_hash`."""
        lines, budgets = self.lines, self.wanted.budgets_of(self.tickers)
        return snapshot_hash(self.history.digest, lines.shares, lines.prices, self.targets, budgets)

    @cached_property
    def targets(self) -> array[float]:
        """Target weights, shape ``(N,)``: 1/N each unless set.

        They sum to 1 together with those of names with a target that are not held.
        """
        return self.wanted.weights_of(self.tickers) or self.history.equal_targets

    @cached_property
    def budgets(self) -> array[float]:
        """Risk budgets, shape ``(N,)``: 1/N over the names that move, 0 for others, unless set.

        They sum to 1 together with those of names with a target that are not held.

        Raises:
            MetricError: ``insufficient_history``: without returns it is unknown which names move.
        """
        budgets = self.wanted.budgets_of(self.tickers)
        if budgets is not None:
            return budgets
        self.require_rows()
        return self.history.equal_budgets

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """Signed weights w = m / G, sum of abs(w) = 1, shape ``(N,)``."""
        weights: npt.NDArray[np.float64] = np.frombuffer(self.lines.values) / self.gross
        weights.setflags(write=False)
        return weights

    @cached_property
    def sizes(self) -> npt.NDArray[np.float64]:
        """Shares of gross value, abs(w), shape ``(N,)``, read-only."""
        sizes: npt.NDArray[np.float64] = np.abs(self.weights)
        sizes.setflags(write=False)
        return sizes

    @cached_property
    def hhi(self) -> float:
        """Herfindahl-Hirschman index, sum of w^2: 1/N to 1."""
        return float(self.weights.dot(self.weights))

    @cached_property
    def is_long(self) -> bool:
        """Whether no position is short."""
        return min(self.lines.values) > 0.0

    def require_rows(self, rows: int = MIN_ROWS) -> None:
        """Raise `MetricError` ``insufficient_history`` below a number of common returns, by default 60."""
        if self.history.n_obs < rows:
            culprits = self.history.culprits
            raise MetricError(
                "insufficient_history",
                f"{rows} common returns are needed, {self.history.n_obs} exist; too short, with gaps, or with"
                f" closes more than 14 days apart: {', '.join(culprits)}",
                culprits,
            )

    @cached_property
    def positions(self) -> Positions:
        """The same, for computations on all holdings at once."""
        lines = self.lines
        shares, prices = np.frombuffer(lines.shares), np.frombuffer(lines.prices)
        positions = Positions(self.tickers, shares, prices, self.history, self.wanted)
        # The same sums and the same hash are not made twice.
        vars(positions).update(
            values=np.frombuffer(lines.values),
            gross=lines.gross,
            weights=self.weights,
            snapshot=self.snapshot,
        )
        return positions

    @cached_property
    def _whole(self) -> Whole:
        self.require_rows()
        return self.history.kernel.whole(self.lines.values, self.gross)

    def moments(self, index: int) -> Moments:
        """The statistics of the holding at a position; computed at each call.

        Raises:
            MetricError: ``insufficient_history`` below 60 common returns.
        """
        return self.history.kernel.one(self._whole, index)

    def rest_returns(self, index: int) -> npt.NDArray[np.float64]:
        """Returns of the others on their own gross value, as the kernel sums them; computed at each call."""
        return self.history.kernel.rest(self._whole, index)

    def all_moments(self) -> AllMoments:
        """The same for every holding, in the order of `tickers`, with identical digits; O(L N).

        Raises:
            MetricError: ``insufficient_history`` below 60 common returns.
        """
        return self.history.kernel.every(self._whole)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The shares and prices of N held names, in order; made by `Lines.of`, which checks them.

    Attributes:
        shares: Signed share counts, shape ``(N,)``, none of them 0.
        prices: Live prices in currency units, shape ``(N,)``, all above 0.
        values: m, signed value of each position in currency units, shape ``(N,)``.
        gross: G, sum of abs(m), in currency units.
    """

    shares: array[float]
    prices: array[float]
    values: array[float]
    gross: float

    @classmethod
    def of(cls, names: tuple[str, ...], shares: array[float], prices: array[float]) -> Lines:
        """Value the names at live prices; NaN means an unknown price.

        Raises:
            AnalysisError: ``bad_price``, with the names that have no usable price or value.
            ValueError: Shares are not finite.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            product = np.frombuffer(shares) * np.frombuffer(prices)
        values, sizes = array("d", product.tobytes()), np.abs(product)
        gross = exact_sum(sizes.tolist())
        # A NaN or infinity among them shows in the sum.
        if not (gross < inf and np.frombuffer(prices).min() > 0.0 and sizes.min() > 0.0):
            raise _bad_value(names, shares, prices, values)
        return cls(shares, prices, values, gross)


def _bad_value(
    names: tuple[str, ...], shares: array[float], live: array[float], values: array[float]
) -> AnalysisError | ValueError:
    """The error of a position's value."""
    if not all(map(isfinite, shares)):
        return ValueError("shares must be finite numbers")
    wrong = tuple(n for n, price in zip(names, live, strict=True) if not (isfinite(price) and price > 0.0))
    if wrong:
        return AnalysisError("bad_price", f"no usable live price for {', '.join(wrong)}", wrong)
    wrong = tuple(n for n, value in zip(names, values, strict=True) if not isfinite(value) or value == 0.0)
    wrong = wrong or names
    return AnalysisError("bad_price", f"shares times price is out of range for {', '.join(wrong)}", wrong)
