"""One socket, as the hub knows it: what it is sent, and the run it has asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.run_state import EndReason, Run
    from portfolio_trio.protocol.messages import AnalysisCancelled, Message
    from portfolio_trio.protocol.results import ComputedResult


class SessionSubscriber(Protocol):
    """What a socket is sent."""

    @property
    def receives_events(self) -> bool:
        """Whether the socket speaks the subprotocol."""

    def enqueue(self, frame: str, run: Run | None = None) -> None:
        """Queue an event of the session; a socket without the subprotocol ignores it."""

    def enqueue_latest(self, frame: str) -> None:
        """Queue an event in place of the latest one that still waits."""

    def answer(self, message: Message | ComputedResult, run: Run | None = None) -> None:
        """Queue what the socket gets whether or not it speaks the subprotocol."""

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits to be sent."""


class SessionRunner(Protocol):
    """The run of a socket: at most one."""

    @property
    def running(self) -> int | None:
        """The number of the run, if it is open and has one."""

    async def stop(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """End the run and wait until its task has ended; return its last event, if it was open.

        All sockets see that event, whatever becomes of the caller, and a canceller as its answer.
        """

    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        """End the run as `stop` does, if this is its number or was before it was started again."""

    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        """End the run, if its number is below this one, and wait until its task has ended.

        With ``standing``, the run whose place the newer one took, another has ended in the document before:
        its last results are on their way.
        """

    def renew(self, version: int, standing: int | None = None) -> None:
        """Start the run again if it works on an older version; ``standing`` as for `supersede`."""

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start the run again if prices have moved its portfolio further than the tolerance."""

    async def clear(self) -> None:
        """Say in the document that the last run is over, if it may still stand there as current.

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
