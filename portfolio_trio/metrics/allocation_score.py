"""In which direction, and how far, a position is from its risk budget."""

from __future__ import annotations

from math import copysign, isfinite, sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias

from portfolio_trio.metrics.kernel import ZERO_VARIANCE, require_moving
from portfolio_trio.metrics.portfolio_risk import risk_share
from portfolio_trio.metrics.registry import Detail, Field, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.metrics.kernel import Moments

Side: TypeAlias = Literal["buy", "sell", "hold"]


class AllocationScoreDetail(Detail):
    """Detail of `allocation_score`: the one trade that brings the position to its budget.

    Attributes:
        budget: b_i, the target share of risk of the position: 1/N over the holdings that move unless set.
        target_value: s t in currency units, signed: the value at which it carries exactly its budget,
            all other share counts unchanged. None if no size does.
        shares_to_trade: Shares to buy (above 0) or sell (below 0) at the live price to get there.
        side: ``buy``, ``sell`` or ``hold``.
    """

    budget: float
    target_value: float | None
    shares_to_trade: float | None
    side: Side


def allocation_score_fields(inputs: AnalysisInputs, value: float) -> dict[str, Field]:
    """Compute the detail of a value."""
    budget, sign = inputs.budget, copysign(1.0, inputs.weight)
    size = target_size(inputs)
    if size is None:
        return {
            "budget": budget,
            "target_value": None,
            "shares_to_trade": None,
            "side": _side(sign * value),
        }
    # From the difference of values, so that a position at its target trades exactly 0.
    trade = (sign * size - inputs.value) / inputs.price
    return {
        "budget": budget,
        "target_value": sign * size,
        "shares_to_trade": trade,
        "side": _side(trade),
    }


@metric("allocation_score", detail=AllocationScoreDetail, fields=allocation_score_fields)
def allocation_score(inputs: AnalysisInputs) -> float:
    """Risk budget less risk share: b_i - w_i (Sw)_i / w'Sw.

    Above 0 the position should grow, below 0 shrink. This refers to its size, so a short position grows by
    selling more. The scores sum to 0 over the holdings and all other names with a budget. The score is minus
    the gradient of the risk-budgeting objective (Spinu 2013), up to a positive factor of w'Sw and the weight.

    Raises:
        MetricError: ``insufficient_history`` below 60 common returns; ``zero_portfolio_variance``
            if w'Sw is at most 1e-24; ``zero_variance`` if a is at most 1e-24.
    """
    return budget_gap(inputs.ticker, inputs.moments, inputs.budget)


def budget_gap(ticker: str, moments: Moments, budget: float) -> float:
    """Risk budget less risk share, the value of `allocation_score`.

    Raises:
        MetricError: ``zero_portfolio_variance`` or ``zero_variance``, as for `allocation_score`.
    """
    share = risk_share(moments)
    require_moving(ticker, moments)
    return budget - share


def target_size(inputs: AnalysisInputs) -> float | None:
    """The gross value t at which the position carries exactly its budget, in currency units.

    The positive root of (1-b) a t^2 + (1-2b) s c t - b v = 0 with s the sign of the position, in the form
    without cancellation. A budget of 0 is reached by closing the position, or, if it is a hedge, by the size
    at which its share returns to 0. If only one holding moves, it is at its budget at any size, so it stays
    unchanged. None if no size reaches the budget: the rest does not move, or the budget is the whole risk.
    """
    budget = inputs.budget
    if inputs.rest_variance <= ZERO_VARIANCE:
        return abs(inputs.value) if budget == 1.0 else None
    # In units of the rest's gross value, in which c and v have no tiny factors.
    square = (1.0 - budget) * inputs.variance
    linear = copysign(1.0, inputs.weight) * (1.0 - 2.0 * budget) * inputs.rest_covariance
    constant = budget * inputs.rest_variance
    root = sqrt(linear * linear + 4.0 * square * constant)
    above, below = (2.0 * constant, linear + root) if linear >= 0.0 else (root - linear, 2.0 * square)
    if below <= 0.0:
        return 0.0 if budget == 0.0 else None
    size = above / below * inputs.rest_gross
    return size if isfinite(size) else None


def _side(trade: float) -> Side:
    if trade == 0.0:
        return "hold"
    return "buy" if trade > 0.0 else "sell"
