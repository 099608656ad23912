"""The state of the client, and which caller waits for which answer: decisions only, no I/O, no clock."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from portfolio_trio.client._calls import Call
from portfolio_trio.client._errors import Disconnected, RunCancelled
from portfolio_trio.client._events import ConnectionLost, EventQueue
from portfolio_trio.protocol.decisions import Decision
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    Error,
    Portfolio,
    PortfolioUpdate,
    Results,
    Running,
    Valued,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.client._analysis import Analysis
    from portfolio_trio.client._calls import Frame
    from portfolio_trio.client._errors import Ending
    from portfolio_trio.client._following import Following
    from portfolio_trio.protocol.events import ServerMessage, Unknown

_ENDS = (AnalysisCompleted, AnalysisFailed, AnalysisCancelled)


class Dispatcher:
    """Routes messages: answers to their callers, outcomes to the analysis, everything to the events.

    Attributes:
        state: The newest state of the session; set once the first connection is up.
        values: Value of each holding at the tick of `state`, as far as the server sent it.
        running: The run of the session that has started but not ended.
        events: The events that wait for the loops over them.
        analysis: The latest analysis of this client that has not been left.
    """

    def __init__(self, max_events: int) -> None:
        self.state: Portfolio
        self.values: Mapping[str, float] = {}
        self.running: AnalysisStarted | Running | None = None
        self.events = EventQueue(max_events)
        self.analysis: Analysis | Following | None = None
        self._calls: dict[int, Call] = {}
        self._ids = count(1)

    def new_id(self) -> int:
        """An id that no request of this client had before, on any connection."""
        return next(self._ids)

    def begin_call(self, request_id: int, frame: Frame) -> Call:
        """Expect an answer."""
        call = self._calls[request_id] = Call(frame)
        return call

    def forget_call(self, request_id: int) -> None:
        """Stop expecting the answer."""
        del self._calls[request_id]

    def begin_analysis(self, analysis: Analysis | Following) -> None:
        """Expect outcomes; a previous analysis is over, because the server ends it first."""
        if self.analysis is not None:
            self.analysis.end(RunCancelled(self.analysis.ticker, "switched"))
        if self.running is not None:
            analysis.notice(self.running.run_id)
        self.analysis = analysis

    def leave_analysis(self, analysis: Analysis | Following) -> bool:
        """Stop expecting outcomes; return whether its run may still be going on."""
        if self.analysis is analysis:
            self.analysis = None
        return not analysis.ended

    def take(self, message: ServerMessage | Unknown) -> None:
        """Follow one message of the server."""
        self._follow(message)
        if isinstance(message.id, int) and message.id in self._calls:
            self._calls[message.id].settle(message)
        if self.analysis is not None:
            self.analysis.take(message)
        # Bare answers go only to their callers.
        if not (
            isinstance(message, Results | Decision) or (isinstance(message, Error) and message.id is not None)
        ):
            self.events.put(message)

    def lose(self, ending: Ending, retry_in: float) -> None:
        """The connection is gone and will be opened again."""
        self._fail_all(ending)
        self.events.put(ConnectionLost(ending.detail, ending.code, retry_in))

    def close(self, ending: Ending, *, own: bool) -> None:
        """There will be no more connections; ``own`` if the user wanted that."""
        self._fail_all(ending)
        self.events.close(None if own else ending)

    def _fail_all(self, ending: Ending) -> None:
        self.running = None
        for call in self._calls.values():
            call.fail(Disconnected(ending, sent=call.frame.sent))
        if self.analysis is not None:
            self.analysis.end(Disconnected(ending, sent=self.analysis.frame.sent))

    def _follow(self, message: ServerMessage | Unknown) -> None:
        """Keep the state up to date."""
        match message:
            case Portfolio():
                self._replace(message.model_copy(update={"id": None}))
            case PortfolioUpdate():
                valued = Valued(tick_id=message.tick_id, as_of=message.as_of)
                values = message.values
                update = {"total_value": message.total_value, "valued": valued, "values": values}
                self.state, self.values = self.state.model_copy(update=update), values
            case AnalysisStarted():
                self.running = message
            case _ if isinstance(message, _ENDS):
                if self.running is not None and self.running.run_id == message.run_id:
                    self.running = None

    def _replace(self, state: Portfolio) -> None:
        # Values of other holdings, or of another tick, do not fit the state.
        self.state, self.values = state, state.values or {}
        self.running = state.current_analysis
