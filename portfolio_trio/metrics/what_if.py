"""The portfolio before and after trades, from the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from portfolio_trio.canonical import canonical_shares
from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.kernel import ZERO_VARIANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from portfolio_trio.metrics.positions import Positions, Totals
    from portfolio_trio.metrics.returns import ReturnsCache
    from portfolio_trio.targets import Targets


class Hedge(NamedTuple):
    """The size of one position at which the portfolio's variance is least, all others unchanged.

    Attributes:
        ticker: The position.
        value: m* = -c/a, signed, in currency units.
        shares: The same in shares, at the live price.
    """

    ticker: str
    value: float
    shares: float


class Change(NamedTuple):
    """Totals after less totals before; None if either is, with its code in `errors`."""

    value: float
    gross: float
    volatility: float | None
    risk: float | None
    effective_holdings: float | None
    errors: Mapping[str, str]


class WhatIf(NamedTuple):
    """The effect of trades.

    Attributes:
        before: The positions as they are, and every traded name.
        after: The same names after the trades.
        totals_before: Totals before.
        totals_after: Totals after.
        change: The difference.
        risks_before: Share of variance of each name; the error code if there is none.
        risks_after: The same after the trades.
        cash: Proceeds of the trades: minus the sum of shares times price.
        best_hedge: Of the traded name, or the error code if it has none; None if not exactly one is traded.
    """

    before: Positions
    after: Positions
    totals_before: Totals
    totals_after: Totals
    change: Change
    risks_before: npt.NDArray[np.float64] | str
    risks_after: npt.NDArray[np.float64] | str
    cash: float
    best_hedge: Hedge | str | None


def what_if(
    cache: ReturnsCache,
    holdings: Mapping[str, float],
    prices: Mapping[str, float],
    trades: Mapping[str, float],
    targets: Targets,
) -> WhatIf:
    """Compute both sides from the rows in which every name of either has a close at both ends.

    So the change is due only to the trades, and it is the full difference, not a first-order estimate.

    Args:
        cache: The returns.
        holdings: Signed shares of each name.
        prices: Live prices in currency units, of every held or traded name.
        trades: Signed shares to add, by name.
        targets: Only included in the snapshot.

    Raises:
        AnalysisError: ``empty_portfolio`` if nothing is held or traded; ``bad_price``.
    """
    before = cache.positions(holdings, prices, targets=targets, also=trades)
    place_of = before.history.place
    shares = before.shares.copy()
    for name, traded in trades.items():
        place = place_of[name]
        # Rounded as a trade is, so that rounding errors leave no position.
        held = float(shares[place])
        shares[place] = canonical_shares(held + traded, held, traded)
    after = before.with_shares(shares)
    old, new = before.totals, after.totals
    change = Change(
        new.value - old.value,
        new.gross - old.gross,
        _difference(new.volatility, old.volatility),
        _difference(new.risk, old.risk),
        _difference(new.effective_holdings, old.effective_holdings),
        {**old.errors, **new.errors},
    )
    cash = -sum(traded * prices[name] for name, traded in trades.items())
    return WhatIf(
        before, after, old, new, change, risks(before), risks(after), cash, best_hedge(before, [*trades])
    )


def risks(positions: Positions) -> npt.NDArray[np.float64] | str:
    """Risk shares, or the error code if there are none."""
    try:
        return positions.risk_shares if positions.gross else "empty_portfolio"
    except MetricError as error:
        return error.code


def best_hedge(positions: Positions, traded: list[str]) -> Hedge | str | None:
    """The size of the one traded name that minimises m'Sm, or the error code; None unless it is one."""
    if len(traded) != 1:
        return None
    if positions.history.n_obs < MIN_ROWS:
        return "insufficient_history"
    place, kernel = positions.history.place[traded[0]], positions.history.kernel
    variance = float(kernel.variances[place])
    if variance <= ZERO_VARIANCE:
        return "zero_variance"
    rest = positions.values.copy()
    rest[place] = 0.0
    value = -float(kernel.with_each(kernel.combined(rest))[place]) / variance
    return Hedge(traded[0], value + 0.0, value / float(positions.prices[place]) + 0.0)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
