"""One run: snapshot, metric tasks, record, stream.

The task that calls ``Analysis.run`` owns everything here: the metric tasks live in a nursery inside it, so
that cancelling the caller's scope ends all of it, wherever it is.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.hub.unpriced import explained
from portfolio_trio.metrics import METHOD_VERSION, AnalysisError, MetricError, compute_text
from portfolio_trio.peers.orphans import Orphan
from portfolio_trio.protocol.messages import AnalysisStarted, MetricFailure, Receipt
from portfolio_trio.protocol.results import ComputedResult, RunTexts
from portfolio_trio.store import StoreError, StoreUnavailable
from portfolio_trio.targets import NO_TARGETS
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.market import Tick
    from portfolio_trio.metrics import AnalysisInputs, Metric, ResultText
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.services import Services
    from portfolio_trio.store import Ending, Known, RunStart

log: Final = logging.getLogger(__name__)

# The one wait that a cancelled run still sits out: without it nobody would know the number under which
# the store holds the run, and nobody could clear it.
START_SECONDS = 2.0

Outcome = ComputedResult | MetricFailure


class ResultSink(Protocol):
    """Where a run's messages go."""

    @property
    def known(self) -> Known:
        """What is known of the document."""

    @property
    def before(self) -> Ending | None:
        """How the run before ended, if the document may not know: the start of this one says so."""

    @property
    def after(self) -> int | None:
        """The run that must be the newest for this one to start; None for any."""

    def claimed(self, start: RunStart, token: str) -> None:
        """The run has its number and its holdings; its start can be told from any other by the token.

        Raises:
            SessionMissing: Another document took the place of its own.
            RunSuperseded: A newer run is known.
            PortfolioChanged: Newer holdings are known.
        """

    def started(self, message: AnalysisStarted, inputs: AnalysisInputs) -> None:
        """The run has its snapshot."""

    def recorded(self, others: tuple[str, ...], *, finished: bool) -> None:
        """Results are in the document; these other workers have sockets of the session."""

    def deliver(self, batch: Sequence[Outcome]) -> None:
        """Queue recorded results and metric errors, in this order, to leave together."""

    async def delivered(self) -> None:
        """Wait until all that was queued has left."""


_Ready = tuple[int, Outcome]
# Place, metric and artificial delay of what is not there at once.
_Later = tuple[int, "Metric", float]

# Metrics that are computed in the run's own task hold up every other session; after so long the others run,
# and this run can be cancelled.
_SLICE_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What all metrics of one run see."""

    start: RunStart
    tick: Tick
    inputs: AnalysisInputs
    texts: RunTexts


class Analysis:
    """The work of one run of one session.

    Args:
        services: The layers below.
        session_id: The session.
        request: What to analyse.
        sink: Where its messages go.
        incarnation: The document that the client speaks of.
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
        self._ticker = request.ticker
        self._wants_receipt = request.receipt
        self._sink = sink
        self._incarnation = incarnation
        # By which the start can be told from any other, should its reply be lost.
        self._token = secrets.token_hex(8)
        self._recorded = 0

    async def run(self) -> tuple[int, int]:
        """Compute, record and stream every metric; return how many results and how many errors left.

        Raises:
            AnalysisError: Holdings or prices allow no analysis of this ticker.
            StoreError: The store refused or could not be reached.
        """
        snapshot = await self._take_snapshot()
        self._sink.started(self._announcement(snapshot), snapshot.inputs)
        at_once, later = self._sorted_metrics()
        if later:
            results = await self._stream(snapshot, at_once, later)
        else:
            results = await self._hand_on(snapshot, await self._compute_at_once(at_once, snapshot), last=True)
        await self._sink.delivered()
        return results, len(self._services.metrics) - results

    def _sorted_metrics(self) -> tuple[list[Metric], list[_Later]]:
        """Which metrics take microseconds, and which want a task of their own."""
        at_once: list[Metric] = []
        later: list[_Later] = []
        for place, metric in enumerate(self._services.metrics.values()):
            # Drawn here and not in the tasks, whose order Trio shuffles.
            delay = self._services.draw_delay()
            if delay or metric.heavy:
                later.append((place, metric, delay))
            else:
                at_once.append(metric)
        return at_once, later

    async def _compute_at_once(self, metrics: Sequence[Metric], snapshot: _Snapshot) -> list[Outcome]:
        """Compute metrics in the run's own task: a task for each would cost more than they do."""
        outcomes: list[Outcome] = []
        began = trio.current_time()
        for metric in metrics:
            if trio.current_time() - began > _SLICE_SECONDS:
                await trio.lowlevel.checkpoint()
                began = trio.current_time()
            outcomes.append(self._outcome(metric, snapshot, _attempt(metric, snapshot.inputs)))
        return outcomes

    async def _stream(self, snapshot: _Snapshot, at_once: Sequence[Metric], later: Sequence[_Later]) -> int:
        """Start what takes its time, hand on the rest, then what comes of it; return how many results."""
        send, receive = trio.open_memory_channel[_Ready](len(later))
        results, failure = 0, None
        async with trio.open_nursery() as nursery:
            for place, metric, delay in later:
                nursery.start_soon(self._compute, place, metric, delay, snapshot, send)
            try:
                if at_once:
                    outcomes = await self._compute_at_once(at_once, snapshot)
                    results = await self._hand_on(snapshot, outcomes, last=False)
                results += await self._record_all(snapshot, receive, len(later))
            except StoreError as error:
                # Raised outside the nursery, so that it comes alone and not in a group.
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return results

    async def _take_snapshot(self) -> _Snapshot:
        # Behind the shield it would be too late.
        await trio.lowlevel.checkpoint_if_cancelled()
        services = self._services
        asked_at = services.book.current.tick_id
        start, orphan = None, Orphan(self._session_id, self._incarnation, token=self._token)
        try:
            with trio.move_on_after(START_SECONDS, shield=True):
                start = await services.store.start_analysis(
                    self._session_id,
                    ticker=self._ticker,
                    started_at=rfc3339(services.now()),
                    tick_id=asked_at,
                    incarnation=self._incarnation,
                    token=self._token,
                    known=self._sink.known,
                    ended=self._sink.before,
                    after=self._sink.after,
                )
        except StoreUnavailable as failure:
            if failure.sent:
                services.peer_subscriber.adopt(orphan)
            raise
        if start is None:
            services.peer_subscriber.adopt(orphan)
            raise StoreUnavailable(f"start_analysis was not answered within {START_SECONDS:g} s", sent=True)
        self._sink.claimed(start, self._token)
        await trio.lowlevel.checkpoint_if_cancelled()
        # Holdings, tick and prices are read without a checkpoint in between: they belong together.
        prices = services.book.prices_for(start.holdings)
        try:
            inputs = services.returns.inputs(
                self._ticker, start.holdings, prices, targets=start.targets or NO_TARGETS
            )
        except AnalysisError as failure:
            raise explained(services.book, failure) from None
        receipt = None
        if self._wants_receipt:
            held = {ticker: shares for ticker, shares in start.holdings.items() if shares}
            cash = tuple(sorted(inputs.history.cash)) or None
            receipt = Receipt(
                holdings=held,
                prices=dict(prices),
                last_bar=inputs.last_bar,
                cash=cash,
                targets=start.targets,
            )
        tick = services.book.current
        texts = RunTexts(
            ticker=self._ticker,
            run_id=start.run_id,
            snapshot=inputs.snapshot,
            tick_id=tick.tick_id,
            as_of=tick.as_of,
            last_bar=inputs.last_bar,
            stale=services.book.is_stale(inputs.tickers),
            method=METHOD_VERSION,
            receipt=receipt,
        )
        return _Snapshot(start, tick, inputs, texts)

    def _announcement(self, snapshot: _Snapshot) -> AnalysisStarted:
        return AnalysisStarted(
            ticker=self._ticker,
            run_id=snapshot.start.run_id,
            metrics=tuple(self._services.metrics),
            snapshot=snapshot.inputs.snapshot,
            version=snapshot.start.version,
            tick_id=snapshot.tick.tick_id,
            as_of=snapshot.tick.as_of,
        )

    async def _compute(
        self,
        place: int,
        metric: Metric,
        delay: float,
        snapshot: _Snapshot,
        send: trio.MemorySendChannel[_Ready],
    ) -> None:
        """One metric task; the channel has room for all of them."""
        if delay:
            await trio.sleep(delay)
        if metric.heavy:
            computed = await trio.to_thread.run_sync(
                _attempt, metric, snapshot.inputs, abandon_on_cancel=True, limiter=self._services.heavy
            )
        else:
            computed = _attempt(metric, snapshot.inputs)
        send.send_nowait((place, self._outcome(metric, snapshot, computed)))

    def _outcome(self, metric: Metric, snapshot: _Snapshot, computed: ResultText | MetricError) -> Outcome:
        if isinstance(computed, MetricError):
            if computed.__cause__ is not None:
                log.error("metric %s failed", metric.name, exc_info=computed.__cause__)
            return self._failure(metric, snapshot, computed)
        return self._result(metric, snapshot, computed)

    def _result(self, metric: Metric, snapshot: _Snapshot, result: ResultText) -> ComputedResult:
        timestamp = rfc3339(self._services.now())
        return snapshot.texts.result(metric.name, result.value, timestamp, result.detail)

    def _failure(self, metric: Metric, snapshot: _Snapshot, error: MetricError) -> MetricFailure:
        return MetricFailure(
            ticker=self._ticker,
            metric=metric.name,
            code=error.code,
            detail=error.reason,
            tickers=error.tickers or None,
            run_id=snapshot.start.run_id,
        )

    async def _record_all(
        self, snapshot: _Snapshot, receive: trio.MemoryReceiveChannel[_Ready], waiting: int
    ) -> int:
        """Hand on what so many metric tasks give, until all have; return the number of results."""
        results = 0
        while waiting:
            batch = [await receive.receive()]
            # What is ready together is recorded by one script and leaves in one send.
            while receive.statistics().current_buffer_used:
                batch.append(receive.receive_nowait())
            waiting -= len(batch)
            outcomes = [outcome for _, outcome in sorted(batch, key=itemgetter(0))]
            results += await self._hand_on(snapshot, outcomes, last=not waiting)
        return results

    async def _hand_on(self, snapshot: _Snapshot, outcomes: Sequence[Outcome], *, last: bool) -> int:
        """Record outcomes, then queue them; return the number of results."""
        results = await self._record(snapshot, outcomes, last=last)
        self._sink.deliver(outcomes)
        return results

    async def _record(self, snapshot: _Snapshot, outcomes: Sequence[Outcome], *, last: bool) -> int:
        """Write results into the document, and with the last of them that the run is over."""
        found = (outcome for outcome in outcomes if isinstance(outcome, ComputedResult))
        # Holdings and prices are the same in all of them, and may be long.
        records = [
            outcome.to_record(receipt=place == 0) for place, outcome in enumerate(found, self._recorded)
        ]
        if records or last:
            others = await self._services.store.record_results(
                self._session_id,
                run_id=snapshot.start.run_id,
                version=snapshot.start.version,
                results=records,
                at=rfc3339(self._services.now()),
                finish=last,
                # Counting makes the write safe to repeat where its reply was lost with the connection.
                recorded=self._recorded,
                incarnation=self._incarnation,
                token=self._token,
                errors=len(self._services.metrics) - self._recorded - len(records) if last else 0,
            )
            self._recorded += len(records)
            self._sink.recorded(others, finished=last)
        return len(records)


def _attempt(metric: Metric, inputs: AnalysisInputs) -> ResultText | MetricError:
    try:
        return compute_text(metric, inputs)
    except MetricError as error:
        return error
