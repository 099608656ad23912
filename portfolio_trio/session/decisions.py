"""From the inputs of a request to its answer: risk, what-if, plan and history, in their wire form.

Each answer comes from one snapshot, so the same snapshot gives the same answer again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from portfolio_trio.metrics import METHOD_VERSION
from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.past_values import past_values
from portfolio_trio.metrics.plan import Wish, plan, positions_to_plan
from portfolio_trio.metrics.risk import COLUMNS, correlation_matrix, holding_risks
from portfolio_trio.metrics.what_if import what_if
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.messages import Receipt
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.protocol.tables import members, numbers_text, rows_text
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from portfolio_trio.metrics import ReturnsCache
    from portfolio_trio.metrics.plan import Plan
    from portfolio_trio.metrics.portfolio import PortfolioInputs
    from portfolio_trio.metrics.positions import Positions
    from portfolio_trio.protocol.exact import JsonText
    from portfolio_trio.targets import Targets

    Floats: TypeAlias = npt.NDArray[np.float64]

Question: TypeAlias = GetRisk | AskWhatIf | MakePlan | GetHistory
"""The requests that are answered from a snapshot and change nothing."""

# Sizes from which a plan's Newton steps (names) or a history (closes) take more than a millisecond.
_MANY_NAMES: Final = 64
_MANY_CLOSES: Final = 100_000

_RISK_MEMBERS: Final = members(*COLUMNS)
_SIDE_MEMBERS: Final = members("value", "weight", "risk")
_LINE_MEMBERS: Final = members(
    "shares", "value", "weight_before", "weight_after", "risk_before", "risk_after"
)

Fields: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Seen:
    """The inputs of an answer.

    Attributes:
        holdings: Signed shares by ticker.
        prices: Live prices of all names that are held or in the request.
        targets: The owner's targets.
        cache: The returns.
        version: Of the holdings and targets.
        tick_id: Of the prices.
        as_of: When the prices were quoted.
        stale: Prices or bars are older than they should be.
    """

    holdings: Mapping[str, float]
    prices: Mapping[str, float]
    targets: Targets
    cache: ReturnsCache
    version: int
    tick_id: int
    as_of: str
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """An answer to be computed: its snapshot is taken, so any thread may compute it.

    Attributes:
        compute: Computes the fields of the answer; raises `MetricError` if there is none.
        heavy: It takes more than about a millisecond.
        receipt: Its inputs.
    """

    compute: Callable[[], Fields]
    heavy: bool
    receipt: Callable[[], Receipt]


def named(request: Question, targets: Targets) -> Mapping[str, float]:
    """The names in the request, held or not."""
    if isinstance(request, AskWhatIf):
        return request.trades
    if isinstance(request, MakePlan):
        return (targets.weights if request.to == "weights" else targets.budgets) or {}
    return {}


def prepare(request: Question, seen: Seen) -> Job:
    """Take the snapshot of a request.

    Raises:
        AnalysisError: Holdings or prices allow no answer.
    """
    match request:
        case GetRisk():
            return _risk(request, seen)
        case AskWhatIf():
            return _what_if(request, seen)
        case MakePlan():
            return _plan(request, seen)
        case GetHistory():
            return _history(request, seen)


def _risk(request: GetRisk, seen: Seen) -> Job:
    portfolio = seen.cache.portfolio(seen.holdings, seen.prices, targets=seen.targets)
    positions = portfolio.positions

    def compute() -> Fields:
        found = holding_risks(portfolio)
        # In the order of `portfolio`; the snapshot has the names sorted.
        names = [name for name, shares in seen.holdings.items() if shares]
        order = [portfolio.place[name] for name in names]
        errors = {row: found.errors[place] for row, place in enumerate(order) if place in found.errors}
        rows = rows_text(names, _RISK_MEMBERS, "}", found.numbers[order], errors)
        fields: Fields = {"holdings": rows, "totals": positions.totals}
        if request.correlations:
            fields |= _matrix(portfolio, order)
        return _said("risk", seen, positions, fields)

    return Job(compute, heavy=False, receipt=lambda: _receipt(seen, positions))


def _matrix(portfolio: PortfolioInputs, order: list[int]) -> Fields:
    """The correlations, or why there are none: the rest of the answer does not need them.

    Raises:
        MetricError: ``too_many_holdings``.
    """
    if portfolio.history.n_obs < MIN_ROWS:
        return {"matrix": None, "errors": {"matrix": "insufficient_history"}}
    matrix = correlation_matrix(portfolio.history)
    return {"matrix": [[matrix[row][column] for column in order] for row in order]}


def _what_if(request: AskWhatIf, seen: Seen) -> Job:
    found = what_if(seen.cache, seen.holdings, seen.prices, request.trades, seen.targets)

    def compute() -> Fields:
        before, after = found.before, found.after
        fields: Fields = {
            "trades": request.trades,
            "before": found.totals_before,
            "after": found.totals_after,
            "change": found.change,
            "holdings": _sides(before, found.risks_before, after, found.risks_after),
            "cash": found.cash,
            "best_hedge": found.best_hedge,
        }
        if isinstance(found.best_hedge, str):
            fields |= {"best_hedge": None, "errors": {"best_hedge": found.best_hedge}}
        return _said("what_if", seen, before, fields)

    return Job(compute, heavy=False, receipt=lambda: _receipt(seen, found.before))


def _sides(
    before: Positions, risks_before: Floats | str, after: Positions, risks_after: Floats | str
) -> JsonText:
    """A row for each name, with both sides."""
    columns = (*_side(before, risks_before), *_side(after, risks_after))
    between = (
        ',"before":{"shares":',
        *_SIDE_MEMBERS,
        f'{_codes(risk=risks_before)}}},"after":{{"shares":',
        *_SIDE_MEMBERS,
    )
    return rows_text(before.tickers, between, f"{_codes(risk=risks_after)}}}}}", np.column_stack(columns))


def _side(positions: Positions, risks: Floats | str) -> tuple[Floats, ...]:
    return positions.shares, positions.values, positions.weights, _known(positions, risks)


def _codes(**numbers: Floats | str) -> str:
    """The member ``errors`` of a row, for the numbers that have a code instead; empty if none has."""
    codes = {name: found for name, found in numbers.items() if isinstance(found, str)}
    return f',"errors":{exact_json(codes)}' if codes else ""


def _known(positions: Positions, risks: Floats | str) -> Floats:
    """Shares of risk; all NaN if there are none."""
    return np.full(len(positions.tickers), np.nan) if isinstance(risks, str) else risks


def _plan(request: MakePlan, seen: Seen) -> Job:
    positions = positions_to_plan(seen.cache, seen.holdings, seen.prices, seen.targets, request.to)
    wish = Wish(request.to, request.cash, request.only_buy, request.whole_shares)

    def compute() -> Fields:
        made = plan(positions, wish)
        fields = {
            **wish._asdict(),
            "lines": _lines(made),
            "before": made.totals_before,
            "after": made.totals_after,
            "turnover": made.turnover,
            "cash_left": made.cash_left,
        }
        return _said("plan", seen, positions, fields)

    heavy = request.to == "budgets" and len(positions.tickers) > _MANY_NAMES
    return Job(compute, heavy=heavy, receipt=lambda: _receipt(seen, positions))


def _lines(made: Plan) -> JsonText:
    """A row for each traded name, the largest trade first; equal ones in order of their names."""
    before, after, values = made.before, made.after, made.trades * made.before.prices
    sizes = np.where(made.trades, np.abs(values), -1.0)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(made.trades)]
    columns = (
        made.trades,
        values,
        before.weights,
        after.weights,
        _known(before, made.risks_before),
        _known(after, made.risks_after),
    )
    tickers = [before.tickers[place] for place in order.tolist()]
    end = _codes(risk_before=made.risks_before, risk_after=made.risks_after) + "}"
    return rows_text(tickers, _LINE_MEMBERS, end, np.column_stack(columns)[order])


def _history(request: GetHistory, seen: Seen) -> Job:
    positions = seen.cache.positions(seen.holdings, seen.prices, targets=seen.targets)
    bars = seen.cache.bars
    _ = bars.column

    def compute() -> Fields:
        found = past_values(positions, bars, request.bars)
        days = (*found.dates, seen.as_of)
        drawdown = found.drawdown and {
            "depth": found.drawdown.depth,
            "peak": days[found.drawdown.peak],
            "trough": days[found.drawdown.trough],
        }
        fields = {
            "basis": "current_holdings",
            "bars": request.bars,
            "since": found.dates[0] if found.dates else None,
            "dates": found.dates,
            "values": numbers_text(found.values[:-1]),
            "value": float(found.values[-1]),
            "drawdown": drawdown,
        }
        if not found.dates:
            fields["errors"] = dict.fromkeys(("since", "drawdown"), "insufficient_history")
        return _said("history", seen, positions, fields)

    heavy = len(positions.tickers) * request.bars > _MANY_CLOSES
    return Job(compute, heavy=heavy, receipt=lambda: _receipt(seen, positions))


def _said(kind: str, seen: Seen, positions: Positions, fields: Fields) -> Fields:
    history = positions.history
    head: Fields = {
        "type": kind,
        "version": seen.version,
        "tick_id": seen.tick_id,
        "as_of": seen.as_of,
        "snapshot": positions.snapshot,
        "method": METHOD_VERSION,
    }
    if history.last_bar is not None:
        head["last_bar"] = history.last_bar
    if seen.stale:
        head["stale"] = True
    return head | fields


def _receipt(seen: Seen, positions: Positions) -> Receipt:
    prices = dict(zip(positions.tickers, positions.prices.tolist(), strict=True))
    return Receipt(
        holdings={name: shares for name, shares in seen.holdings.items() if shares},
        prices=prices,
        last_bar=positions.history.last_bar,
        cash=tuple(sorted(positions.history.cash)) or None,
        targets=seen.targets if seen.targets != NO_TARGETS else None,
    )
