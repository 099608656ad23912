"""What the sockets of a session are sent about one run: its start, its outcomes, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    Error,
    MetricFailure,
    Running,
)
from portfolio_trio.session.waiting import TOLD
from portfolio_trio.store import SessionMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import SessionEvent
    from portfolio_trio.hub.run_state import EndReason, Run
    from portfolio_trio.metrics import AnalysisError
    from portfolio_trio.session.snapshot import Outcome, Snapshot
    from portfolio_trio.session.socket_state import Socket
    from portfolio_trio.store import RunStart, StoreError

_GIVEN_UP: Final = "the run was given up as that of a lost worker; ask again"


class RunMessages:
    """Sends the messages of one run: events to every socket that gets them, else answers to its requester.

    Args:
        socket: The requester.
        run: The run.
        incarnation: Of the document that it belongs to.
        read_at: When its request was read, by Trio's clock; None if it started by itself.
    """

    __slots__ = ("_group", "_incarnation", "_read_at", "_run", "_services", "_writer")

    def __init__(self, socket: Socket, run: Run, incarnation: str, read_at: float | None) -> None:
        self._services = socket.services
        self._group = socket.group
        self._writer = socket.writer
        self._run = run
        self._incarnation = incarnation
        # Until its first result is queued.
        self._read_at = read_at

    def start(self, snapshot: Snapshot, start: RunStart) -> None:
        """It has its snapshot."""
        running = Running(
            ticker=self._run.ticker,
            started_at=start.started_at,
            run_id=snapshot.run_id,
            version=snapshot.head.version,
            tick_id=start.tick_id,
        )
        self._announce(snapshot.announcement(tuple(self._services.metrics)), running=running)

    def outcomes(self, batch: Sequence[Outcome]) -> None:
        """Queue outcomes for clients that see events, as long as its end is not decided."""
        for outcome in batch:
            if self._run.may_send:
                self._announce(outcome, run=self._run)

    def answers(self, batch: Sequence[Outcome]) -> None:
        """Queue outcomes for a requester that sees no events; count them for any."""
        run, telemetry = self._run, self._services.telemetry
        if not run.may_send:
            telemetry.results_dropped(len(batch), run.reason or "elsewhere")
            return
        if not self._writer.receives_events:
            self._writer.answer(*[outcome.echo(run.request_id) for outcome in batch], run=run)
        for outcome in batch:
            if isinstance(outcome, MetricFailure):
                telemetry.metric_failed(outcome.metric, outcome.code)
        if self._read_at is not None:
            telemetry.first_result(trio.current_time() - self._read_at)
            self._read_at = None

    def completed(self, run_id: int, results: int, errors: int, *, following: bool) -> None:
        """All its metrics have an outcome."""
        completed = AnalysisCompleted(
            ticker=self._run.ticker,
            run_id=run_id,
            results=results,
            errors=errors,
            following=True if following else None,
        )
        self._announce(completed)

    def cancelled(
        self, reason: EndReason, decided_at: float, canceller: Canceller | None
    ) -> AnalysisCancelled:
        """It was cancelled, and its tasks have ended; return the event."""
        told = AnalysisCancelled(
            ticker=self._run.ticker,
            run_id=self._run.run_id,
            reason=reason,
            cancelled_in_us=round((trio.current_time() - decided_at) * 1e6),
        )
        by_itself = canceller is not None and canceller.subscriber is self._writer
        if reason in TOLD and not by_itself and not self._writer.receives_events:
            self._error(*TOLD[reason])
        # A canceller is answered only with the end that it caused: an end decided before is an event for it
        # as well.
        self._announce(told, canceller=canceller)
        return told

    def failed(self, failure: AnalysisError | StoreError) -> AnalysisFailed:
        """It cannot go on; return the event."""
        run = self._run
        error = self._services.explain(failure, request_id=run.request_id, ticker=run.ticker)
        failed = AnalysisFailed(
            ticker=run.ticker,
            run_id=run.run_id,
            code=error.code,
            detail=error.detail,
            retryable=error.retryable,
        )
        if isinstance(failure, SessionMissing) and run.run_id is None:
            # Each socket is told once that the session has expired; the others are told when it is created
            # again.
            self._writer.enqueue(failed.echo(run.request_id).to_json())
        else:
            self._announce(failed)
        if not self._writer.receives_events:
            self._writer.answer(error, run=run)
        return failed

    def given_up(self) -> None:
        """Another worker took this one for lost, and ended its run in the document."""
        if not self._writer.receives_events:
            self._error(ErrorCode.UNAVAILABLE, _GIVEN_UP)

    def unstable(self, restarts: int) -> None:
        """The portfolio has changed too often: it is not started again."""
        ticker = self._run.ticker
        detail = (
            f"the portfolio changed {restarts} times during the analysis of {ticker}; "
            "ask again when it is stable"
        )
        self._writer.answer(
            Error.of(ErrorCode.PORTFOLIO_CHANGED, detail, id=self._run.request_id, ticker=ticker)
        )

    def _error(self, code: ErrorCode, detail: str) -> None:
        run = self._run
        self._writer.answer(Error.of(code, detail, id=run.request_id, ticker=run.ticker, run_id=run.run_id))

    def _announce(
        self,
        event: SessionEvent,
        *,
        run: Run | None = None,
        running: Running | None = None,
        canceller: Canceller | None = None,
    ) -> None:
        """Show an event of the run to every socket of the session, and to the canceller as its answer."""
        self._group.publish(
            event,
            requester=self._writer,
            request_id=self._run.request_id,
            run=run,
            running=running,
            canceller=canceller,
            incarnation=self._incarnation,
        )
