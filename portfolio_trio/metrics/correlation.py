"""How a stock moves with the rest of the portfolio."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.kernel import ZERO_VARIANCE, require_moving
from portfolio_trio.metrics.registry import Detail, Field, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.metrics.kernel import Moments

MONTH, QUARTER = 21, 63


class CorrelationDetail(Detail):
    """Detail of `correlation`; None if a window is not filled or nothing moves in it.

    Attributes:
        pearson: Ordinary Pearson correlation (equal weights, demeaned) over all rows used, at most 252.
        rolling_21: The same over the newest 21 common returns.
        rolling_63: The same over the newest 63.
        beta: c / v in units of return: of the stock to the rest.
        closest: The holding with the highest EWMA correlation to the stock, a short one counted with the
            opposite sign; of equals the first by name. Names that do not move are left out.
        most_diversifying: The holding with the lowest.
        n_obs: Common returns used, 60 to 252.
    """

    pearson: float | None
    rolling_21: float | None
    rolling_63: float | None
    beta: float
    closest: str | None
    most_diversifying: str | None
    n_obs: int


def correlation_fields(inputs: AnalysisInputs, _value: float) -> dict[str, Field]:
    """Compute the detail of a value."""
    closest, most_diversifying = _extremes(inputs)
    return {
        "pearson": _pearson(inputs, inputs.n_obs),
        "rolling_21": _pearson(inputs, MONTH),
        "rolling_63": _pearson(inputs, QUARTER),
        "beta": inputs.rest_covariance / inputs.rest_variance,
        "closest": closest,
        "most_diversifying": most_diversifying,
        "n_obs": inputs.n_obs,
    }


@metric("correlation", detail=CorrelationDetail, fields=correlation_fields)
def correlation(inputs: AnalysisInputs) -> float:
    """EWMA correlation of the stock with the rest of the portfolio: c / sqrt(a v), -1 to 1.

    The rest is every other holding at its signed value, the stock itself left out. Pearson's formula
    on exponentially weighted returns around 0 (the mean is noise at this length). The sign of the stock's own
    position has no effect: the stock is compared, not the position.

    Raises:
        MetricError: ``insufficient_history`` below 60 common returns; ``no_other_holdings`` for a
            single holding; ``zero_variance`` if a is at most 1e-24, or v is at most 1e-24 times the squared
            gross value of the rest.
    """
    return rest_correlation(inputs.ticker, inputs.moments)


def rest_correlation(ticker: str, moments: Moments) -> float:
    """Correlation of a holding with the rest, the value of `correlation`: c / sqrt(a v).

    Raises:
        MetricError: ``no_other_holdings`` or ``zero_variance``, as for `correlation`.
    """
    if moments.rest_gross == 0.0:
        raise MetricError("no_other_holdings", f"{ticker} is the only holding", (ticker,))
    require_moving(ticker, moments)
    if moments.rest_variance <= ZERO_VARIANCE:
        raise MetricError("zero_variance", f"the value of the holdings other than {ticker} does not move")
    return _clip(moments.rest_covariance / (sqrt(moments.variance) * sqrt(moments.rest_variance)))


def _clip(value: float) -> float:
    """Rounding may exceed the range by a last digit."""
    return min(1.0, max(-1.0, value))


def _pearson(inputs: AnalysisInputs, rows: int) -> float | None:
    """Pearson correlation with the rest over the newest returns; None if one of the two does not move."""
    window = inputs.history.window(rows)
    if window is None:
        return None
    own = window.squares[inputs.index]
    if window.is_folded:
        others = inputs.rest_weights.dot(window.columns)
    else:
        # The columns are returns: no need to read all of them again.
        returns = inputs.plain_rest_returns[-rows:]
        others = returns - np.add.reduce(returns) / rows
    cross, rest = float(window.columns[inputs.index].dot(others)), float(others.dot(others))
    if min(own, rest) <= rows * ZERO_VARIANCE:
        return None
    return _clip(cross / (sqrt(own) * sqrt(rest)))


def _extremes(inputs: AnalysisInputs) -> tuple[str | None, str | None]:
    """The holdings that move most and least with the stock, by signed EWMA correlation."""
    neighbours = inputs.history.neighbours(inputs.index)
    if neighbours is None:
        return None, None
    tickers = inputs.tickers
    if inputs.portfolio.is_long:
        return tickers[neighbours.closest], tickers[neighbours.farthest]
    signed = np.copysign(1.0, inputs.values[neighbours.places]) * neighbours.scaled
    highest, lowest = neighbours.places[[signed.argmax(), signed.argmin()]].tolist()
    return tickers[highest], tickers[lowest]
