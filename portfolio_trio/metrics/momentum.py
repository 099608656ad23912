"""The contribution of the stock's trend to a position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.metrics.registry import Detail, Field, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs


class MomentumDetail(Detail):
    """Detail of `momentum`; returns and volatility as fractions, from the stock's own closes.

    A month, three and six months and a year are 21, 63, 126 and Y = 252 closes of a stock that trades
    on weekdays; 30, 91, 182 and 365 of one that trades every day; 4, 13, 26 and 52 of a weekly and 1, 3, 6
    and 12 of a monthly series.

    Attributes:
        raw_12_1: P[-22] / P[-253] - 1, the return of the year up to a month ago.
        return_1m: P[-1] / P[-22] - 1.
        return_3m: P[-1] / P[-64] - 1.
        return_6m: P[-1] / P[-127] - 1.
        volatility: sqrt(A a), annual EWMA volatility of the stock.
        from_52_week_high: P[-1] over the highest of the newest Y closes, less 1: at most 0.
    """

    raw_12_1: float
    return_1m: float | None
    return_3m: float | None
    return_6m: float | None
    volatility: float
    from_52_week_high: float | None


def momentum_fields(inputs: AnalysisInputs, _value: float) -> dict[str, Field]:
    """Compute the detail of a value."""
    trend = inputs.trend
    return {
        "raw_12_1": inputs.require_year(),
        "return_1m": trend.return_1m,
        "return_3m": trend.return_3m,
        "return_6m": trend.return_6m,
        "volatility": inputs.volatility,
        "from_52_week_high": trend.from_high,
    }


@metric("momentum", detail=MomentumDetail, fields=momentum_fields)
def momentum(inputs: AnalysisInputs) -> float:
    """Weight times risk-adjusted 12-1 return: w_i (P[-22] / P[-253] - 1) / sqrt(A a).

    P are the stock's own closes, independent of the other holdings' calendars, -1 the newest; 22 and 253
    stand for a month + 1 and Y + 1 of its own calendar, see `MomentumDetail`. The newest month is left out
    because it tends to reverse (Jegadeesh and Titman 1993), and the return is scaled by volatility as in
    Moskowitz, Ooi and Pedersen 2012. Signed, without unit; sums to the portfolio's over the holdings.

    Raises:
        MetricError: ``insufficient_history`` below 60 common returns, below Y + 1 closes of its own, or if
            its newest close is more than 14 days older than the newest close of any holding;
            ``zero_variance`` if a is at most 1e-24.
    """
    inputs.require_rows()
    raw = inputs.require_year()
    inputs.require_moving()
    return inputs.weight * raw / inputs.volatility
