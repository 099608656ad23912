"""What carries the risk: every holding, and the whole, from one snapshot."""

from __future__ import annotations

from itertools import repeat
from math import isnan, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics.allocation_score import budget_gap
from portfolio_trio.metrics.correlation import rest_correlation
from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.kernel import ZERO_VARIANCE
from portfolio_trio.metrics.portfolio_risk import portfolio_beta, risk_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portfolio_trio.metrics.history import History
    from portfolio_trio.metrics.kernel import Moments
    from portfolio_trio.metrics.portfolio import PortfolioInputs

MAX_MATRIX: Final = 60
"""Holdings up to which the matrix of correlations is given."""


class HoldingRisk(NamedTuple):
    """One holding; each number to the last digit what an analysis of it says from the same snapshot.

    None where `errors` has the code.

    Attributes:
        ticker: Its name.
        shares: Signed share count.
        price: Live price in currency units.
        value: m_i, signed, in currency units.
        weight: w_i = m_i / G, signed.
        risk: `portfolio_risk`, the share of variance.
        volatility: sqrt(A a), annual, as a fraction.
        beta: (Sw)_i / w'Sw, to the portfolio.
        correlation: `correlation`, with the rest.
        target_weight: Its target weight.
        budget: b_i, its risk budget.
        score: `allocation_score`.
        errors: Code of each number that cannot be computed.
    """

    ticker: str
    shares: float
    price: float
    value: float
    weight: float
    risk: float | None
    volatility: float | None
    beta: float | None
    correlation: float | None
    target_weight: float
    budget: float | None
    score: float | None
    errors: Mapping[str, str]


class _Held(NamedTuple):
    """What of a holding needs no history."""

    ticker: str
    shares: float
    price: float
    value: float
    weight: float
    target: float
    budget: float | None  # as it is, not as it is written


def holding_risks(portfolio: PortfolioInputs) -> list[HoldingRisk]:
    """Every holding, in the order of the names; one pass, O(L N)."""
    try:
        moments, budgets = portfolio.all_moments(), portfolio.budgets
    except MetricError as error:
        set_budgets = portfolio.wanted.budgets_of(portfolio.tickers)
        return [_unknown(held, error.code) for held in _held(portfolio, set_budgets)]
    periods = portfolio.history.periods
    return [
        _holding(held, own, periods) for held, own in zip(_held(portfolio, budgets), moments, strict=True)
    ]


def _held(portfolio: PortfolioInputs, budgets: Iterable[float] | None) -> Iterator[_Held]:
    lines, gross = portfolio.lines, portfolio.gross
    weights = [canonical(value / gross) for value in lines.values]
    values, targets = map(canonical, lines.values), map(canonical, portfolio.targets)
    wanted = repeat(None) if budgets is None else budgets
    return map(_Held, portfolio.tickers, lines.shares, lines.prices, values, weights, targets, wanted)


def _holding(held: _Held, own: Moments, periods: int) -> HoldingRisk:
    risk = beta = score = correlation = None
    errors: dict[str, str] = {}
    try:
        risk, beta = canonical(risk_share(own)), canonical(portfolio_beta(own))
        score = canonical(budget_gap(held.ticker, own, held.budget or 0.0))
    except MetricError as error:
        missing = ("score",) if risk is not None else ("risk", "beta", "score")
        errors.update(dict.fromkeys(missing, error.code))
    try:
        correlation = canonical(rest_correlation(held.ticker, own))
    except MetricError as error:
        errors["correlation"] = error.code
    ticker, shares, price, value, weight, target, budget = held
    volatility, budget = canonical(sqrt(periods * own.variance)), _written(budget)
    return HoldingRisk(
        ticker,
        shares,
        price,
        value,
        weight,
        risk,
        volatility,
        beta,
        correlation,
        target,
        budget,
        score,
        errors,
    )


def _written(budget: float | None) -> float | None:
    return None if budget is None else canonical(budget)


def _unknown(held: _Held, code: str) -> HoldingRisk:
    """A holding of which history says nothing."""
    ticker, shares, price, value, weight, target, budget = held
    missing = ["risk", "volatility", "beta", "correlation", "score"]
    errors = dict.fromkeys(missing if budget is not None else [*missing, "budget"], code)
    return HoldingRisk(
        ticker, shares, price, value, weight, None, None, None, None, target, _written(budget), None, errors
    )


def correlation_matrix(history: History) -> list[list[float | None]]:
    """EWMA correlations of all pairs, shape ``(N, N)``; None where a name does not move.

    Raises:
        MetricError: ``insufficient_history``; ``too_many_holdings`` above 60 of them.
    """
    if len(history.tickers) > MAX_MATRIX:
        raise MetricError(
            "too_many_holdings",
            f"{len(history.tickers)} holdings; correlations are given for {MAX_MATRIX} at most",
        )
    if history.n_obs < MIN_ROWS:
        raise MetricError("insufficient_history", f"{MIN_ROWS} common returns are needed", history.culprits)
    scaled = history.weighted * history.inverse_volatilities[:, None]
    matrix = np.clip(scaled.dot(scaled.T), -1.0, 1.0)
    np.fill_diagonal(matrix, np.where(history.variances > ZERO_VARIANCE, 1.0, np.nan))
    return [[None if isnan(each) else canonical(each) for each in row] for row in matrix.tolist()]
