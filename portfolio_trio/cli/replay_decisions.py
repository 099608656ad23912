"""Recorded answers about a whole portfolio, recomputed from their receipts."""

from __future__ import annotations

import json
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydantic import ValidationError

from portfolio_trio.metrics import METHOD_VERSION, MetricError, ReturnsCache
from portfolio_trio.protocol.decisions import Decision, History, Plan, Risk, WhatIf
from portfolio_trio.protocol.events import ProtocolError, parse_message
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.session.decisions import Seen, prepare
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portfolio_trio.metrics import Bars
    from portfolio_trio.session.decisions import Question

_Path: TypeAlias = "tuple[str | int, ...]"

KINDS: Final = frozenset({"risk", "what_if", "plan", "history"})
RELATIVE_TOLERANCE: Final = 1e-9
"""Machines sum in different orders: numbers within this tolerance count as equal."""
ROUNDING: Final = 1e-12
"""The tolerance of a difference, relative to its largest term."""

# The request, the inputs and their freshness are not results.
_NOT_COMPUTED: Final = frozenset({"id", "receipt", "stale", "method"})


def read_decision(document: dict[str, Any]) -> Decision | None:
    """An answer with its receipt; None if it has none.

    Raises:
        ValueError: It does not fit its type.
    """
    if document.get("type") not in KINDS or "receipt" not in document:
        return None
    try:
        message = parse_message(json.dumps(document))
    except ProtocolError as error:
        raise ValueError(str(error)) from None
    return message if isinstance(message, Decision) else None


def differences(answer: Decision, document: dict[str, Any], bars: Bars) -> list[str]:
    """Where the recomputed answer differs; empty if everything is equal.

    Args:
        answer: The recorded answer, with its receipt.
        document: The same, in its wire form.
        bars: Closed bars; those newer than the receipt's are left out.

    Raises:
        AnalysisError: Its receipt allows no answer.
    """
    receipt = answer.receipt
    if receipt is None:
        raise ValueError("the answer has no receipt")
    known = bars if receipt.last_bar is None else bars.until(receipt.last_bar)
    seen = Seen(
        holdings=receipt.holdings,
        prices=receipt.prices,
        targets=receipt.targets or NO_TARGETS,
        cache=ReturnsCache(known, cash=receipt.cash or ()),
        version=answer.version,
        tick_id=answer.tick_id,
        as_of=answer.as_of,
    )
    if answer.method != METHOD_VERSION:
        return [f"method: recorded {answer.method}, this is {METHOD_VERSION}"]
    try:
        computed = json.loads(exact_json(prepare(_request(answer), seen).compute()))
    except (MetricError, ValidationError) as error:
        return [f"cannot be computed: {error}"]
    recorded = {name: each for name, each in document.items() if name not in _NOT_COMPUTED}
    computed = {name: each for name, each in computed.items() if name not in _NOT_COMPUTED}
    return list(_compare((), recorded, computed, _tolerances(answer, document)))


def _request(answer: Decision) -> Question:
    """The request, as far as the answer contains it."""
    match answer:
        case WhatIf():
            return AskWhatIf(action="what_if", trades=answer.trades)
        case Plan():
            return MakePlan(
                action="plan",
                to=answer.to,
                cash=answer.cash,
                only_buy=answer.only_buy,
                whole_shares=answer.whole_shares,
            )
        case History():
            return GetHistory(action="get_history", bars=answer.bars)
        case Risk():
            correlations = answer.matrix is not None or "matrix" in answer.errors
            return GetRisk(action="get_risk", correlations=correlations)
        case _:
            raise ValueError(f"{type(answer).__name__} is not an answer that could be recomputed")


def _tolerances(answer: Decision, document: dict[str, Any]) -> Callable[[_Path, float], float]:
    """By how much a number may differ because machines sum in different orders.

    A difference of large numbers has their rounding errors, however small it is itself.

    Returns:
        The absolute tolerance of a number, given where it is and its size.
    """
    prices = {} if answer.receipt is None else answer.receipt.prices
    held = {} if answer.receipt is None else answer.receipt.holdings
    traded = {
        **document.get("trades", {}),
        **{row["ticker"]: row["shares"] for row in document.get("lines", ())},
    }
    sizes = [
        abs(shares) * prices[name]
        for each in (held, traded)
        for name, shares in each.items()
        if name in prices
    ]
    whole = sum(sizes) + abs(document.get("cash", 0.0))

    def tolerance(path: _Path, size: float) -> float:
        terms = 1.0
        match path:
            case ("change", ("volatility" | "effective_holdings") as name):
                terms = max(abs(document[side][name] or 0.0) for side in ("before", "after"))
            case ("lines", str(ticker), "shares"):
                terms = whole / prices.get(ticker, inf)
            case ("best_hedge", "shares"):
                terms = whole / prices.get(document["best_hedge"]["ticker"], inf)
            case ("holdings", _, "risk" | "score") | ("holdings", _, _, "risk"):
                pass
            case (*_, "value" | "risk" | "cash" | "cash_left" | "gross") | ("values", _):
                terms = whole
        return max(RELATIVE_TOLERANCE * size, ROUNDING * max(terms, 1.0))

    return tolerance


def _compare(
    path: _Path, recorded: object, computed: object, tolerance: Callable[[_Path, float], float]
) -> Iterator[str]:
    match recorded, computed:
        case dict(), dict():
            for name in {**recorded, **computed}:
                yield from _compare((*path, name), recorded.get(name), computed.get(name), tolerance)
        case list(), list() if len(recorded) == len(computed):
            for name, one, other in _pairs(path, recorded, computed):
                yield from _compare((*path, name), one, other, tolerance)
        case ((int() | float()), (int() | float())):
            if not abs(recorded - computed) <= tolerance(path, max(abs(recorded), abs(computed))):
                yield f"{_place(path)}: recorded {recorded}, recomputed {computed}"
        case _:
            if recorded != computed:
                yield f"{_place(path)}: recorded {recorded}, recomputed {computed}"


def _pairs(
    path: _Path, recorded: list[Any], computed: list[Any]
) -> Iterator[tuple[str | int, object, object]]:
    """What is to be compared, with its name: a plan's lines by ticker, as equal trades come in any order."""
    rows, others = _by_ticker(recorded), _by_ticker(computed)
    if path == ("lines",) and rows.keys() == others.keys():
        for name, row in rows.items():
            yield name, row, others[name]
    else:
        for index, (one, other) in enumerate(zip(recorded, computed, strict=True)):
            yield index, one, other


def _by_ticker(rows: list[Any]) -> dict[str, object]:
    """The rows by their tickers; empty if some have none, or the same."""
    found: dict[str, object] = {
        row["ticker"]: row for row in rows if isinstance(row, dict) and "ticker" in row
    }
    return found if len(found) == len(rows) else {}


def _place(path: _Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
