"""The risk of every holding and of the whole portfolio, from one snapshot."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.kernel import ZERO_VARIANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.history import History
    from portfolio_trio.metrics.kernel import AllMoments
    from portfolio_trio.metrics.portfolio import PortfolioInputs

    Floats: TypeAlias = npt.NDArray[np.float64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

_NO_ERRORS: Final[Mapping[int, Mapping[str, str]]] = {}

MAX_MATRIX: Final = 60
"""The maximum number of holdings for the matrix of correlations."""


class HoldingRisks(NamedTuple):
    """All holdings; each number, as written, equals that of an analysis from the same snapshot.

    Attributes:
        tickers: Their names, sorted, shape ``(N,)``.
        numbers: The numbers of each, in the order of `COLUMNS`, shape ``(N, 11)``; NaN if `errors` has the
            code.
        errors: The error codes of numbers that cannot be computed, by row.
    """

    tickers: tuple[str, ...]
    numbers: Floats
    errors: Mapping[int, Mapping[str, str]]


COLUMNS: Final = (
    "shares",
    "price",
    "value",
    "weight",
    "risk",
    "volatility",
    "beta",
    "correlation",
    "target_weight",
    "budget",
    "score",
)
"""Signed share count; live price; m_i, signed; w_i = m_i / G, signed; `portfolio_risk`; sqrt(A a),
annual; (Sw)_i / w'Sw; `correlation`; target weight; b_i; `allocation_score`."""


def holding_risks(portfolio: PortfolioInputs) -> HoldingRisks:
    """Every holding, in the order of the names; one pass, O(L N)."""
    try:
        moments, budgets = portfolio.all_moments(), portfolio.budgets
    except MetricError as error:
        return _unknown(portfolio, error.code)
    flat = moments.variance <= ZERO_VARIANCE
    risk, beta = _shares_and_betas(moments, flat)
    correlation, code = _correlations(moments, flat)
    budget = np.frombuffer(budgets)
    columns = (
        *_held(portfolio, moments.weight),
        risk,
        np.sqrt(portfolio.history.periods * moments.variance),
        beta,
        correlation,
        np.frombuffer(portfolio.targets),
        budget,
        np.where(flat, np.nan, budget - risk),
    )
    numbers = np.empty((portfolio.count, len(columns)))
    for place, column in enumerate(columns):
        numbers[:, place] = column
    return HoldingRisks(portfolio.tickers, numbers, _errors(moments, flat, code))


def _held(portfolio: PortfolioInputs, weights: Floats) -> tuple[Floats, ...]:
    """The numbers of holdings that need no history."""
    lines = portfolio.lines
    return np.frombuffer(lines.shares), np.frombuffer(lines.prices), np.frombuffer(lines.values), weights


def _shares_and_betas(moments: AllMoments, flat: Flags) -> tuple[Floats | float, Floats | float]:
    """The `risk_share` and `portfolio_beta` of each; NaN for all if the whole does not move."""
    whole = moments.portfolio_variance
    if whole <= ZERO_VARIANCE:
        return np.nan, np.nan
    risk = moments.weight * moments.portfolio_covariance / whole
    beta = moments.portfolio_covariance / whole
    risk[flat] = beta[flat] = 0.0
    # Nothing else moves: exactly 1, without a rounding error.
    risk[moments.rest_variance == 0.0] = 1.0
    return risk, beta


def _correlations(moments: AllMoments, flat: Flags) -> tuple[Floats, Flags]:
    """The `rest_correlation` of each, and where it is undefined."""
    none = flat | (moments.rest_variance <= ZERO_VARIANCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = moments.rest_covariance / (np.sqrt(moments.variance) * np.sqrt(moments.rest_variance))
    found = np.minimum(1.0, np.maximum(-1.0, raw))
    found[none] = np.nan
    return found, none


def _errors(moments: AllMoments, flat: Flags, uncorrelated: Flags) -> Mapping[int, Mapping[str, str]]:
    """The codes that `risk_share`, `budget_gap` and `rest_correlation` would raise, by row."""
    still = moments.portfolio_variance <= ZERO_VARIANCE
    if not still and not uncorrelated.any():
        return _NO_ERRORS
    errors: dict[int, dict[str, str]] = {}
    for row in range(len(flat)) if still else np.flatnonzero(uncorrelated).tolist():
        codes = errors[row] = {}
        if still:
            codes.update(dict.fromkeys(("risk", "beta", "score"), "zero_portfolio_variance"))
        elif flat[row]:
            codes["score"] = "zero_variance"
        if uncorrelated[row]:
            alone = moments.rest_gross[row] == 0.0
            codes["correlation"] = "no_other_holdings" if alone else "zero_variance"
    return errors


def _unknown(portfolio: PortfolioInputs, code: str) -> HoldingRisks:
    """Holdings without usable history."""
    set_budgets = portfolio.wanted.budgets_of(portfolio.tickers)
    numbers = np.full((portfolio.count, len(COLUMNS)), np.nan)
    for place, column in enumerate(_held(portfolio, portfolio.weights)):
        numbers[:, place] = column
    numbers[:, COLUMNS.index("target_weight")] = portfolio.targets
    missing = ["risk", "volatility", "beta", "correlation", "score"]
    if set_budgets is None:
        missing.append("budget")
    else:
        numbers[:, COLUMNS.index("budget")] = set_budgets
    return HoldingRisks(
        portfolio.tickers, numbers, {row: dict.fromkeys(missing, code) for row in range(portfolio.count)}
    )


def correlation_matrix(history: History) -> list[list[float | None]]:
    """EWMA correlations of all pairs, shape ``(N, N)``; None if a name does not move.

    Raises:
        MetricError: ``insufficient_history``; ``too_many_holdings`` above 60 of them.
    """
    if len(history.tickers) > MAX_MATRIX:
        raise MetricError(
            "too_many_holdings",
            f"{len(history.tickers)} holdings; correlations are limited to {MAX_MATRIX} holdings",
        )
    if history.n_obs < MIN_ROWS:
        raise MetricError("insufficient_history", f"{MIN_ROWS} common returns are needed", history.culprits)
    scaled = history.weighted * history.inverse_volatilities[:, None]
    matrix = np.clip(scaled.dot(scaled.T), -1.0, 1.0)
    np.fill_diagonal(matrix, np.where(history.variances > ZERO_VARIANCE, 1.0, np.nan))
    return [[None if isnan(each) else each for each in row] for row in matrix.tolist()]
