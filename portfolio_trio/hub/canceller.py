"""A socket that cancels a run: the end of that run is its answer, at its position among the events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portfolio_trio.hub.members import SessionSubscriber


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
