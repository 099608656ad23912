"""One analysis from its requester's point of view: outcomes one by one, a restart, an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.client._errors import RequestTimedOut, RunCancelled, RunFailed
from portfolio_trio.protocol.events import ReceivedResult
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    Error,
    MetricFailure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from portfolio_trio.client._calls import Frame
    from portfolio_trio.client._errors import ClientError
    from portfolio_trio.protocol.events import ServerMessage, Unknown

RESTARTED: Final = "portfolio_changed"

# Ends caused by the run's own socket: for this socket's runs the client knows them first.
_OWN_DOING: Final = frozenset({"switched", "disconnected"})

Outcome = ReceivedResult | MetricFailure


class Analysis:
    """The outcomes of one analysis as they arrive; made by `PortfolioClient.analyze`.

    Iterate over it for one `ReceivedResult` or `MetricFailure` per metric. The loop ends when the server has
    completed the run, and raises `RunCancelled`, `RunFailed` or `Disconnected` when no more outcomes will
    come. Outcomes of a cancelled run that have arrived but were not taken yet are dropped.

    When the portfolio changes during the run, the server starts the run again by itself. The iteration then
    starts over: waiting outcomes of the old run are dropped, ``outcomes`` is empty again, ``restarts``
    increases by one, and every metric arrives again with the new ``run_id``. So ``outcomes`` never mixes two
    snapshots; a program that stores outcomes itself should key them by metric, or by ``run_id``.

    Attributes:
        ticker: The analysed name.
        restarts: How many times the server started it again.
    """

    def __init__(self, ticker: str, request_id: int, frame: Frame, start_seconds: float) -> None:
        self.ticker = ticker
        self.restarts = 0
        self.request_id = request_id
        self.frame = frame
        self._start_seconds = start_seconds
        self._started: AnalysisStarted | None = None
        self._running = False
        self._foreign_run = -1
        self._outcomes: dict[str, Outcome] = {}
        self._taken = 0
        self._ended = False
        self._failure: ClientError | None = None
        self._news = trio.lowlevel.ParkingLot()

    @property
    def started(self) -> AnalysisStarted:
        """The current run: its ``run_id``, metrics, snapshot and tick."""
        if self._started is None:
            raise AssertionError("an analysis is handed out when it has started")
        return self._started

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The outcomes of the current run so far, by metric; all from one snapshot."""
        return dict(self._outcomes)

    @property
    def ended(self) -> bool:
        """Whether no more outcomes will come."""
        return self._ended

    async def completed(self) -> Mapping[str, Outcome]:
        """Wait for the end of the run and return all of its outcomes, by metric.

        Raises:
            RunCancelled: It ended before that.
            RunFailed: It could not be carried out.
            Disconnected: The connection was lost, and the run with it.
            RequestTimedOut: It was not started again in time.
        """
        async for _ in self:
            pass
        return self.outcomes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        await trio.lowlevel.checkpoint()
        while self._taken == len(self._outcomes):
            if self._ended:
                raise self._failure or StopAsyncIteration
            if not self._running:
                await self.wait_started()
            else:
                await self._news.park()
        self._taken += 1
        return list(self._outcomes.values())[self._taken - 1]

    async def wait_started(self) -> None:
        """Wait until the server has started the run, or started it again.

        Raises:
            RunCancelled: It ended before that.
            RunFailed: It could not be carried out.
            Disconnected: The connection was lost, and the run with it.
            RequestTimedOut: The server did not start it in time.
        """
        with trio.move_on_after(self._start_seconds):
            while not (self._running or self._ended):
                await self._news.park()
        if self._failure is not None:
            raise self._failure
        if not (self._running or self._ended):
            raise RequestTimedOut("analyze", self._start_seconds, sent=self.frame.sent)

    # --- called by the dispatcher ---

    def take(self, message: ServerMessage | Unknown) -> None:
        """Follow one message of the server; those about other runs are ignored."""
        mine = message.id == self.request_id
        match message:
            case AnalysisStarted() if mine:
                self._start(message)
            case AnalysisStarted():
                self.notice(message.run_id)
            case ReceivedResult() | MetricFailure() if mine:
                self._arrive(message)
            case AnalysisCompleted() if mine:
                self.end()
            case AnalysisFailed() | Error() if mine:
                self.end(RunFailed.of(message))
            case AnalysisCancelled() if self._is_cancelled_by(message):
                self._cancel(message.reason)
            case _:
                return

    def notice(self, run_id: int) -> None:
        """Another client's run has started."""
        self._foreign_run = run_id
        if self._started is not None and run_id > self._started.run_id:
            # The newest analysis of a session wins: this one is over, whether or not its end was announced.
            self.end(RunCancelled(self.ticker, "superseded"))

    def end(self, failure: ClientError | None = None) -> None:
        """End the analysis; waiting outcomes are still handed out only if the run completed."""
        if self._ended:
            return
        self._ended, self._failure = True, failure
        if failure is not None:
            self._taken = len(self._outcomes)
        self._news.unpark_all()

    def _start(self, message: AnalysisStarted) -> None:
        self._forget()
        self.restarts += self._started is not None
        self._started, self._running = message, True
        self._news.unpark_all()

    def _arrive(self, outcome: Outcome) -> None:
        if self._running and outcome.run_id == self.started.run_id and not self._ended:
            self._outcomes[outcome.metric] = outcome
            self._news.unpark()

    def _cancel(self, reason: str) -> None:
        if reason == RESTARTED:
            self._forget()
            self._running = False
            self._news.unpark_all()
        else:
            self.end(RunCancelled(self.ticker, reason))

    def _is_cancelled_by(self, message: AnalysisCancelled) -> bool:
        if isinstance(message.id, int):
            # Its own end, or the answer to a later ``cancel``: nothing is running, even if the answer names
            # no run because this one was between its end and its restart.
            return message.id >= self.request_id
        if self._running:
            return message.run_id == self.started.run_id
        # Of a run that has not been announced, only the ticker is known, and which runs belong to others.
        foreign = message.run_id == self._foreign_run or message.reason in _OWN_DOING
        return message.ticker == self.ticker and not foreign

    def _forget(self) -> None:
        self._outcomes.clear()
        self._taken = 0
