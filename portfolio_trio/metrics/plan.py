"""The trades that together reach the targets."""

from __future__ import annotations

from math import ceil, copysign, trunc
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.kernel import ZERO_VARIANCE
from portfolio_trio.metrics.risk_budgets import budgeted_sizes
from portfolio_trio.metrics.what_if import risks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics.positions import Positions, Totals
    from portfolio_trio.metrics.returns import ReturnsCache
    from portfolio_trio.targets import Targets

Goal: TypeAlias = Literal["weights", "budgets"]

_NEARLY_WHOLE: Final = 1e-9
_ROUNDING: Final = 1e-12


class Wish(NamedTuple):
    """What a plan is to reach.

    Attributes:
        to: ``weights`` or ``budgets``.
        cash: Put in, or taken out where negative, in currency units.
        only_buy: Sell nothing; only to weights.
        whole_shares: Trade whole shares only.
    """

    to: Goal
    cash: float = 0.0
    only_buy: bool = False
    whole_shares: bool = False


class Plan(NamedTuple):
    """Trades, and the portfolio on both sides of them.

    Attributes:
        before: The positions as they are, and every name with a target.
        after: The same names after the trades.
        trades: Signed shares to trade of each, shape ``(N,)``.
        risks_before: Share of variance of each name; the code of the error where there is none.
        risks_after: The same after.
        totals_before: The whole before.
        totals_after: The whole after.
        turnover: Sum of abs(value traded) over gross value before.
        cash_left: `Wish.cash` less the sum of values traded.
    """

    before: Positions
    after: Positions
    trades: npt.NDArray[np.float64]
    risks_before: npt.NDArray[np.float64] | str
    risks_after: npt.NDArray[np.float64] | str
    totals_before: Totals
    totals_after: Totals
    turnover: float
    cash_left: float


def positions_to_plan(
    cache: ReturnsCache,
    holdings: Mapping[str, float],
    prices: Mapping[str, float],
    targets: Targets,
    to: Goal,
) -> Positions:
    """What is held and what is wanted, in one snapshot; a plan of it may be made in any thread.

    Raises:
        AnalysisError: ``empty_portfolio`` where nothing is held, or ``bad_price``.
    """
    wanted = targets.weights if to == "weights" else targets.budgets
    positions = cache.positions(holdings, prices, targets=targets, also=wanted or ())
    # Worked out here, and not by several threads at once.
    _ = positions.history.kernel, positions.values, positions.snapshot
    return positions


def plan(positions: Positions, wish: Wish) -> Plan:
    """Make the plan; executing every line of it reaches the target.

    Raises:
        MetricError: There is none: ``value_too_low``, ``not_long_only``, ``zero_variance``,
            ``insufficient_history`` or ``no_plan``.
    """
    total = positions.gross + wish.cash
    if not total > 0.0:
        raise MetricError(
            "value_too_low",
            f"a gross value of {positions.gross:.15g} and cash of {wish.cash:.15g} leave nothing to hold: "
            "take out less",
        )
    if wish.only_buy:
        bought = _only_buy(positions, wish, total)
    else:
        bought = _wanted(positions, wish.to, total) - positions.values
    trades = bought / positions.prices
    if wish.whole_shares:
        trades = _whole(positions, trades, wish.cash)
    # Where all of a position goes, all of its shares do.
    gone = np.abs(positions.shares + trades) <= _ROUNDING * np.abs(positions.shares)
    trades = np.where(gone, -positions.shares, trades)
    after = positions.with_shares(positions.shares + trades)
    traded = trades * positions.prices
    left, moved = wish.cash - float(traded.sum()), float(np.abs(traded).sum())
    return Plan(
        positions,
        after,
        trades,
        risks(positions),
        risks(after),
        positions.totals,
        after.totals,
        turnover=moved / (positions.gross or total),
        # What adding up leaves behind is no cash.
        cash_left=left if abs(left) > _ROUNDING * (positions.gross + abs(wish.cash) + moved) else 0.0,
    )


def _wanted(positions: Positions, to: Goal, total: float) -> npt.NDArray[np.float64]:
    """T, the signed value each name should have: of the sign it has, above 0 where it is not held."""
    signs = np.where(positions.shares < 0.0, -1.0, 1.0)
    if to == "weights":
        weights = positions.targets.weights_of(positions.tickers)
        wanted: npt.NDArray[np.float64] = (
            signs * (_equal(positions) if weights is None else np.array(weights)) * total
        )
        return wanted
    return signs * _budgeted(positions, signs) * total


def _equal(positions: Positions) -> npt.NDArray[np.float64]:
    held = positions.shares != 0.0
    shares: npt.NDArray[np.float64] = held / max(int(held.sum()), 1)
    return shares


def _budgeted(positions: Positions, signs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gross weight of each name, sum 1, at which it carries its budget of risk."""
    shares = positions.targets.budgets_of(positions.tickers)
    budgets = _equal(positions) if shares is None else np.array(shares)
    wanted = np.flatnonzero(budgets)
    positions.require_rows()
    flat = tuple(
        positions.tickers[place] for place in wanted if positions.history.variances[place] <= ZERO_VARIANCE
    )
    if flat:
        raise MetricError(
            "zero_variance",
            f"the price of {', '.join(flat)} does not move, so it carries no risk: set budgets without it, "
            "and the plan sells it",
            flat,
        )
    sizes = np.zeros(len(budgets))
    returns = positions.history.kernel.folded(wanted) * signs[wanted, None]
    sizes[wanted] = budgeted_sizes(returns, budgets[wanted])
    return sizes


def _only_buy(positions: Positions, wish: Wish, total: float) -> npt.NDArray[np.float64]:
    """Values to buy, at least 0, sum the cash: those that leave the least sum of squared gaps.

    b_i = max(0, gap_i - lambda), the projection of the gaps on a simplex; lambda by sorting.
    """
    short = tuple(
        name for name, shares in zip(positions.tickers, positions.shares, strict=True) if shares < 0.0
    )
    if short:
        raise MetricError(
            "not_long_only", f"only_buy is for long positions; short: {', '.join(short)}", short
        )
    gaps = _wanted(positions, "weights", total) - positions.values
    falling = np.sort(gaps)[::-1]
    # Lambda if the first k names are bought, and the last k for which the k-th still is.
    lambdas = (np.cumsum(falling) - wish.cash) / np.arange(1, len(gaps) + 1)
    bought = np.flatnonzero(falling > lambdas)
    if not wish.cash or not len(bought):
        return np.zeros(len(gaps))
    sizes: npt.NDArray[np.float64] = np.maximum(gaps - lambdas[bought[-1]], 0.0)
    return sizes


def _whole(positions: Positions, trades: npt.NDArray[np.float64], cash: float) -> npt.NDArray[np.float64]:
    """Round each trade towards zero; then sell what shares the cash lacks, and buy what shares it pays.

    One share of each line, that with the largest gap first, and none beyond the end of a position. Where that
    does not bring what is lacking, as the rest of a line is less than a share, the largest buys shrink.
    """
    rounded = _Rounded(positions, trades, cash)
    rounded.step(-1.0)
    rounded.buy_less()
    rounded.step(1.0)
    return np.array(rounded.whole)


class _Rounded:
    """Trades of whole shares, and the cash that is left after them."""

    def __init__(self, positions: Positions, trades: npt.NDArray[np.float64], cash: float) -> None:
        self._prices = positions.prices.tolist()
        self._held = positions.shares.tolist()
        wanted = trades.tolist()
        # A whole number that rounding has left just below itself is meant.
        self.whole = [float(trunc(each + copysign(_NEARLY_WHOLE, each))) for each in wanted]
        lines = list(zip(wanted, self.whole, self._prices, strict=True))
        self._gaps = [(trade - done) * price for trade, done, price in lines]
        # A plan over shorts may need more cash than there is. Rounding is to need no more than that.
        lacking = max(0.0, sum(trade * price for trade, _, price in lines) - cash)
        self._left = cash + lacking - sum(done * price for _, done, price in lines)

    def step(self, step: float) -> None:
        """Buy a share (1.0) of each line that should have more, or sell one (-1.0), while the cash allows."""
        for place in sorted(range(len(self._gaps)), key=lambda place: -step * self._gaps[place]):
            price, held = self._prices[place], self._held[place]
            wants = step * self._gaps[place] > _NEARLY_WHOLE * price
            crosses = held * (held + self.whole[place] + step) < 0.0
            if wants and not crosses and (price <= self._left if step > 0.0 else self._left < 0.0):
                self._trade(place, step)

    def buy_less(self) -> None:
        """Take back from the largest buys what shares it takes to lack no cash."""
        for place in sorted(
            range(len(self.whole)), key=lambda place: -self.whole[place] * self._prices[place]
        ):
            if self._left < 0.0 < self.whole[place]:
                self._trade(place, -min(self.whole[place], float(ceil(-self._left / self._prices[place]))))

    def _trade(self, place: int, shares: float) -> None:
        self.whole[place] += shares
        self._gaps[place] -= shares * self._prices[place]
        self._left -= shares * self._prices[place]
