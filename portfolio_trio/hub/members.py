"""One socket, as the hub uses it: its outgoing messages, and its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from portfolio_trio.hub.ordered_event import EventSubscriber

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.run_state import EndReason, Run
    from portfolio_trio.protocol.messages import AnalysisCancelled, Message
    from portfolio_trio.protocol.results import ComputedResult


class SessionSubscriber(EventSubscriber, Protocol):
    """What a socket is sent; one without the subprotocol ignores events."""

    @property
    def receives_events(self) -> bool:
        """Whether the socket uses the subprotocol."""

    def answer(self, *messages: Message | ComputedResult, run: Run | None = None) -> None:
        """Queue messages that the socket gets with or without the subprotocol."""

    def drop(self, run: Run) -> None:
        """Drop the frames of ``run`` that still wait to be sent."""


class SessionRunner(Protocol):
    """The run of a socket: at most one."""

    @property
    def running(self) -> int | None:
        """The number of the run, if it is open and has one."""

    async def stop(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """End the run and wait until its task has ended; return its last event, if it was open.

        All sockets see that event, even if the caller is cancelled; the canceller gets it as its answer.
        """

    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        """End the run as `stop` does, if this is its number, or was before a restart."""

    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        """End the run if its number is below this one, and wait until its task has ended.

        ``standing`` is the run that the newer one replaced; any other run had ended in the document before,
        and its last results are on their way.
        """

    def renew(self, version: int, standing: int | None = None) -> None:
        """Restart the run if it works on an older version; ``standing`` as for `supersede`."""

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Restart the run if prices have moved its portfolio by more than the tolerance."""

    async def clear(self) -> None:
        """Record in the document that the last run is over, if it may still be current there.

        Raises:
            StoreError: The store refused or could not be reached.
        """


class Member(Protocol):
    """A socket of a session."""

    @property
    def subscriber(self) -> SessionSubscriber:
        """What it is sent."""

    @property
    def runner(self) -> SessionRunner:
        """Its run."""

    def fail(self) -> None:
        """End the socket with 1011; cannot fail itself."""
