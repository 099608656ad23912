"""The trades that together reach the targets."""

from __future__ import annotations

from math import ceil, copysign, floor, inf, trunc
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.canonical import canonical_shares
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
# Trades of fewer shares, or of a smaller part of a position, may be lost to rounding.
_FEW: Final = 1e-9
_ROUNDING: Final = 1e-12


class Wish(NamedTuple):
    """The goal of a plan.

    Attributes:
        to: ``weights`` or ``budgets``.
        cash: Cash to put in, or to take out if negative, in currency units.
        only_buy: Sell nothing; only for plans to weights.
        whole_shares: Trade whole shares only.
    """

    to: Goal
    cash: float = 0.0
    only_buy: bool = False
    whole_shares: bool = False


class Plan(NamedTuple):
    """Trades, and the portfolio before and after them.

    Attributes:
        before: The positions as they are, and every name with a target.
        after: The same names after the trades.
        trades: Signed shares to trade of each, shape ``(N,)``.
        risks_before: Share of variance of each name; the error code if there is none.
        risks_after: The same after the trades.
        totals_before: Totals before.
        totals_after: Totals after.
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
    """Take one snapshot of the holdings and the names with targets; a plan from it may be made in any thread.

    Raises:
        AnalysisError: ``empty_portfolio`` if nothing is held, or ``bad_price``.
    """
    wanted = targets.weights if to == "weights" else targets.budgets
    positions = cache.positions(holdings, prices, targets=targets, also=wanted or ())
    # Computed here, because several threads must not compute it at once.
    _ = positions.history.kernel, positions.history.equal_budgets, positions.values, positions.snapshot
    return positions


def plan(positions: Positions, wish: Wish) -> Plan:
    """Make the plan; executing every line of it reaches the target, and no line is too small to be executed.

    Raises:
        MetricError: There is no plan: ``value_too_low``, ``not_long_only``, ``zero_variance``,
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
    # If a position is closed, all of its shares are traded.
    gone = np.abs(positions.shares + trades) <= _ROUNDING * np.abs(positions.shares)
    trades = _that_change(positions.shares, np.where(gone, -positions.shares, trades))
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
        # Rounding errors of the sum are not cash.
        cash_left=left if abs(left) > _ROUNDING * (positions.gross + abs(wish.cash) + moved) else 0.0,
    )


def _that_change(shares: npt.NDArray[np.float64], trades: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Leave out the trades that would be refused: they are too small to change a position."""
    for place in np.flatnonzero(np.abs(trades) <= np.maximum(_FEW, _ROUNDING * np.abs(shares))):
        held, traded = canonical_shares(float(shares[place])), canonical_shares(float(trades[place]))
        if canonical_shares(held + traded, held, traded) == held:
            trades[place] = 0.0
    return trades


def _wanted(positions: Positions, to: Goal, total: float) -> npt.NDArray[np.float64]:
    """T, the signed target value of each name: with its present sign, positive if it is not held."""
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
    """Gross weight of each name, sum 1, at which its share of risk is its budget."""
    positions.require_rows()
    shares = positions.targets.budgets_of(positions.tickers)
    budgets = np.array(positions.history.equal_budgets if shares is None else shares)
    wanted = np.flatnonzero(budgets)
    # Without budgets that are set, none is wanted if nothing moves.
    places = wanted if len(wanted) else range(len(budgets))
    flat = tuple(
        positions.tickers[place] for place in places if positions.history.variances[place] <= ZERO_VARIANCE
    )
    if flat:
        raise MetricError(
            "zero_variance",
            f"the price of {', '.join(flat)} does not move, so it carries no risk: set budgets without it, "
            "and the plan will sell it",
            flat,
        )
    sizes = np.zeros(len(budgets))
    returns = positions.history.kernel.folded(wanted) * signs[wanted, None]
    sizes[wanted] = budgeted_sizes(returns, budgets[wanted])
    return sizes


def _only_buy(positions: Positions, wish: Wish, total: float) -> npt.NDArray[np.float64]:
    """Values to buy, at least 0, summing to the cash, that minimise the sum of squared gaps.

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
    # Lambda if the first k names are bought, and the last k for which the k-th is still bought.
    lambdas = (np.cumsum(falling) - wish.cash) / np.arange(1, len(gaps) + 1)
    bought = np.flatnonzero(falling > lambdas)
    if not wish.cash or not len(bought):
        return np.zeros(len(gaps))
    sizes: npt.NDArray[np.float64] = np.maximum(gaps - lambdas[bought[-1]], 0.0)
    return sizes


def _whole(positions: Positions, trades: npt.NDArray[np.float64], cash: float) -> npt.NDArray[np.float64]:
    """Round each trade towards zero; then sell shares if cash is lacking, and buy shares with what is left.

    Largest gap first, and never beyond the end of a position. If that does not raise enough cash, because
    what is left of a line is less than a share, the largest buys are reduced; for what that leaves, a cheaper
    line may get many shares.
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
        # A value just below a whole number, due to rounding, means that number.
        self.whole = [float(trunc(each + copysign(_NEARLY_WHOLE, each))) for each in wanted]
        lines = list(zip(wanted, self.whole, self._prices, strict=True))
        self._gaps = [(trade - done) * price for trade, done, price in lines]
        # A plan with short positions may need more cash than there is. Rounding must not need more than that.
        lacking = max(0.0, sum(trade * price for trade, _, price in lines) - cash)
        self._left = cash + lacking - sum(done * price for _, done, price in lines)

    def step(self, step: float) -> None:
        """Buy (1.0) or sell (-1.0) shares of each line that should change, as far as the cash allows."""
        for place in sorted(range(len(self._gaps)), key=lambda place: -step * self._gaps[place]):
            price = self._prices[place]
            wanted = ceil(step * self._gaps[place] / price - _NEARLY_WHOLE)
            paid = floor(self._left / price) if step > 0.0 else ceil(-self._left / price)
            shares = min(wanted, paid, self._room(place, step))
            if shares > 0:
                self._trade(place, step * shares)

    def _room(self, place: int, step: float) -> float:
        """How many shares can be bought or sold before the position is closed, if that closes it."""
        held = self._held[place]
        return floor(abs(held + self.whole[place])) if held * step < 0.0 else inf

    def buy_less(self) -> None:
        """Reduce the largest buys until no cash is lacking."""
        for place in sorted(
            range(len(self.whole)), key=lambda place: -self.whole[place] * self._prices[place]
        ):
            if self._left < 0.0 < self.whole[place]:
                self._trade(place, -min(self.whole[place], float(ceil(-self._left / self._prices[place]))))

    def _trade(self, place: int, shares: float) -> None:
        self.whole[place] += shares
        self._gaps[place] -= shares * self._prices[place]
        self._left -= shares * self._prices[place]
