"""An event, as the sockets of one session are shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.hub.events import Kind, SessionEvent
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.protocol.messages import Portfolio, Running

OrderedEventKind = Literal["portfolio", "portfolio_update", "started", "outcome", "end"]

EVENT_KINDS: Final[Mapping[Kind, OrderedEventKind]] = {
    "analysis_started": "started",
    "analysis_result": "outcome",
    "metric_error": "outcome",
    "analysis_completed": "end",
    "analysis_cancelled": "end",
    "analysis_failed": "end",
}


class EventSubscriber(Protocol):
    """A socket that gets events, as the sequencer uses it."""

    def enqueue(self, frame: str, run: Run | None = None) -> None:
        """Queue an event; it can be dropped with ``run``, if one is given."""

    def enqueue_latest(self, frame: str) -> None:
        """Queue an event, replacing the latest one that still waits."""


@dataclass(slots=True, eq=False)
class OrderedEvent:
    """One event.

    It is never modified; it is not frozen, because a frozen one takes three times as long to create.

    Attributes:
        kind: The kind of event.
        text: The frame for sockets other than the requester; a state is written for each socket.
        message: The message from which the frame is made when it is first needed, if there is no text.
        run_id: The run it concerns.
        run: The run with which it can be dropped while it waits.
        running: For a start: the run.
        metric: For an outcome: its metric; empty if unknown.
        state: For ``portfolio``: the document as it was at some moment.
        adopts: For ``portfolio``: the run in it counts as started.
        again: For ``portfolio``: events may have been missed, so show it again to sockets that have seen it.
        version: For ``portfolio_update``: the version of the holdings that it values.
        tick_id: For ``portfolio_update``: the tick.
        outcomes: For an end: how many results and errors came before it, if a batch of them may be lost. The
            end waits for them, or for those that the document has.
        requester: The socket that asked, and gets ``own`` instead of ``text``, or a state with
            ``request_id``.
        own: The frame for the requester.
        request_id: The requester's id.
        exclude: A socket that is informed in another way.
        answer: The frame for that socket, at the position of the event.
    """

    kind: OrderedEventKind
    text: str = ""
    run_id: int | None = None
    run: Run | None = None
    running: Running | None = None
    metric: str = ""
    state: Portfolio | None = None
    adopts: Running | None = None
    again: bool = False
    version: int = 0
    tick_id: int = 0
    outcomes: int = 0
    requester: EventSubscriber | None = None
    own: str = ""
    request_id: str | int | None = None
    exclude: EventSubscriber | None = None
    answer: str = ""
    message: SessionEvent | None = None

    def text_for(self, subscriber: EventSubscriber) -> str:
        """The frame for a socket."""
        return self.own if subscriber is self.requester else self.frame()

    def frame(self) -> str:
        """The frame for sockets other than the requester, made only once."""
        if not self.text and self.message is not None:
            self.text = self.message.to_json()
        return self.text
