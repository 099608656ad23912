"""What a position gains from the stock's trend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from typing_extensions import override

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import WINDOW
from portfolio_trio.metrics.registry import Detail, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs

NEWEST, MONTH_AGO, QUARTER_AGO, HALF_YEAR_AGO, YEAR_AGO = -1, -22, -64, -127, -253


class MomentumDetail(Detail):
    """Beside `momentum`; returns and volatility as fractions, from closed bars.

    Attributes:
        raw_12_1: P[-22] / P[-253] - 1, the return of the year up to a month ago.
        return_1m: P[-1] / P[-22] - 1; None where an end point is missing.
        return_3m: P[-1] / P[-64] - 1; likewise.
        return_6m: P[-1] / P[-127] - 1; likewise.
        volatility: sqrt(252 a), annual EWMA volatility of the stock.
        from_52_week_high: P[-1] over the highest of the newest 252 closes, less 1: at most 0.
    """

    raw_12_1: float
    return_1m: float | None
    return_3m: float | None
    return_6m: float | None
    volatility: float
    from_52_week_high: float | None

    @override
    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        """Compute it beside a momentum."""
        newest = inputs.close_at(NEWEST)
        return cls(
            raw_12_1=_raw(inputs),
            return_1m=_return(inputs.close_at(MONTH_AGO), newest),
            return_3m=_return(inputs.close_at(QUARTER_AGO), newest),
            return_6m=_return(inputs.close_at(HALF_YEAR_AGO), newest),
            volatility=inputs.volatility,
            from_52_week_high=_return(_high(inputs), newest),
        )


@metric("momentum", detail=MomentumDetail)
def momentum(inputs: AnalysisInputs) -> float:
    """Weight times risk-adjusted 12-1 return: w_i (P[-22] / P[-253] - 1) / sqrt(252 a).

    P are the stock's closed bars by row, -1 the newest; the newest month is left out because it tends
    to reverse (Jegadeesh and Titman 1993), and the return is scaled by volatility as in Moskowitz, Ooi
    and Pedersen 2012. Signed, without unit; sums to the portfolio's over the holdings. A missing end
    point takes the last close at most 5 rows earlier.

    Raises:
        MetricError: ``insufficient_history`` below 252 common returns or without an end point;
            ``zero_variance`` where a is at most 1e-24.
    """
    inputs.require_window()
    raw = _raw(inputs)
    inputs.require_moving()
    return inputs.weight * raw / inputs.volatility


def _raw(inputs: AnalysisInputs) -> float:
    raw = _return(inputs.close_at(YEAR_AGO), inputs.close_at(MONTH_AGO))
    if raw is None:
        raise MetricError(
            "insufficient_history",
            f"{inputs.ticker} has no close a month or a year ago, nor in the 5 rows before",
            (inputs.ticker,),
        )
    return raw


def _return(before: float | None, after: float | None) -> float | None:
    """Simple return from one price to another."""
    return None if before is None or after is None else after / before - 1.0


def _high(inputs: AnalysisInputs) -> float:
    """Highest of the newest 252 closes; fmax skips the missing ones."""
    return float(np.fmax.reduce(inputs.closes[-WINDOW:]))
