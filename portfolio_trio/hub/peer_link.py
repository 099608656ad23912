"""One session's link to the other workers: what is known of its life there, and what they are sent of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from portfolio_trio.hub.events import PeerEvent
from portfolio_trio.hub.remote_run import RemoteState
from portfolio_trio.protocol.messages import AnalysisCompleted, MetricFailure, Portfolio
from portfolio_trio.protocol.results import ComputedResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portfolio_trio.hub.events import SessionEvent
    from portfolio_trio.protocol.messages import AnalysisCancelled, AnalysisFailed, Running
    from portfolio_trio.store import RunStart


class PeerSender(Protocol):
    """The way to the other workers."""

    @property
    def me(self) -> str:
        """The name of this worker."""

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        """Queue an event for some workers; never waits."""

    def forget(self, worker: str) -> None:
        """A worker is lost: nothing waits for it any more."""


class PeerLink:
    """Sends what happens in one session to the workers that have sockets of it, and knows which those are.

    Attributes:
        incarnation: Which document of the session is known; empty before the first.
        remote: What is known of the session's life on other workers.
    """

    def __init__(self, session_id: str, sender: PeerSender) -> None:
        self._session_id = session_id
        self._sender = sender
        self.incarnation = ""
        self.remote = RemoteState()

    @property
    def me(self) -> str:
        """The name of this worker."""
        return self._sender.me

    @property
    def others(self) -> tuple[str, ...]:
        """The other workers that have sockets of the session."""
        return self.remote.others

    def begin_anew(self, incarnation: str, others: tuple[str, ...]) -> None:
        """Another document took the place of the known one; it names these other workers."""
        # Whom it does not name will not hear of it otherwise.
        unnamed = [worker for worker in self.others if worker not in others]
        self._sender.send(unnamed, PeerEvent(session_id=self._session_id, kind="look"))
        self.incarnation, self.remote = incarnation, RemoteState()

    def set_peers(self, others: tuple[str, ...]) -> None:
        """Take from the store which other workers have sockets of the session."""
        self.remote.others = others

    def set_peers_late(
        self, others: tuple[str, ...], told: AnalysisCancelled | AnalysisFailed | None = None
    ) -> None:
        """The same, where a worker that is new may have missed the end of a run, ``told`` just before."""
        strangers = [worker for worker in others if worker not in self.others]
        self.set_peers(others)
        peer_event = PeerEvent(session_id=self._session_id, kind="look")
        if told is not None:
            peer_event = PeerEvent(
                session_id=self._session_id,
                kind=told.type,
                run_id=told.run_id,
                incarnation=self.incarnation,
                frame=told.to_json(),
            )
        self._sender.send(strangers, peer_event)

    def add_peer(self, worker: str) -> None:
        """Another worker speaks of the session: it wants to hear of it, too."""
        if worker not in self.others:
            self.set_peers((*self.others, worker))

    def send_claim(self, ticker: str, start: RunStart) -> None:
        """A run of this worker has its number, and took the place of another."""
        if self.others:
            peer_event = PeerEvent(
                session_id=self._session_id,
                kind="claim",
                run_id=start.run_id,
                version=start.version,
                ticker=ticker,
                replaced=start.replaced,
                incarnation=self.incarnation,
            )
            self._sender.send(self.others, peer_event)

    def send_cancel(self, run_id: int) -> None:
        """A socket here cancels a run of another worker."""
        peer_event = PeerEvent(
            session_id=self._session_id, kind="cancel", run_id=run_id, incarnation=self.incarnation
        )
        self._sender.send(self.others, peer_event)

    def send(
        self,
        event: SessionEvent,
        frame: str,
        running: Running | None = None,
        *,
        has_fallen: bool = False,
    ) -> None:
        """Send what the sockets here see: a state, or what happened to a run."""
        if self.others:
            peer_event = PeerEvent(
                session_id=self._session_id,
                kind=event.type,
                run_id=None if isinstance(event, Portfolio) else event.run_id,
                version=event.version if isinstance(event, Portfolio) else None,
                running=running,
                metric=event.metric if isinstance(event, ComputedResult | MetricFailure) else "",
                outcomes=event.results + event.errors if isinstance(event, AnalysisCompleted) else 0,
                frame=frame,
                has_fallen=has_fallen,
                incarnation=self.incarnation,
            )
            self._sender.send(self.others, peer_event)
