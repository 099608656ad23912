"""One run: start, metrics, record, stream.

The task that calls ``Analysis.run`` does everything here and waits for delayed metrics itself; heavy metrics
have tasks in a nursery inside it. So cancelling the caller's scope ends everything, at any point.

Immediate metrics are computed before the run is started, from what is known of the document. The script that
starts the run stores the results, if the document still is what they were computed from; otherwise the run
continues from the holdings that the script returns. Either way Redis has recorded a result before any client
sees it.
"""

from __future__ import annotations

from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from portfolio_trio.metrics import AnalysisError, MetricError
from portfolio_trio.nurseries import background
from portfolio_trio.peers.orphans import Orphan
from portfolio_trio.protocol.results import ComputedResult
from portfolio_trio.store import Computed, StoreUnavailable
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.metrics import AnalysisInputs, Metric, ResultText
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.services import Services
    from portfolio_trio.session.snapshot import Outcome, Snapshot
    from portfolio_trio.store import Ending, Head, Known, RunStart

# The only wait that a cancelled run completes: without it the run's number in the store would be unknown, and
# the run could not be cleared.
START_SECONDS = 2.0


class ResultSink(Protocol):
    """The destination of a run's messages."""

    @property
    def known(self) -> Known:
        """What is known of the document."""

    @property
    def before(self) -> Ending | None:
        """How the previous run ended, if the document may not have it: the start of this run records it."""

    @property
    def after(self) -> int | None:
        """The run that must be the newest for this one to start; None for any."""

    def claimed(self, start: RunStart, token: str) -> None:
        """The run has its number and its holdings; the token identifies its start.

        Raises:
            SessionMissing: Another document replaced its own.
            RunSuperseded: A newer run is known.
            PortfolioChanged: Newer holdings are known.
        """

    @property
    def head(self) -> Head | None:
        """The document, as far as it is known without a call to Redis."""

    def computing(self, inputs: AnalysisInputs) -> None:
        """The snapshot that the metrics see: from now on new prices may end the run."""

    def started(self, snapshot: Snapshot, start: RunStart) -> None:
        """The run has its snapshot."""

    def recorded(self, others: tuple[str, ...], *, finished: bool) -> None:
        """Results are in the document; these other workers have sockets of the session."""

    def taken(
        self,
        snapshot: Snapshot,
        start: RunStart,
        batch: Sequence[Outcome],
        *,
        results: int | None,
    ) -> None:
        """The run has its snapshot, and these outcomes are in the document.

        If these are all, ``results`` is the number of results among them.
        """

    def deliver(self, batch: Sequence[Outcome]) -> None:
        """Queue recorded results and metric errors, in this order, to be sent together."""

    async def delivered(self) -> None:
        """Wait until everything queued has been sent."""


_Ready = tuple[int, "Outcome"]
# Position, metric and artificial delay of metrics that are not immediate.
_Later = tuple[int, "Metric", float]
# When to compute a metric, its position, and the metric.
_Due = tuple[float, int, "Metric"]

# Metrics computed in the run's own task block all other sessions; after this many seconds the others get a
# turn, and this run can be cancelled.
_SLICE_SECONDS: Final = 0.001


class _Ahead(NamedTuple):
    """Results computed before the start."""

    snapshot: Snapshot
    outcomes: list[Outcome]
    computed: Computed


class Analysis:
    """The work of one run of one session.

    Args:
        services: The layers below.
        session_id: The session.
        request: What to analyse.
        sink: The destination of its messages.
        incarnation: The client's document.
    """

    def __init__(
        self,
        services: Services,
        session_id: str,
        request: Analyze,
        sink: ResultSink,
        *,
        incarnation: str = "",
    ) -> None:
        self._services = services
        self._session_id = session_id
        self._request = request
        self._sink = sink
        self._incarnation = incarnation
        # Identifies the start if its reply is lost.
        self._token = services.draw_token()
        self._recorded = 0

    async def run(self) -> tuple[int, int]:
        """Compute, record and stream every metric; return the numbers of results and errors sent.

        Raises:
            AnalysisError: Holdings or prices allow no analysis of this ticker.
            StoreError: The store refused or could not be reached.
        """
        at_once, later = self._sorted_metrics()
        ahead = await self._compute_ahead(at_once, finish=not later)
        start = await self._start(None if ahead is None else ahead.computed)
        if ahead is not None and start.taken:
            snapshot, results, at_once = ahead.snapshot, len(ahead.computed.results), ()
            self._recorded = results
            self._sink.taken(snapshot, start, ahead.outcomes, results=None if later else results)
        else:
            snapshot, results = self._take_snapshot(start.head, start.run_id), 0
            self._sink.started(snapshot, start)
        if later:
            results += await self._stream(snapshot, at_once, later)
        elif not start.taken:
            results = await self._hand_on(snapshot, await self._compute_at_once(at_once, snapshot), last=True)
        await self._sink.delivered()
        return results, len(self._services.metrics) - results

    async def _compute_ahead(self, metrics: Sequence[Metric], *, finish: bool) -> _Ahead | None:
        """Compute from what is known of the document, if that is worthwhile."""
        head, run_id = self._sink.head, self._sink.known.run_id + 1
        if head is None or not metrics:
            return None
        try:
            snapshot = self._take_snapshot(head, run_id)
        except AnalysisError:
            # Only the document can decide whether that is so.
            return None
        outcomes = await self._compute_at_once(metrics, snapshot)
        records = self._records(outcomes)
        errors = len(outcomes) - len(records)
        return _Ahead(snapshot, outcomes, Computed(head, run_id, records, finish=finish, errors=errors))

    def _take_snapshot(self, head: Head, run_id: int) -> Snapshot:
        snapshot = self._services.snapshots.take(self._request, head, run_id)
        self._sink.computing(snapshot.inputs)
        return snapshot

    def _sorted_metrics(self) -> tuple[Sequence[Metric], Sequence[_Later]]:
        """Split metrics into those that take microseconds and those that need a task."""
        if self._services.immediate is not None:
            return self._services.immediate, ()
        at_once: list[Metric] = []
        later: list[_Later] = []
        for place, metric in enumerate(self._services.metrics.values()):
            # Drawn here and not in the tasks, whose order Trio randomises.
            delay = self._services.draw_delay()
            if delay or metric.heavy:
                later.append((place, metric, delay))
            else:
                at_once.append(metric)
        return at_once, later

    async def _compute_at_once(self, metrics: Sequence[Metric], snapshot: Snapshot) -> list[Outcome]:
        """Compute metrics in the run's own task: a task for each would cost more than the metric."""
        outcomes: list[Outcome] = []
        began, at = trio.current_time(), rfc3339(self._services.now())
        for metric in metrics:
            outcomes.append(self._outcome(snapshot, metric, snapshot.attempt(metric), at))
            if trio.current_time() - began > _SLICE_SECONDS and metric is not metrics[-1]:
                await trio.lowlevel.checkpoint()
                began, at = trio.current_time(), rfc3339(self._services.now())
        return outcomes

    async def _stream(self, snapshot: Snapshot, at_once: Sequence[Metric], later: Sequence[_Later]) -> int:
        """Start heavy metrics, pass on immediate outcomes, then the others; return the number of results."""
        send, receive = trio.open_memory_channel[_Ready](len(later))
        now = trio.current_time()
        due = sorted((now + delay, place, metric) for place, metric, delay in later if not metric.heavy)
        heavy = [each for each in later if each[1].heavy]
        if not heavy:
            return await self._hand_on_all(snapshot, at_once, due, receive, 0)
        async with background() as tasks:
            for place, metric, delay in heavy:
                tasks.start_soon(self._compute_in_thread, place, metric, delay, snapshot, send)
            return await self._hand_on_all(snapshot, at_once, due, receive, len(heavy))

    async def _hand_on_all(
        self,
        snapshot: Snapshot,
        at_once: Sequence[Metric],
        due: list[_Due],
        receive: trio.MemoryReceiveChannel[_Ready],
        heavy: int,
    ) -> int:
        """Pass on all outcomes as they come; return the number of results.

        Args:
            snapshot: The inputs.
            at_once: Metrics to compute now.
            due: Metrics to compute later, in the order of their times.
            receive: Outcomes of heavy metrics.
            heavy: The number of these.
        """
        results = 0
        if at_once:
            outcomes = await self._compute_at_once(at_once, snapshot)
            results = await self._hand_on(snapshot, outcomes, last=False)
        while due or heavy:
            batch: list[_Ready] = []
            with trio.move_on_at(due[0][0] if due else inf):
                batch.append(await receive.receive())
            # Outcomes that are ready at the same time are recorded by one script and sent together.
            while receive.statistics().current_buffer_used:
                batch.append(receive.receive_nowait())
            heavy -= len(batch)
            now = trio.current_time()
            ready = [(place, metric) for at, place, metric in due if at <= now]
            del due[: len(ready)]
            computed = await self._compute_at_once([metric for _, metric in ready], snapshot)
            batch += zip([place for place, _ in ready], computed, strict=True)
            outcomes = [outcome for _, outcome in sorted(batch, key=itemgetter(0))]
            results += await self._hand_on(snapshot, outcomes, last=not (due or heavy))
        return results

    async def _start(self, computed: Computed | None) -> RunStart:
        # After the shield it would be too late.
        await trio.lowlevel.checkpoint_if_cancelled()
        services = self._services
        start = None
        try:
            with trio.move_on_after(START_SECONDS, shield=True):
                start = await services.store.start_analysis(
                    self._session_id,
                    ticker=self._request.ticker,
                    started_at=rfc3339(services.now()),
                    tick_id=services.book.current.tick_id,
                    incarnation=self._incarnation,
                    token=self._token,
                    known=self._sink.known,
                    ended=self._sink.before,
                    after=self._sink.after,
                    computed=computed,
                )
        except StoreUnavailable as failure:
            if failure.sent:
                self._leave_to_others()
            raise
        if start is None:
            self._leave_to_others()
            raise StoreUnavailable(f"start_analysis was not answered within {START_SECONDS:g} s", sent=True)
        self._sink.claimed(start, self._token)
        await trio.lowlevel.checkpoint_if_cancelled()
        return start

    def _leave_to_others(self) -> None:
        """It is not known whether the run has started: have it found by its token and ended."""
        orphan = Orphan(self._session_id, self._incarnation, token=self._token)
        self._services.peer_subscriber.adopt(orphan)

    async def _compute_in_thread(
        self,
        place: int,
        metric: Metric,
        delay: float,
        snapshot: Snapshot,
        send: trio.MemorySendChannel[_Ready],
    ) -> None:
        """The task of one heavy metric; the channel has room for all outcomes."""
        if delay:
            await trio.sleep(delay)
        computed = await trio.to_thread.run_sync(
            snapshot.attempt, metric, abandon_on_cancel=True, limiter=self._services.heavy
        )
        at = rfc3339(self._services.now())
        send.send_nowait((place, self._outcome(snapshot, metric, computed, at)))

    def _outcome(
        self, snapshot: Snapshot, metric: Metric, computed: ResultText | MetricError, at: str
    ) -> Outcome:
        if isinstance(computed, MetricError):
            self._services.report_metric(
                metric.name, computed, session_id=self._session_id, run_id=snapshot.run_id
            )
        return snapshot.outcome(metric, computed, at)

    async def _hand_on(self, snapshot: Snapshot, outcomes: Sequence[Outcome], *, last: bool) -> int:
        """Record outcomes, then queue them; return the number of results."""
        results = await self._record(snapshot, outcomes, last=last)
        self._sink.deliver(outcomes)
        return results

    async def _record(self, snapshot: Snapshot, outcomes: Sequence[Outcome], *, last: bool) -> int:
        """Write results into the document, and end the run with the last of them."""
        records = self._records(outcomes)
        if records or last:
            others = await self._services.store.record_results(
                self._session_id,
                run_id=snapshot.run_id,
                version=snapshot.head.version,
                results=records,
                at=rfc3339(self._services.now()),
                finish=last,
                # Counting makes the write safe to repeat if its reply was lost with the connection.
                recorded=self._recorded,
                incarnation=self._incarnation,
                token=self._token,
                errors=len(self._services.metrics) - self._recorded - len(records) if last else 0,
            )
            self._recorded += len(records)
            self._sink.recorded(others, finished=last)
        return len(records)

    def _records(self, outcomes: Sequence[Outcome]) -> list[str]:
        """The results among them, in the form that the document keeps."""
        found = (outcome for outcome in outcomes if isinstance(outcome, ComputedResult))
        # Holdings and prices are the same in all of them, and may be long.
        return [outcome.to_record(receipt=place == 0) for place, outcome in enumerate(found, self._recorded)]
