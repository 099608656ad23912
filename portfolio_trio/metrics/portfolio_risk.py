"""Share of the portfolio's variance that one position carries."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from portfolio_trio.metrics.registry import Detail, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs


class PortfolioRiskDetail(Detail):
    """Beside `portfolio_risk`; all volatilities annual, as fractions of gross value.

    A is the number of common returns in a year: 365, 252, 52 or 12.

    Attributes:
        marginal: sqrt(A) (Sw)_i / sqrt(w'Sw), growth of portfolio volatility per unit of weight.
        component: The share times portfolio volatility; sums to it over the holdings.
        portfolio_volatility: sqrt(A w'Sw).
        volatility: sqrt(A a), the stock by itself.
        beta: (Sw)_i / w'Sw, of the stock to the portfolio.
        share_per_weight: The share over the signed weight; above 1 it carries more risk than
            capital. It equals `beta`: that is the Euler identity.
        n_obs: Common returns used, 60 to 252.
    """

    marginal: float
    component: float
    portfolio_volatility: float
    volatility: float
    beta: float
    share_per_weight: float
    n_obs: int

    @override
    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        """Compute it beside a risk share."""
        volatility = sqrt(inputs.periods * inputs.portfolio_variance)
        beta = 0.0 if inputs.is_flat else inputs.portfolio_covariance / inputs.portfolio_variance
        return cls(
            marginal=beta * volatility,
            component=value * volatility,
            portfolio_volatility=volatility,
            volatility=inputs.volatility,
            beta=beta,
            share_per_weight=beta,
            n_obs=inputs.n_obs,
        )


def risk_share(inputs: AnalysisInputs) -> float:
    """Compute the value of `portfolio_risk`; the same errors."""
    variance = inputs.require_portfolio_variance()
    if inputs.rest_variance == 0.0:
        # Nothing else moves: all of it, and not all but a last digit.
        return 1.0
    return 0.0 if inputs.is_flat else inputs.weight * inputs.portfolio_covariance / variance


@metric("portfolio_risk", detail=PortfolioRiskDetail)
def portfolio_risk(inputs: AnalysisInputs) -> float:
    """Share of portfolio variance: w_i (Sw)_i / w'Sw, Euler decomposition.

    S is the EWMA covariance of `AnalysisInputs.weighted_returns`, w the signed weights on gross
    value. The shares sum to 1 over the holdings. Negative is a hedge; a share can exceed 1. A stock
    whose price does not move (a at most 1e-24) carries exactly 0.

    Raises:
        MetricError: ``insufficient_history`` below 60 common returns; ``zero_portfolio_variance``
            where w'Sw is at most 1e-24.
    """
    return risk_share(inputs)
