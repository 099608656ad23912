"""The share of one position in the portfolio's variance."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.kernel import ZERO_VARIANCE
from portfolio_trio.metrics.registry import Detail, Field, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.metrics.kernel import Moments


class PortfolioRiskDetail(Detail):
    """Detail of `portfolio_risk`; all volatilities annual, as fractions of gross value.

    A is the number of common returns in a year: 365, 252, 52 or 12.

    Attributes:
        marginal: sqrt(A) (Sw)_i / sqrt(w'Sw), change of portfolio volatility per unit of weight.
        component: The share times portfolio volatility; sums to it over the holdings.
        portfolio_volatility: sqrt(A w'Sw).
        volatility: sqrt(A a), the stock by itself.
        beta: (Sw)_i / w'Sw, of the stock to the portfolio.
        share_per_weight: The share over the signed weight; above 1 its share of risk exceeds its share of
            capital. It equals `beta`, by Euler's identity.
        n_obs: Common returns used, 60 to 252.
    """

    marginal: float
    component: float
    portfolio_volatility: float
    volatility: float
    beta: float
    share_per_weight: float
    n_obs: int


def risk_share(moments: Moments) -> float:
    """Share of portfolio variance: w_i (Sw)_i / w'Sw, the value of `portfolio_risk`.

    Raises:
        MetricError: ``zero_portfolio_variance`` if w'Sw is at most 1e-24.
    """
    if moments.portfolio_variance <= ZERO_VARIANCE:
        raise MetricError(
            "zero_portfolio_variance", "the portfolio's value does not move: there is no risk to share"
        )
    if moments.rest_variance == 0.0:
        # Nothing else moves: exactly 1, without a rounding error.
        return 1.0
    if moments.variance <= ZERO_VARIANCE:
        return 0.0
    return moments.weight * moments.portfolio_covariance / moments.portfolio_variance


def portfolio_beta(moments: Moments) -> float:
    """Beta of the stock to the portfolio: (Sw)_i / w'Sw; 0 for one that does not move."""
    if moments.variance <= ZERO_VARIANCE:
        return 0.0
    return moments.portfolio_covariance / moments.portfolio_variance


def portfolio_risk_fields(inputs: AnalysisInputs, value: float) -> dict[str, Field]:
    """Compute the detail of a value."""
    volatility = sqrt(inputs.periods * inputs.portfolio_variance)
    beta = portfolio_beta(inputs.moments)
    return {
        "marginal": beta * volatility,
        "component": value * volatility,
        "portfolio_volatility": volatility,
        "volatility": inputs.volatility,
        "beta": beta,
        "share_per_weight": beta,
        "n_obs": inputs.n_obs,
    }


@metric("portfolio_risk", detail=PortfolioRiskDetail, fields=portfolio_risk_fields)
def portfolio_risk(inputs: AnalysisInputs) -> float:
    """Share of portfolio variance: w_i (Sw)_i / w'Sw, Euler decomposition.

    S is the EWMA covariance of `AnalysisInputs.weighted_returns`, w the signed weights on gross
    value. The shares sum to 1 over the holdings. Negative is a hedge; a share can exceed 1. A stock
    whose price does not move (a at most 1e-24) carries exactly 0.

    Raises:
        MetricError: ``insufficient_history`` below 60 common returns; ``zero_portfolio_variance``
            if w'Sw is at most 1e-24.
    """
    return risk_share(inputs.moments)
