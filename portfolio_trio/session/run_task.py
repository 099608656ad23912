"""One request's run, from the request to its end: the sink of its analysis, and the code that ends it.

The task runs in the connection's nursery. Code that ends it waits for ``ended``: when that is set, no task of
the run is left, none of its messages waits, and its last event has been queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.hub.run_state import EndReason, Run, RunState
from portfolio_trio.metrics import AnalysisError
from portfolio_trio.session.analysis import Analysis
from portfolio_trio.session.run_messages import RunMessages
from portfolio_trio.session.waiting import Seen, Waiting
from portfolio_trio.store import (
    FellBack,
    PortfolioChanged,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.metrics import AnalysisInputs
    from portfolio_trio.protocol.messages import AnalysisCancelled
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.snapshot import Outcome, Snapshot
    from portfolio_trio.session.socket_state import Socket
    from portfolio_trio.store import Ending, Head, Known, RunStart

# How many times a portfolio may change during one run before the request fails, unless it follows changes.
MAX_RESTARTS: Final = 20

# The reasons for a run's end, by the store's fence errors.
_FENCES: Final[tuple[tuple[type[StoreError], EndReason], ...]] = (
    (PortfolioChanged, EndReason.PORTFOLIO_CHANGED),
    (FellBack, EndReason.PORTFOLIO_CHANGED),
    (RunSuperseded, EndReason.SUPERSEDED),
    (RunNotCurrent, EndReason.SUPERSEDED),
)


class RunTask:
    """Carries out one ``analyze``, again after each change of the portfolio during the run.

    Args:
        socket: The socket that asked.
        request: Its request.
        read_at: When the request was read, by Trio's clock; None if it started by itself.
        waiting: The `Waiting` it comes from, if it follows another run: it starts only if no other was
            requested since.

    Attributes:
        request: The request.
        following: Another run follows when this one is complete.
        seen: Its snapshot, once that is taken.
        run: The state of the run.
        run_ids: The numbers of its newest attempts.
        version: Of the holdings it works on, once it has its number.
        inputs: The inputs of the metrics, once the snapshot is taken.
        canceller: The canceller that is answered with its end.
        last: Its last event, once it has been reported.
        clears: Its end has to be recorded in the document as soon as it has ended.
        ended: All its tasks have ended.
    """

    def __init__(
        self,
        socket: Socket,
        request: Analyze,
        read_at: float | None = None,
        *,
        waiting: Waiting | None = None,
    ) -> None:
        self._socket = socket
        self._group = socket.group
        self._writer = socket.writer
        self.request = request
        self.following = request.follow
        self.seen: Seen | None = None
        self._waiting = waiting
        self._incarnation = socket.document.incarnation or ""
        # Of what is under way: an attempt, or what becomes of its failure. One scope at a time is enough.
        self._attempt_scope: trio.CancelScope | None = None
        self._failure_scope: trio.CancelScope | None = None
        self._stopped = False
        self._stop_reason = EndReason.DISCONNECTED
        self._decided_at = 0.0
        self._telemetry = socket.services.telemetry
        self._began_at = self._begin()
        self._restarts = 0
        # Whether the end of the attempt has been reported.
        self._is_told = False
        self.run = Run(request.ticker, request.id)
        self._messages = RunMessages(socket, self.run, self._incarnation, read_at)
        self.run_ids: list[int] = []
        self.version: int | None = None
        self.inputs: AnalysisInputs | None = None
        self.canceller: Canceller | None = None
        self.last: AnalysisCancelled | None = None
        self.clears = False
        self.ended = trio.Event()

    # --- what others decide ---

    def decide(self, reason: EndReason) -> bool:
        """Decide the end of the run: from here on none of its frames are queued or taken for sending."""
        decided = self.run.cancel(reason)
        if decided:
            self._decided_at = trio.current_time()
            self._group.drop(self.run)
        return decided

    def stop(self, reason: EndReason, canceller: Canceller | None = None) -> None:
        """Decide the end of the run, and end its task."""
        if self.decide(reason):
            self.canceller = canceller
        self._stop_reason = reason
        self._stopped = True
        for scope in (self._attempt_scope, self._failure_scope):
            if scope is not None:
                scope.cancel()

    def restart(self) -> None:
        """End the run as ``portfolio_changed``; the task starts it again."""
        if self.decide(EndReason.PORTFOLIO_CHANGED) and self._attempt_scope is not None:
            self._attempt_scope.cancel()

    # --- what its analysis writes to ---

    @property
    def known(self) -> Known:
        """What is known of the document."""
        return self._group.document.known

    @property
    def head(self) -> Head | None:
        """The document, as far as it is known without a call to Redis."""
        return self._group.document.head if self._group.incarnation == self._incarnation else None

    def computing(self, inputs: AnalysisInputs) -> None:
        """The snapshot that the metrics see: from now on new prices may end the run."""
        self.inputs = inputs

    @property
    def before(self) -> Ending | None:
        """How the run before ended, if the document may not know."""
        standing = self._socket.standing
        return standing.ending() if standing.incarnation == self._incarnation else None

    @property
    def after(self) -> int | None:
        """The run that it follows, if it does, until it has started once."""
        return None if self._waiting is None or self.run_ids else self._waiting.last.run_id

    @property
    def is_followed(self) -> bool:
        """Whether it is complete, and another run is to follow."""
        return self.following and self.run.state is RunState.COMPLETED

    def pass_turn(self) -> None:
        """It has its snapshot, or will have none: others that follow may start."""
        if self._waiting is not None:
            self._waiting.pass_turn()

    def claimed(self, start: RunStart, token: str) -> None:
        """The run has its number and its holdings.

        Raises:
            SessionMissing: Another document replaced its own.
            RunSuperseded: A newer run is known.
            PortfolioChanged: Newer holdings are known.
        """
        standing = self._socket.standing
        standing.run_id, standing.token, standing.incarnation = start.run_id, token, self._incarnation
        self.run.run_id, self.version = start.run_id, start.version
        self.run_ids.append(start.run_id)
        del self.run_ids[:-MAX_RESTARTS]
        self._group.document.claim(self.run.ticker, start, self._incarnation)

    def started(self, snapshot: Snapshot, start: RunStart) -> None:
        """The run has its snapshot."""
        self._begin_on(snapshot)
        self._messages.start(snapshot, start)

    def _begin_on(self, snapshot: Snapshot) -> None:
        self.seen = Seen(snapshot.run_id, snapshot.head.version, snapshot.tick.tick_id)
        self.pass_turn()
        self.run.snapshot(snapshot.run_id)

    def recorded(self, others: tuple[str, ...], *, finished: bool) -> None:
        """Results are in the document; these other workers have sockets of the session."""
        self._group.peers.set_peers(others)
        if finished:
            self._socket.standing.run_id = None

    def taken(
        self, snapshot: Snapshot, start: RunStart, batch: Sequence[Outcome], *, results: int | None
    ) -> None:
        """The run has its snapshot, and its start has recorded outcomes: report both in one send.

        With the number of ``results``, if these are all of its outcomes: then its end is sent with them, if
        nothing can come in between.
        """
        with self._writer.together():
            self._begin_on(snapshot)
            self.recorded(start.others, finished=results is not None)
            self._messages.answers(batch)
            unseen = results is not None and self._is_settled and self._group.pass_unseen(snapshot.run_id)
            if not unseen:
                self._messages.start(snapshot, start)
                self._messages.outcomes(batch)
            if results is not None and self._is_settled:
                self.run.complete()
                self._finish(results, len(batch) - results, unseen=unseen)

    @property
    def _is_settled(self) -> bool:
        """Whether everything queued of it will be sent, whatever is decided from now on."""
        return self.run.may_send and self._writer.leaves_at_once

    def deliver(self, batch: Sequence[Outcome]) -> None:
        """Queue recorded outcomes for all sockets that see them, unless the run's end is decided."""
        with self._writer.together():
            self._messages.answers(batch)
            self._messages.outcomes(batch)

    async def delivered(self) -> None:
        """Wait until everything queued for the requester has been sent."""
        await self._writer.flushed(self.run)

    # --- the task ---

    async def carry_out(self) -> None:
        """Run attempts until one is not followed by another, and report each end."""
        try:
            while not (self.run.is_over or self._stopped):
                await self._attempt()
        finally:
            if not self.run.is_over:
                # Cancelled before it was restarted: report that.
                self._finish()

    async def _attempt(self) -> None:
        """One attempt, from its first step to its end; first the last frames of earlier ones must be sent."""
        services = self._socket.services
        analysis = Analysis(
            services, self._group.session_id, self.request, self, incarnation=self._incarnation
        )
        summary = (0, 0)
        try:
            with trio.CancelScope() as self._attempt_scope:
                await self._let_leave()
                summary = await analysis.run()
                if not self._is_told:
                    self.run.complete()
        except (AnalysisError, StoreError) as failure:
            await self._handle_failure(failure)
        finally:
            # Its inputs are no longer needed, and a connection may idle for long.
            self.inputs = self._attempt_scope = None
            if not self._is_told:
                self._finish(*summary)

    def _begin(self) -> float:
        self._telemetry.run_began()
        return trio.current_time()

    async def _let_leave(self) -> None:
        """Wait here for a slow socket, so that nothing else does."""
        leaving = self._socket.leaving
        while leaving:
            await self._writer.flushed(leaving[0])
            del leaving[0]

    async def _handle_failure(self, failure: AnalysisError | StoreError) -> None:
        """Turn the error that stopped the run into its end, unless it is ended otherwise meanwhile."""
        with trio.CancelScope() as self._failure_scope:
            if self._stopped:
                self._failure_scope.cancel()
            await self._end_by(failure)

    async def _end_by(self, failure: AnalysisError | StoreError) -> None:
        """A fence error cancels the run, any other error fails it."""
        if isinstance(failure, FellBack):
            try:
                await self._socket.services.peer_subscriber.lift(self._group, failure.known)
            except StoreError as instead:
                failure = instead
        for kind, reason in _FENCES:
            if isinstance(failure, kind):
                self._give_way(_written(failure, reason), again=reason is EndReason.PORTFOLIO_CHANGED)
                return
        if self.run.may_send:
            self._tell_failed(failure)
        self.run.fail()
        try:
            await self._socket.clear(self.run)
        except StoreError:
            # It is still there: the next run replaces it, and a disconnect tries once more.
            return

    def _give_way(self, reason: EndReason, *, again: bool) -> None:
        """The run is over in the document, so end it here for the same reason."""
        if self.decide(reason) and not again:
            # It would restart on new holdings, if no other run had replaced it meanwhile.
            self._stop_reason = EndReason.SUPERSEDED
            self._stopped = True
            self.clears = True
            if reason is EndReason.DISCONNECTED:
                self._messages.given_up()

    def _tell_failed(self, failure: AnalysisError | StoreError) -> None:
        failed = self._messages.failed(failure)
        if self.run.run_id is not None:
            self._socket.standing.told = failed
        if isinstance(failure, SessionMissing):
            self._socket.document.expire()

    def _finish(self, results: int = 0, errors: int = 0, *, unseen: bool = False) -> None:
        """Report how the attempt ended, if any socket sees it; after new holdings the run starts again."""
        run = self.run
        self._is_told = True
        if run.may_send:
            # Ended from outside, with the connection.
            self.decide(self._stop_reason)
        run.end()
        self._telemetry.run_ended(run.outcome, trio.current_time() - self._began_at)
        self.last = None
        if unseen:
            return
        if run.state is RunState.COMPLETED and run.run_id is not None:
            self._messages.completed(run.run_id, results, errors, following=self.following)
        elif run.state is RunState.CANCELLED and run.reason is not None:
            self.last = self._tell_cancelled(run.reason)
            if run.reason is EndReason.PORTFOLIO_CHANGED:
                self._restart_or_give_up()

    def _tell_cancelled(self, reason: EndReason) -> AnalysisCancelled:
        run, standing = self.run, self._socket.standing
        if run.run_id is not None:
            # Without a number it has sent nothing. With one the document must have the reported end, even if
            # everything is recorded.
            self._socket.leaving.append(run)
            standing.run_id = run.run_id
        told = self._messages.cancelled(reason, self._decided_at, self.canceller)
        if run.run_id is not None:
            standing.told = told
        return told

    def _restart_or_give_up(self) -> None:
        if self._restarts >= MAX_RESTARTS and not self.following:
            self._messages.unstable(MAX_RESTARTS)
            return
        self._restarts += 1
        self.version = None
        self._is_told = False
        self.run.restart()
        self._began_at = self._begin()


def _written(failure: AnalysisError | StoreError, otherwise: EndReason) -> EndReason:
    """Why a run was refused, from the document's record, if there is one."""
    ended = failure.ended if isinstance(failure, RunSuperseded | RunNotCurrent) else None
    if ended is None or ended.outcome != "cancelled" or ended.reason not in set(EndReason):
        return otherwise
    return EndReason(ended.reason)
