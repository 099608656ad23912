"""Names, shares and live prices at one moment, and their common returns: the inputs of decisions."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_trio.metrics.errors import AnalysisError, MetricError
from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.kernel import ZERO_VARIANCE
from portfolio_trio.metrics.snapshot import snapshot_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.history import History
    from portfolio_trio.targets import Targets


class Totals(NamedTuple):
    """A whole portfolio in six numbers; None if `errors` has the code.

    Attributes:
        value: Net value, sum m, in currency units.
        gross: G, sum of abs(m), in currency units.
        volatility: sqrt(A w'Sw), annual, a fraction of gross value.
        risk: sqrt(A m'Sm), the volatility in currency units.
        effective_holdings: 1 / sum w^2, 1 to N.
        n_obs: Common returns used, L.
        errors: Code of each number that cannot be computed.
    """

    value: float
    gross: float
    volatility: float | None
    risk: float | None
    effective_holdings: float | None
    n_obs: int
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=False, eq=False)
class Positions:
    """Signed shares of N names, possibly 0, and the returns that all N have in common.

    Made by `ReturnsCache.positions`. Values are computed when first read, and only once.

    Attributes:
        tickers: The names, sorted, shape ``(N,)``.
        shares: Signed share counts, shape ``(N,)``; 0 for a name that is only considered.
        prices: Live prices in currency units, shape ``(N,)``.
        history: Weighted common returns of all N.
        targets: The owner's targets.
    """

    tickers: tuple[str, ...]
    shares: npt.NDArray[np.float64]
    prices: npt.NDArray[np.float64]
    history: History
    targets: Targets

    def with_shares(self, shares: npt.NDArray[np.float64]) -> Positions:
        """The same names with other share counts."""
        return Positions(self.tickers, shares, self.prices, self.history, self.targets)

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """m, signed value of each position in currency units, shape ``(N,)``."""
        with np.errstate(over="ignore"):
            values: npt.NDArray[np.float64] = self.shares * self.prices
        if not np.isfinite(values).all():
            raise AnalysisError("bad_price", "shares times price is out of range", self.tickers)
        return values

    @cached_property
    def gross(self) -> float:
        """G, sum of abs(m), in currency units; 0 if nothing is held."""
        return exact_sum(np.abs(self.values).tolist())

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """W = m / G, shape ``(N,)``; zeros if nothing is held."""
        return self.values / (self.gross or 1.0)

    @cached_property
    def snapshot(self) -> str:
        """The hash of shares, prices, targets, bars and method; if all are held, that of an analysis."""
        shares, prices = array("d", self.shares.tolist()), array("d", self.prices.tolist())
        weights, budgets = self.targets.weights_of(self.tickers), self.targets.budgets_of(self.tickers)
        weights = weights or self.history.equal_targets
        return snapshot_hash(self.history.digest, shares, prices, weights, budgets)

    def require_rows(self) -> None:
        """Raise `MetricError` ``insufficient_history`` below 60 common returns."""
        history = self.history
        if history.n_obs < MIN_ROWS:
            raise MetricError(
                "insufficient_history",
                f"{MIN_ROWS} common returns are needed, {history.n_obs} exist; too short, with gaps, or with"
                f" closes more than 14 days apart: {', '.join(history.culprits)}",
                history.culprits,
            )

    @cached_property
    def _returns(self) -> npt.NDArray[np.float64]:
        """Weighted returns of the whole on its gross value, folded."""
        return self.history.kernel.combined(self.weights)

    @cached_property
    def variance(self) -> float:
        """W'Sw."""
        return float(self._returns.dot(self._returns))

    @cached_property
    def risk_shares(self) -> npt.NDArray[np.float64]:
        """Share of portfolio variance of each name, w_i (Sw)_i / w'Sw, shape ``(N,)``.

        Raises:
            MetricError: ``insufficient_history``, or ``zero_portfolio_variance`` if w'Sw is at most 1e-24.
        """
        self.require_rows()
        if self.variance <= ZERO_VARIANCE:
            raise MetricError(
                "zero_portfolio_variance", "the portfolio's value does not move: there is no risk to share"
            )
        shares: npt.NDArray[np.float64] = (
            self.weights * self.history.kernel.with_each(self._returns) / self.variance
        )
        return shares

    @cached_property
    def totals(self) -> Totals:
        """The whole in six numbers."""
        history, gross = self.history, self.gross
        effective = 1.0 / float(self.weights.dot(self.weights)) if gross else None
        errors = {} if gross else {"volatility": "empty_portfolio", "effective_holdings": "empty_portfolio"}
        volatility: float | None = None
        if history.n_obs < MIN_ROWS:
            errors.update(volatility="insufficient_history", risk="insufficient_history")
            risk = None
        else:
            # The remainder of a full hedge is rounding error, not risk.
            variance = self.variance if self.variance > ZERO_VARIANCE else 0.0
            risk = sqrt(history.periods * variance) * gross
            volatility = sqrt(history.periods * variance) if gross else None
        return Totals(float(self.values.sum()), gross, volatility, risk, effective, history.n_obs, errors)


def exact_sum(sizes: list[float]) -> float:
    """The sum, exact except for its last digit: independent of the order and the machine."""
    try:
        return fsum(sizes)
    except OverflowError:
        return inf
