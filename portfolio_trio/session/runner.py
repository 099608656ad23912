"""The running side of one connection: starts, switches, restarts and ends its one analysis.

The task of an analysis lives in the connection's nursery. Its cancel scope belongs to the runner, and
whoever cancels it waits for ``ended``: when that is set, no task of the run is left, none of its messages
waits, and its last event has been queued.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.hub.endings import cancelled, ending_of
from portfolio_trio.hub.hub import SessionSubscriber
from portfolio_trio.hub.run_state import EndReason, Run, RunState, Slot
from portfolio_trio.metrics import AnalysisError
from portfolio_trio.peers.orphans import Orphan
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    Error,
    Running,
)
from portfolio_trio.session.analysis import Analysis
from portfolio_trio.store import (
    FellBack,
    PortfolioChanged,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.hub import SessionEvent, SessionGroup
    from portfolio_trio.metrics import AnalysisInputs
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.analysis import Outcome
    from portfolio_trio.session.services import Services
    from portfolio_trio.store import Ending, Known, RunStart

# How often a portfolio may change under one request before the request is given up.
MAX_RESTARTS: Final = 20

# What the store's fence says about a run, as the reason for its end.
_FENCES: Final[tuple[tuple[type[StoreError], EndReason], ...]] = (
    (PortfolioChanged, EndReason.PORTFOLIO_CHANGED),
    (FellBack, EndReason.PORTFOLIO_CHANGED),
    (RunSuperseded, EndReason.SUPERSEDED),
    (RunNotCurrent, EndReason.SUPERSEDED),
)


# Ends that a client without the subprotocol did not bring about itself, and would wait for in vain.
_TOLD: Final[Mapping[EndReason, tuple[ErrorCode, str]]] = {
    EndReason.SUPERSEDED: (ErrorCode.SUPERSEDED, "a newer analysis of this session took its place"),
    EndReason.DRAINING: (ErrorCode.DRAINING, "the server is going away; connect again and ask anew"),
}


_GIVEN_UP: Final = (ErrorCode.UNAVAILABLE, "the run was given up as that of a lost worker; ask again")


class Requester(SessionSubscriber, Protocol):
    """The socket that asked for the runs."""

    async def flushed(self, run: Run) -> None:
        """Wait until all of the run that was queued here has left."""

    def together(self) -> AbstractContextManager[None]:
        """What the block queues here leaves in one send."""

    def expire(self) -> None:
        """The client has been told that its session has expired."""


class _Task:
    """One request's task: the scope that ends it, and the event that says it has ended."""

    __slots__ = ("attempt", "canceller", "ended", "incarnation", "last", "reason", "run_ids", "scope")

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.scope = trio.CancelScope()
        self.attempt = trio.CancelScope()
        self.ended = trio.Event()
        self.reason = EndReason.DISCONNECTED
        self.last: AnalysisCancelled | None = None
        self.canceller: Canceller | None = None
        # Of all its attempts: there are few.
        self.run_ids: list[int] = []


class _RunSink:
    """Sends what one run has to say to the asking socket and to the session's other subscribers."""

    def __init__(self, runner: Runner, group: SessionGroup, run: Run, incarnation: str) -> None:
        self._incarnation = incarnation
        self._runner = runner
        self._group = group
        self._run = run
        self._running: Running | None = None

    @property
    def known(self) -> Known:
        return self._group.known

    def claimed(self, start: RunStart) -> None:
        self._run.run_id = start.run_id
        self._runner.add_run_id(start.run_id)
        before = self._group.told_of(start.replaced)
        if before is None:
            self._group.set_peers(start.others)
        else:
            # It stood there until now: who is new has read of it, and may have missed its end.
            self._group.set_peers_late(start.others, before)
        self._running = Running(
            ticker=self._run.ticker,
            started_at=start.started_at,
            run_id=start.run_id,
            version=start.version,
            tick_id=start.tick_id,
        )
        self._group.claim(self._running, start.replaced, self._incarnation)

    def recorded(self, others: tuple[str, ...]) -> None:
        self._group.set_peers(others)

    def started(self, message: AnalysisStarted) -> None:
        self._runner.slot.snapshot(self._run, message.run_id)
        self._runner.announce(message, self._run, self._running)

    def deliver(self, batch: Sequence[Outcome]) -> None:
        with self._runner.requester.together():
            for outcome in batch:
                self._runner.deliver(outcome, self._run)

    async def delivered(self) -> None:
        await self._runner.requester.flushed(self._run)


class Runner:
    """At most one analysis at a time, for one socket.

    Args:
        services: The layers below.
        group: The session and its sockets.
        requester: The socket this runner belongs to.
        nursery: The connection's nursery; it ends the analysis with the connection.
    """

    def __init__(
        self, services: Services, group: SessionGroup, requester: Requester, nursery: trio.Nursery
    ) -> None:
        self._services = services
        self._group = group
        self.requester = requester
        self._nursery = nursery
        self.slot = Slot()
        self._task: _Task | None = None
        self._analysis: Analysis | None = None
        self._cancelled_at = 0.0
        # Cancelled ones of which the writer may be in the middle of a frame.
        self._leaving: list[Run] = []
        self._told: AnalysisCancelled | AnalysisFailed | None = None
        self._idle = trio.Event()
        self._idle.set()

    def start(self, request: Analyze, incarnation: str) -> None:
        """Start an analysis in the connection's nursery; the one before must have ended.

        Args:
            request: What to analyse.
            incarnation: The document that the client speaks of.
        """
        self._task = _Task(incarnation)
        self._idle = trio.Event()
        # Begun here and not in the task, which can be cancelled before it has taken a step.
        run = self.slot.begin(request.ticker, request.id)
        self._nursery.start_soon(self._carry_out, request, run, self._task)

    async def stop(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """Cancel the analysis and wait until its task has ended; return its last event, if it was open.

        All subscribers see that event, whatever becomes of the caller, and the canceller as its answer.
        """
        task = self._task
        if task is None:
            return None
        if self.decide(reason):
            task.canceller = canceller
        task.reason = reason
        task.scope.cancel()
        if reason is EndReason.SUPERSEDED:
            # The socket that takes over may be gone before its own run replaces this one in the document.
            self._nursery.start_soon(self._clear_after, task)
        await task.ended.wait()
        return task.last

    def restart(self) -> None:
        """End the run as ``portfolio_changed``; its task starts it again."""
        if self._task is not None and self.decide(EndReason.PORTFOLIO_CHANGED):
            self._task.attempt.cancel()

    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        """End the analysis, if its number is below this one, and wait until its task has ended.

        With ``standing``, the run whose place the newer one took, another has ended in the document before:
        its last results are on their way.
        """
        run = self.slot.current
        if run is None or run.run_id is None or run.run_id >= run_id:
            return
        if standing is None or standing == run.run_id:
            await self.stop(EndReason.SUPERSEDED)

    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        """End the analysis, if this is its number or was before it was started again, as `stop` does."""
        if self._task is None or run_id not in self._task.run_ids:
            return None
        return await self.stop(EndReason.CANCELLED)

    def add_run_id(self, run_id: int) -> None:
        """The store has given the analysis a number."""
        if self._task is not None:
            self._task.run_ids.append(run_id)

    def renew(self, version: int, standing: int | None = None) -> None:
        """Start the run again if it works on an older version; ``standing`` as for `supersede`."""
        analysis, run = self._analysis, self.slot.current
        # One without its number finds out when it gets it.
        if run is None or analysis is None or analysis.version is None or analysis.version >= version:
            return
        if standing is None or standing == run.run_id:
            self.restart()

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start the run again if prices have moved its portfolio further than the tolerance."""
        analysis = self._analysis
        if self.slot.current is None or analysis is None or analysis.inputs is None:
            return
        if _drift(analysis.inputs, prices) > self._services.settings.freshness_tolerance:
            self.restart()

    def decide(self, reason: EndReason) -> bool:
        """Decide the end of the current run: from here on nothing of it is queued or taken for sending."""
        run = self.slot.cancel(reason)
        if run is not None:
            self._cancelled_at = trio.current_time()
            self._group.drop(run)
        return run is not None

    async def idle(self) -> None:
        """Wait until no analysis runs."""
        await self._idle.wait()

    async def clear(self) -> None:
        """Say in the document that the last run is over, if it may still stand there as current.

        Raises:
            StoreError: The store refused or could not be reached.
        """
        analysis, run = self._analysis, self.slot.current
        if analysis is not None and analysis.run_id is not None:
            if run is not None and run.may_send and run.run_id == analysis.run_id:
                # Started again meanwhile.
                return
            run_id, ending = analysis.run_id, self._ending(analysis.run_id)
            try:
                end = await self._services.store.finish_analysis(
                    self._group.session_id,
                    run_id=run_id,
                    token=analysis.token,
                    incarnation=analysis.incarnation,
                    ending=ending,
                    own=True,
                )
            except SessionMissing:
                raise
            except (StoreError, trio.Cancelled):
                # What has been told is to stand there soon, whether this socket asks again or not.
                orphan = Orphan(self._group.session_id, analysis.incarnation, run_id, ending=ending)
                self._services.peer_subscriber.adopt(orphan)
                raise
            if analysis.run_id == run_id:
                analysis.run_id = None
            # How the run ended was told before; who came meanwhile has seen it stand there.
            self._group.set_peers_late(end.others, self._told_of(run_id))

    def _told_of(self, run_id: int) -> AnalysisCancelled | AnalysisFailed | None:
        """What was told of the end of a run, if it was the last one."""
        return self._told if self._told is not None and self._told.run_id == run_id else None

    def _ending(self, run_id: int) -> Ending:
        """How a run of this socket ended, as was told or is about to be."""
        told, run = self._told, self.slot.current
        if told is not None and told.run_id == run_id:
            return ending_of(run_id, told)
        reason = run.reason if run is not None and run.run_id == run_id else None
        return cancelled(run_id, reason or EndReason.DISCONNECTED)

    def abandon(self) -> None:
        """Leave the last run to the peer subscriber, if it may still stand in the document."""
        analysis = self._analysis
        if analysis is not None and analysis.run_id is not None:
            ending = self._ending(analysis.run_id)
            orphan = Orphan(self._group.session_id, analysis.incarnation, analysis.run_id, ending=ending)
            analysis.run_id = None
            self._services.peer_subscriber.adopt(orphan)

    async def _clear_after(self, task: _Task) -> None:
        await task.ended.wait()
        try:
            await self.clear()
        except StoreError:
            # Tried once more when the connection ends.
            return

    def announce(
        self,
        message: SessionEvent,
        run: Run,
        running: Running | None = None,
        *,
        canceller: Canceller | None = None,
    ) -> None:
        """Let every subscriber see the start or the end of a run, and who cancelled it as its answer."""
        task = self._task
        self._group.publish(
            message,
            requester=self.requester,
            request_id=run.request_id,
            running=running,
            canceller=canceller,
            incarnation="" if task is None else task.incarnation,
        )

    def deliver(self, outcome: Outcome, run: Run) -> None:
        """Queue one outcome for the asking socket and every subscriber, unless the run's end is decided."""
        if not run.may_send:
            return
        incarnation = "" if self._task is None else self._task.incarnation
        self._group.publish(
            outcome, requester=self.requester, request_id=run.request_id, run=run, incarnation=incarnation
        )
        if not self.requester.receives_events:
            self.requester.answer(outcome.echo(run.request_id), run)

    async def _carry_out(self, request: Analyze, run: Run, task: _Task) -> None:
        owed = True
        try:
            with task.scope:
                for _ in range(MAX_RESTARTS):
                    await self._attempt(request, run, task)
                    if run.reason is not EndReason.PORTFOLIO_CHANGED or task.scope.cancel_called:
                        return
                    task.attempt = trio.CancelScope()
                    run = self.slot.begin(request.ticker, request.id)
                await self._attempt(request, run, task)
                if run.reason is EndReason.PORTFOLIO_CHANGED:
                    owed = False
                    self._give_up(request)
        finally:
            try:
                if owed and run.reason is EndReason.PORTFOLIO_CHANGED:
                    # Cancelled while it was to be started again: say that it is not.
                    run = self.slot.begin(request.ticker, request.id)
                    self.decide(task.reason)
                    task.last = self._finish(run)
            finally:
                # Whatever failed here, other sockets wait for this, and hold the start lock meanwhile.
                self._task = None
                self._idle.set()
                task.ended.set()

    async def _attempt(self, request: Analyze, run: Run, task: _Task) -> None:
        """One run, from its first step to its end; first the last frames of those before must be out."""
        known = None if self._analysis is None else self._analysis.run_id
        session_id = self._group.session_id
        sink = _RunSink(self, self._group, run, task.incarnation)
        analysis = Analysis(
            self._services,
            session_id,
            request,
            sink,
            known,
            incarnation=task.incarnation,
            ended=None if known is None else self._ending(known),
        )
        self._analysis = analysis
        summary = (0, 0)
        try:
            with task.attempt:
                await self._let_leave()
                summary = await analysis.run()
                self.slot.complete(run)
        except (AnalysisError, StoreError) as failure:
            await self._handle_failure(run, failure, task)
        finally:
            # What it computed on is of no use any more, and a connection may idle for long.
            analysis.inputs = None
            task.last = self._finish(run, *summary)

    async def _let_leave(self) -> None:
        """Wait here for a socket that takes its time: nobody else does."""
        while self._leaving:
            await self.requester.flushed(self._leaving[0])
            del self._leaving[0]

    async def _handle_failure(self, run: Run, failure: AnalysisError | StoreError, task: _Task) -> None:
        """Turn what stopped a run into its end: a fence cancels it, anything else fails it."""
        if isinstance(failure, FellBack):
            try:
                await self._services.peer_subscriber.lift(self._group, failure.known)
            except StoreError as instead:
                failure = instead
        for kind, reason in _FENCES:
            if isinstance(failure, kind):
                again = reason is EndReason.PORTFOLIO_CHANGED
                self._give_way(run, _written(failure, reason), task, again=again)
                return
        if run.may_send:
            error = self._services.explain(failure, request_id=run.request_id, ticker=run.ticker)
            expired = isinstance(failure, SessionMissing)
            # Each socket is told once that the session has expired; the others are when it is made anew.
            self._announce_failure(run, error, alone=expired and run.run_id is None)
            if expired:
                self.requester.expire()
        self.slot.fail(run)
        try:
            await self.clear()
        except StoreError:
            # Still on the runner's mind: the next run takes its place in the document, and a
            # disconnect tries once more.
            return

    def _give_way(self, run: Run, reason: EndReason, task: _Task, *, again: bool) -> None:
        """The run is over in the document: so it is here, and for the same reason."""
        if self.decide(reason) and not again:
            # On new holdings it would start again, if nobody else had taken its place meanwhile.
            task.reason = EndReason.SUPERSEDED
            task.scope.cancel()
            self._nursery.start_soon(self._clear_after, task)
            if reason is EndReason.DISCONNECTED and not self.requester.receives_events:
                code, detail = _GIVEN_UP
                self.requester.answer(
                    Error.of(code, detail, id=run.request_id, ticker=run.ticker, run_id=run.run_id)
                )

    def _announce_failure(self, run: Run, error: Error, *, alone: bool) -> None:
        failed = AnalysisFailed(
            ticker=run.ticker,
            run_id=run.run_id,
            code=error.code,
            detail=error.detail,
            retryable=error.retryable,
        )
        if run.run_id is not None:
            self._told = failed
        if alone:
            self.requester.enqueue(failed.echo(run.request_id).to_json())
        else:
            self.announce(failed, run)
        if not self.requester.receives_events:
            self.requester.answer(error, run)

    def _finish(self, run: Run, results: int = 0, errors: int = 0) -> AnalysisCancelled | None:
        """Free the slot and announce how the run ended."""
        if run.state in {RunState.STARTING, RunState.RUNNING}:
            # Ended from outside, with the connection.
            self.decide(EndReason.DISCONNECTED)
        state = run.state
        self.slot.end(run)
        if state is RunState.COMPLETED and run.run_id is not None:
            self.announce(
                AnalysisCompleted(ticker=run.ticker, run_id=run.run_id, results=results, errors=errors), run
            )
        if state is not RunState.CANCELLING or run.reason is None:
            return None
        if run.run_id is not None:
            # Without its number it has sent nothing.
            self._leaving.append(run)
            if self._analysis is not None:
                # Also where all is recorded: the document is to say what is told.
                self._analysis.run_id = run.run_id
        told = AnalysisCancelled(
            ticker=run.ticker,
            run_id=run.run_id,
            reason=run.reason,
            cancelled_in_us=round((trio.current_time() - self._cancelled_at) * 1e6),
        )
        if run.reason in _TOLD and not self.requester.receives_events:
            code, detail = _TOLD[run.reason]
            self.requester.answer(
                Error.of(code, detail, id=run.request_id, ticker=run.ticker, run_id=run.run_id)
            )
        if run.run_id is not None:
            self._told = told
        # Whoever cancels is answered with the end that came of it, and with no other: one that had been
        # decided before is news to it, too.
        canceller = None if self._task is None else self._task.canceller
        self.announce(told, run, canceller=canceller)
        return told

    def _give_up(self, request: Analyze) -> None:
        self.requester.answer(
            Error.of(
                ErrorCode.PORTFOLIO_CHANGED,
                f"the portfolio changed {MAX_RESTARTS} times under the analysis of {request.ticker}; "
                "ask again when it rests",
                id=request.id,
                ticker=request.ticker,
            )
        )


def _written(failure: AnalysisError | StoreError, otherwise: EndReason) -> EndReason:
    """Why a run was refused, as the document has it, if it does."""
    ended = failure.ended if isinstance(failure, RunSuperseded | RunNotCurrent) else None
    if ended is None or ended.outcome != "cancelled" or ended.reason not in set(EndReason):
        return otherwise
    return EndReason(ended.reason)


def _drift(inputs: AnalysisInputs, prices: Mapping[str, float]) -> float:
    """How far a portfolio's net value is from its snapshot at other prices, as a part of gross value.

    Of gross value, since the net value of a long-short portfolio may be zero. A price that is gone is
    infinitely far.
    """
    held = zip(inputs.tickers, map(float, inputs.shares), map(float, inputs.values), strict=True)
    moved = sum(shares * prices.get(ticker, math.inf) - value for ticker, shares, value in held)
    return abs(moved) / inputs.gross if math.isfinite(moved) else math.inf
