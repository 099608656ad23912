"""How a run ended: converting between the message for subscribers and the record in the document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.protocol.codes import ERRORS, ErrorCode
from portfolio_trio.protocol.messages import AnalysisCancelled, AnalysisCompleted, AnalysisFailed
from portfolio_trio.store import Ending

if TYPE_CHECKING:
    from portfolio_trio.hub.run_state import EndReason


def cancelled(run_id: int, reason: EndReason) -> Ending:
    """The record of a run that was cancelled."""
    return Ending(run_id, "cancelled", reason.value)


def ending_of(run_id: int, told: AnalysisCancelled | AnalysisFailed) -> Ending:
    """The record of an end that was reported."""
    if isinstance(told, AnalysisFailed):
        return Ending(run_id, "failed", told.code)
    return Ending(run_id, "cancelled", told.reason)


def message_of(ending: Ending, ticker: str) -> AnalysisCompleted | AnalysisCancelled | AnalysisFailed:
    """The message for subscribers, as the worker that ran it would send it; its duration is not known."""
    run_id = ending.run_id
    if ending.outcome == "completed":
        return AnalysisCompleted(ticker=ticker, run_id=run_id, results=ending.results, errors=ending.errors)
    if ending.outcome == "cancelled":
        return AnalysisCancelled(ticker=ticker, run_id=run_id, reason=ending.reason)
    code = ErrorCode(ending.reason) if ending.reason in {code.value for code in ErrorCode} else None
    meaning = ERRORS[code or ErrorCode.INTERNAL]
    return AnalysisFailed(
        ticker=ticker,
        run_id=run_id,
        code=ending.reason,
        detail=meaning.meaning,
        retryable=meaning.retryable,
    )
