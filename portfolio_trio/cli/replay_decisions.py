"""Recorded answers about a whole portfolio, recomputed from their receipts."""

from __future__ import annotations

import json
from math import isclose
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from portfolio_trio.metrics import METHOD_VERSION, MetricError, ReturnsCache
from portfolio_trio.protocol.decisions import Decision, History, Plan, Risk, WhatIf
from portfolio_trio.protocol.events import ProtocolError, parse_message
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.session.decisions import Seen, prepare
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portfolio_trio.metrics import Bars
    from portfolio_trio.session.decisions import Question

KINDS: Final = frozenset({"risk", "what_if", "plan", "history"})
RELATIVE_TOLERANCE: Final = 1e-9
"""Machines sum in different orders: numbers within this tolerance count as equal."""

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
    return list(_compare("", recorded, computed))


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


def _compare(place: str, recorded: object, computed: object) -> Iterator[str]:
    match recorded, computed:
        case dict(), dict():
            for name in {**recorded, **computed}:
                yield from _compare(f"{place}.{name}".lstrip("."), recorded.get(name), computed.get(name))
        case list(), list() if len(recorded) == len(computed):
            for index, (one, other) in enumerate(zip(recorded, computed, strict=True)):
                yield from _compare(f"{place}[{index}]", one, other)
        case ((int() | float()), (int() | float())):
            if not isclose(recorded, computed, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12):
                yield f"{place}: recorded {recorded}, recomputed {computed}"
        case _:
            if recorded != computed:
                yield f"{place}: recorded {recorded}, recomputed {computed}"
