"""``portfolio-trio replay``: compute recorded results again from their receipts."""

from __future__ import annotations

import json
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from portfolio_trio.cli._output import say
from portfolio_trio.cli.replay_decisions import differences, read_decision
from portfolio_trio.market import PriceBook, open_price_source
from portfolio_trio.metrics import AnalysisError, Receipt, installed_metrics, recompute
from portfolio_trio.protocol import messages  # noqa: TC001 - pydantic reads the annotation
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from portfolio_trio.metrics import Bars, Comparison, Replay
    from portfolio_trio.protocol.decisions import Decision

    _Answer = tuple[dict[str, Any], Decision]


MOST_DIFFERENCES: Final = 10
"""How many differences of one answer are listed."""


class ReplayError(Exception):
    """The file has nothing that could be recomputed; the message says what is missing."""


class _Outcome(BaseModel):
    """The fields of a result, or of an error in its place, that a replay needs."""

    ticker: str
    metric: str
    run_id: int
    value: float | None = None
    code: str | None = None
    snapshot: str = ""
    method: str = ""
    tick_id: int = 0
    as_of: str = ""
    receipt: messages.Receipt | None = None


def read_file(path: Path) -> tuple[list[Receipt], list[_Answer]]:
    """The runs and the answers about whole portfolios in a file of messages.

    The file has one message, a list, a ``results`` answer, or one message per line.

    Raises:
        ReplayError: The file cannot be read, or no result in it has a receipt.
    """
    try:
        found = list(_messages(path.read_text(encoding="utf-8")))
        outcomes = [_Outcome.model_validate(each) for each in found if "metric" in each and "run_id" in each]
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ReplayError(f"{path} contains an invalid result: {place}: {first['msg']}") from None
    receipts = [receipt for run in _runs(outcomes) if (receipt := _receipt(run)) is not None]
    try:
        decisions = [(each, decision) for each in found if (decision := read_decision(each)) is not None]
    except ValueError as error:
        raise ReplayError(f"{path} contains an invalid answer: {error}") from None
    if not receipts and not decisions:
        raise ReplayError(
            f"{path} contains no result with a receipt: request it with "
            '{"action":"analyze","ticker":"AAPL","receipt":true}'
        )
    return receipts, decisions


def _messages(text: str) -> Iterator[dict[str, Any]]:
    """Everything in the text that may be a message or a recorded result."""
    try:
        documents = [json.loads(text)]
    except json.JSONDecodeError:
        try:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise ReplayError(f"neither JSON nor one JSON message per line: {error}") from None
    while documents:
        document = documents.pop(0)
        if isinstance(document, list):
            documents[:0] = document
        elif isinstance(document, dict) and isinstance(document.get("results"), list):
            documents[:0] = document["results"]
        elif isinstance(document, dict):
            yield document


def _runs(outcomes: Sequence[_Outcome]) -> Iterable[list[_Outcome]]:
    """The outcomes by run. Each session counts its runs from 1, and a file may contain several sessions.

    An error does not identify its snapshot. One that may belong to either of two runs is left out.
    """
    runs: dict[tuple[int, str, str, int], list[_Outcome]] = {}
    for outcome in outcomes:
        if outcome.snapshot:
            run = (outcome.run_id, outcome.ticker, outcome.snapshot, outcome.tick_id)
            runs.setdefault(run, []).append(outcome)
    for failure in outcomes:
        if not failure.snapshot:
            theirs = [run for key, run in runs.items() if key[:2] == (failure.run_id, failure.ticker)]
            if len(theirs) == 1:
                theirs[0].append(failure)
    return runs.values()


def _receipt(run: list[_Outcome]) -> Receipt | None:
    """One run; None if no result of it has the receipt."""
    said = next((outcome for outcome in run if outcome.receipt is not None), None)
    if said is None or said.receipt is None:
        return None
    return Receipt(
        ticker=said.ticker,
        holdings=said.receipt.holdings,
        prices=said.receipt.prices,
        last_bar=said.receipt.last_bar,
        cash=said.receipt.cash or (),
        targets=said.receipt.targets or NO_TARGETS,
        snapshot=said.snapshot,
        method=said.method,
        tick_id=said.tick_id,
        as_of=said.as_of,
        results={
            outcome.metric: outcome.value if outcome.value is not None else outcome.code or "unknown"
            for outcome in run
        },
    )


class Comparing(IntEnum):
    """The result of a replay, as its exit status; the worst of several runs counts."""

    EQUAL = 0
    RESCALED = 3
    """Every number is equal, but the snapshot is not: the closes differ but have the same returns."""
    DIFFERENT = 1

    def and_then(self, other: Comparing) -> Comparing:
        """The worse of two."""
        return max(self, other, key=list(Comparing).index)


async def replay(path: Path, prices: str, say: Callable[[str], None] = say) -> Comparing:
    """Recompute every run of a file and report the comparison.

    Args:
        path: A file of messages, as a client received them.
        prices: The source of the closed bars, as in ``--prices`` of ``serve``.
        say: Receives the report, line by line.

    Raises:
        ReplayError: The file has no receipt, or a receipt that allows no analysis.
        MarketError: The prices cannot be read.
    """
    receipts, decisions = read_file(path)
    book = PriceBook(open_price_source(prices), now=time.time)
    await book.open()
    found = Comparing.EQUAL
    for receipt in receipts:
        # Names that a source creates on demand must be requested from it.
        book.prices_for(name for name in receipt.holdings if name not in receipt.cash)
        found = found.and_then(_compare(receipt, book.bars, say))
    for document, decision in decisions:
        if decision.receipt is not None:
            book.prices_for(
                name for name in decision.receipt.prices if name not in (decision.receipt.cash or ())
            )
        found = found.and_then(_compare_decision(document, decision, book.bars, say))
    return found


def _compare_decision(
    document: dict[str, Any], decision: Decision, bars: Bars, say: Callable[[str], None]
) -> Comparing:
    kind = document["type"]
    try:
        different = differences(decision, document, bars)
    except AnalysisError as error:
        raise ReplayError(f"{kind}: {error.reason}") from error
    say(f"{kind} as of {decision.as_of}, version {decision.version}")
    for each in different[:MOST_DIFFERENCES]:
        say(f"  {each}")
    if len(different) > MOST_DIFFERENCES:
        say(f"  and {len(different) - MOST_DIFFERENCES} more")
    found = Comparing.EQUAL
    if different:
        # Different closes with the same returns have another hash, and other past values.
        found = Comparing.RESCALED if [*map(_place, different)] == ["snapshot"] else Comparing.DIFFERENT
    say(f"  {_SAID[found]}")
    return found


def _place(difference: str) -> str:
    return difference.partition(":")[0]


def _compare(receipt: Receipt, bars: Bars, say: Callable[[str], None]) -> Comparing:
    try:
        outcome = recompute(receipt, bars, installed_metrics())
    except AnalysisError as error:
        raise ReplayError(f"{receipt.ticker}: {error.reason}") from error
    say(f"{receipt.ticker} as of {receipt.as_of}, {len(receipt.holdings)} holdings")
    if not outcome.snapshot_equal:
        say(f"  snapshot differs: recorded {receipt.snapshot[:16]}..., recomputed {outcome.snapshot[:16]}...")
    if not outcome.method_equal:
        say(f"  method differs: recorded {receipt.method}, this is {outcome.method}")
    for comparison in outcome.comparisons:
        say(f"  {comparison.metric:17} {_verdict(comparison)}")
    found = _found(outcome)
    say(f"  {_SAID[found]}")
    return found


def _found(outcome: Replay) -> Comparing:
    if outcome.equal:
        return Comparing.EQUAL
    same_numbers = outcome.method_equal and all(each.equal for each in outcome.comparisons)
    return Comparing.RESCALED if same_numbers else Comparing.DIFFERENT


_SAID: Final = {
    Comparing.EQUAL: "equal",
    Comparing.RESCALED: "RESCALED: every number is equal, but the closes are not those of the run; adjusting "
    "them since for a split or a dividend does that",
    Comparing.DIFFERENT: "DIFFERENT",
}


def _verdict(comparison: Comparison) -> str:
    if comparison.equal:
        return f"{comparison.recorded}  equal"
    if comparison.recomputed is None:
        return f"{comparison.recorded}  cannot be recomputed: no such metric is installed"
    return f"{comparison.recorded}  recomputed {comparison.recomputed}"
