"""From what a request saw to its answer: risk, what-if, plan and history, as the wire has them.

All of one answer comes from one snapshot, so whoever holds the snapshot gets the same answer again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from portfolio_trio.metrics import METHOD_VERSION
from portfolio_trio.metrics.past_values import past_values
from portfolio_trio.metrics.plan import Wish, plan, positions_to_plan
from portfolio_trio.metrics.positions import Positions
from portfolio_trio.metrics.risk import correlation_matrix, holding_risks
from portfolio_trio.metrics.what_if import what_if
from portfolio_trio.protocol.messages import Receipt
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from portfolio_trio.metrics import ReturnsCache
    from portfolio_trio.metrics.plan import Plan
    from portfolio_trio.metrics.portfolio import PortfolioInputs
    from portfolio_trio.targets import Targets

Question: TypeAlias = GetRisk | AskWhatIf | MakePlan | GetHistory
"""What is answered from a snapshot and changes nothing."""

# Of so many names the Newton steps of a plan, and so many closes of a history, take more than a millisecond.
_MANY_NAMES: Final = 64
_MANY_CLOSES: Final = 100_000

Fields: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer is computed from.

    Attributes:
        holdings: Signed shares by ticker.
        prices: Live prices of all that is held or named.
        targets: Where the owner wants to be.
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
    """An answer to be computed: the snapshot is taken, so any thread may do it.

    Attributes:
        compute: Gives the fields of the answer; raises `MetricError` where there is none.
        heavy: It takes more than about a millisecond.
        receipt: What it is computed from.
    """

    compute: Callable[[], Fields]
    heavy: bool
    receipt: Receipt


def named(request: Question, targets: Targets) -> Mapping[str, float]:
    """Names that the request is about whether or not they are held."""
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
    positions = Positions.take(seen.cache, seen.holdings, seen.prices, seen.targets)

    def compute() -> Fields:
        fields: Fields = {"holdings": holding_risks(portfolio), "totals": positions.totals()}
        if request.correlations:
            fields["matrix"] = correlation_matrix(portfolio.history)
        return _said("risk", seen, portfolio, fields)

    return Job(compute, heavy=False, receipt=_receipt(seen, positions))


def _what_if(request: AskWhatIf, seen: Seen) -> Job:
    found = what_if(seen.cache, seen.holdings, seen.prices, request.trades, seen.targets)

    def compute() -> Fields:
        old, new = _sides(found.before, found.risks_before), _sides(found.after, found.risks_after)
        holdings = [
            {"ticker": ticker, "before": before, "after": after}
            for ticker, before, after in zip(found.before.tickers, old, new, strict=True)
        ]
        fields = {
            "trades": request.trades,
            "before": found.totals_before,
            "after": found.totals_after,
            "change": found.change,
            "holdings": holdings,
            "cash": found.cash,
            "best_hedge": found.best_hedge,
        }
        return _said("what_if", seen, found.before, fields)

    return Job(compute, heavy=False, receipt=_receipt(seen, found.before))


def _sides(positions: Positions, risks: npt.NDArray[np.float64] | str) -> Iterator[Fields]:
    columns = (positions.shares.tolist(), positions.values.tolist(), positions.weights.tolist())
    shares = [None] * len(positions.tickers) if isinstance(risks, str) else risks.tolist()
    for count, value, weight, risk in zip(*columns, shares, strict=True):
        yield {"shares": count, "value": value, "weight": weight, "risk": risk}


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
    return Job(compute, heavy=heavy, receipt=_receipt(seen, positions))


def _lines(made: Plan) -> list[Fields]:
    sides = zip(_sides(made.before, made.risks_before), _sides(made.after, made.risks_after), strict=True)
    trades = zip(made.before.tickers, made.trades.tolist(), made.before.prices.tolist(), sides, strict=True)
    lines = [
        {
            "ticker": ticker,
            "shares": shares,
            "value": shares * price,
            "weight_before": before["weight"],
            "weight_after": after["weight"],
            "risk_before": before["risk"],
            "risk_after": after["risk"],
        }
        for ticker, shares, price, (before, after) in trades
        if shares
    ]
    return sorted(lines, key=lambda line: -abs(line["value"]))


def _history(request: GetHistory, seen: Seen) -> Job:
    positions = Positions.take(seen.cache, seen.holdings, seen.prices, seen.targets)
    bars = seen.cache.bars
    _ = bars.column

    def compute() -> Fields:
        found = past_values(positions, bars, request.bars)
        *values, live = found.values.tolist()
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
            "values": values,
            "value": live,
            "drawdown": drawdown,
        }
        if not found.dates:
            fields["errors"] = dict.fromkeys(("since", "drawdown"), "insufficient_history")
        return _said("history", seen, positions, fields)

    heavy = len(positions.tickers) * request.bars > _MANY_CLOSES
    return Job(compute, heavy=heavy, receipt=_receipt(seen, positions))


def _said(kind: str, seen: Seen, positions: Positions | PortfolioInputs, fields: Fields) -> Fields:
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
