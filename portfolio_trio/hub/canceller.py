"""A socket that cancels a run: the end of that run is its answer, at its position among the events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.protocol.messages import AnalysisCancelled

if TYPE_CHECKING:
    from portfolio_trio.hub.members import SessionSubscriber
    from portfolio_trio.hub.ordered_event import OrderedEvent
    from portfolio_trio.hub.subscribers import Subscribers


@dataclass(eq=False, slots=True)
class Canceller:
    """One request to cancel.

    Attributes:
        subscriber: The socket.
        request_id: The id that its answer echoes.
        answered: The end of the run has been queued for it as its answer, or waits to be queued.
    """

    subscriber: SessionSubscriber
    request_id: str | int | None = None
    answered: bool = False

    def answer_with(self, event: OrderedEvent, subscribers: Subscribers) -> OrderedEvent:
        """The event with its answer, if this is the end that it asked for, and the socket gets events."""
        message = event.message
        if self.answered or self.subscriber not in subscribers:
            return event
        if not isinstance(message, AnalysisCancelled) or message.reason != EndReason.CANCELLED:
            return event
        self.answered = True
        return replace(event, exclude=self.subscriber, answer=message.echo(self.request_id).to_json())
