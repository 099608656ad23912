"""What carries the risk: every holding, and the whole, from one snapshot."""

from __future__ import annotations

from itertools import repeat
from math import isnan, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

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

_NO_ERRORS: Final[dict[str, str]] = {}

MAX_MATRIX: Final = 60
"""Holdings up to which the matrix of correlations is given."""


class HoldingRisk(NamedTuple):
    """One holding; each number as it is written is what an analysis of it says from the same snapshot.

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
    target: float
    budget: float | None


def holding_risks(portfolio: PortfolioInputs) -> list[HoldingRisk]:
    """Every holding, in the order of the names; one pass, O(L N)."""
    try:
        moments, budgets = portfolio.all_moments(), portfolio.budgets
    except MetricError as error:
        set_budgets = portfolio.wanted.budgets_of(portfolio.tickers)
        return [_unknown(held, portfolio.gross, error.code) for held in _held(portfolio, set_budgets)]
    periods = portfolio.history.periods
    return [
        _holding(held, own, periods) for held, own in zip(_held(portfolio, budgets), moments, strict=True)
    ]


def _held(portfolio: PortfolioInputs, budgets: Iterable[float] | None) -> Iterator[_Held]:
    lines = portfolio.lines
    wanted = repeat(None) if budgets is None else budgets
    return map(_Held, portfolio.tickers, lines.shares, lines.prices, lines.values, portfolio.targets, wanted)


def _holding(held: _Held, own: Moments, periods: int) -> HoldingRisk:
    ticker, shares, price, value, target, budget = held
    risk = beta = score = correlation = None
    errors: dict[str, str] = _NO_ERRORS
    try:
        risk, beta = risk_share(own), portfolio_beta(own)
        score = budget_gap(ticker, own, budget or 0.0)
    except MetricError as error:
        missing = ("score",) if risk is not None else ("risk", "beta", "score")
        errors = dict.fromkeys(missing, error.code)
    try:
        correlation = rest_correlation(ticker, own)
    except MetricError as error:
        errors = {**errors, "correlation": error.code}
    return HoldingRisk(
        ticker,
        shares,
        price,
        value,
        own.weight,
        risk,
        sqrt(periods * own.variance),
        beta,
        correlation,
        target,
        budget,
        score,
        errors,
    )


def _unknown(held: _Held, gross: float, code: str) -> HoldingRisk:
    """A holding of which history says nothing."""
    ticker, shares, price, value, target, budget = held
    missing = ["risk", "volatility", "beta", "correlation", "score"]
    errors = dict.fromkeys(missing if budget is not None else [*missing, "budget"], code)
    return HoldingRisk(
        ticker, shares, price, value, value / gross, None, None, None, None, target, budget, None, errors
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
    return [[None if isnan(each) else each for each in row] for row in matrix.tolist()]
