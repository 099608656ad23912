"""A followed analysis from its requester's point of view: whole runs, always the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from portfolio_trio.client._analysis import RESTARTED
from portfolio_trio.client._errors import RunCancelled, RunFailed
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

    from portfolio_trio.client._analysis import Outcome
    from portfolio_trio.client._calls import Frame
    from portfolio_trio.client._errors import ClientError
    from portfolio_trio.protocol.events import ServerMessage, Unknown


@dataclass(frozen=True, slots=True)
class FollowedRun:
    """One complete run.

    Attributes:
        started: What it was computed from: ``run_id``, ``snapshot``, ``version``, ``tick_id``, ``as_of``.
        outcomes: A `ReceivedResult` or a `MetricFailure` for each metric.
    """

    started: AnalysisStarted
    outcomes: Mapping[str, Outcome]


class Following:
    """The runs of a followed analysis; made by `PortfolioClient.follow`.

    Iterate over it for a `FollowedRun` each time one is complete. A loop that is slower than the market skips
    to the newest. It raises `RunCancelled`, `RunFailed` or `Disconnected` when no other run will come.

    Attributes:
        ticker: The analysed name.
    """

    def __init__(self, ticker: str, request_id: int, frame: Frame) -> None:
        self.ticker = ticker
        self.request_id = request_id
        self.frame = frame
        self._started: AnalysisStarted | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._newest: FollowedRun | None = None
        self._failure: ClientError | None = None
        self.ended = False
        self._news = trio.lowlevel.ParkingLot()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FollowedRun:
        await trio.lowlevel.checkpoint()
        while self._newest is None:
            if self._failure is not None:
                raise self._failure
            if self.ended:
                raise StopAsyncIteration
            await self._news.park()
        run, self._newest = self._newest, None
        return run

    def take(self, message: ServerMessage | Unknown) -> None:
        """Follow one message of the server; those about other runs are ignored."""
        mine = message.id == self.request_id
        match message:
            case AnalysisStarted() if mine:
                self._started, self._outcomes = message, {}
            case AnalysisStarted():
                self.notice(message.run_id)
            case ReceivedResult() | MetricFailure() if mine:
                self._outcomes[message.metric] = message
            case AnalysisCompleted() if mine:
                self._complete(message)
            case AnalysisFailed() | Error() if mine:
                self.end(RunFailed.of(message))
            case AnalysisCancelled() if mine or (
                isinstance(message.id, int) and message.id > self.request_id
            ):
                if message.reason != RESTARTED:
                    self.end(RunCancelled(self.ticker, message.reason))
            case _:
                return

    def notice(self, run_id: int) -> None:
        """Another client's run has started: the newest analysis of a session wins."""
        if self._started is not None and run_id > self._started.run_id:
            self.end(RunCancelled(self.ticker, "superseded"))

    def end(self, failure: ClientError | None = None) -> None:
        """End the runs."""
        if not self.ended:
            self.ended, self._failure = True, failure
            self._news.unpark_all()

    def _complete(self, message: AnalysisCompleted) -> None:
        if self._started is not None and message.run_id == self._started.run_id:
            self._newest = FollowedRun(self._started, dict(self._outcomes))
            self._news.unpark_all()
        if not message.following:
            self.end()
