"""One session's link to the other workers: its known state there, and the events sent to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from portfolio_trio.hub.events import PeerEvent
from portfolio_trio.hub.remote_run import RemoteState
from portfolio_trio.protocol.messages import AnalysisCompleted, MetricFailure, Portfolio
from portfolio_trio.protocol.results import ComputedResult

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from portfolio_trio.hub.events import SessionEvent
    from portfolio_trio.protocol.messages import AnalysisCancelled, AnalysisFailed, Running
    from portfolio_trio.store import RunStart


class PeerSender(Protocol):
    """Sends events to the other workers."""

    @property
    def me(self) -> str:
        """The name of this worker."""

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        """Queue an event for some workers; never waits."""

    def forget(self, worker: str) -> None:
        """Drop everything that waits for a lost worker."""

    def is_unreachable(self, worker: str) -> bool:
        """Whether the last batch for a worker was given up, because nobody received it."""


class PeerLink:
    """Sends the events of one session to the workers that have sockets of it, and knows those workers.

    Attributes:
        incarnation: The known document of the session; empty before the first.
        remote: The known state of the session on other workers.
        told: The last reported end of a run of this worker; None if none was in this document.
    """

    __slots__ = ("_sender", "_session_id", "incarnation", "remote", "told")

    def __init__(self, session_id: str, sender: PeerSender) -> None:
        self._session_id = session_id
        self._sender = sender
        self.incarnation = ""
        self.remote = RemoteState()
        self.told: AnalysisCancelled | AnalysisFailed | None = None

    @property
    def me(self) -> str:
        """The name of this worker."""
        return self._sender.me

    @property
    def are_unreachable(self) -> bool:
        """Whether there are other workers, and none of them receives anything: no report will come."""
        return bool(self.others) and all(map(self._sender.is_unreachable, self.others))

    @property
    def others(self) -> tuple[str, ...]:
        """The other workers that have sockets of the session."""
        return self.remote.others

    def begin_anew(self, incarnation: str, others: tuple[str, ...]) -> None:
        """Another document replaced the known one; it lists these other workers."""
        # Workers that it does not list would not learn of it otherwise.
        unnamed = [worker for worker in self.others if worker not in others]
        self._sender.send(unnamed, PeerEvent(session_id=self._session_id, kind="look"))
        self.incarnation, self.remote = incarnation, RemoteState()
        self.told = None

    def set_peers(self, others: tuple[str, ...]) -> None:
        """Update the list of other workers with sockets of the session, from the store."""
        self.remote.others = others

    def set_peers_at_start(self, start: RunStart) -> None:
        """The same, from the reply to the start of a run, which replaced another in the document."""
        if self.told is not None and self.told.run_id == start.replaced:
            # It was in the document until now: new workers have read it there, and may have missed its end.
            self.set_peers_late(start.others, self.told)
        else:
            self.set_peers(start.others)

    def set_peers_late(
        self, others: tuple[str, ...], told: AnalysisCancelled | AnalysisFailed | None = None
    ) -> None:
        """The same; a new worker may have missed the end of a run, ``told`` just before."""
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

    def remove_peers(self, lost: Collection[str]) -> None:
        """Workers are lost; if one is not, the next reply of the store lists it."""
        self.set_peers(tuple(worker for worker in self.others if worker not in lost))

    def add_peer(self, worker: str) -> None:
        """Another worker sent an event of the session, so it needs the session's events as well."""
        if worker not in self.others:
            self.set_peers((*self.others, worker))

    def send_claim(self, ticker: str, start: RunStart) -> None:
        """A run of this worker has its number, and replaced another."""
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
        """Send an event that the sockets here see: a state, or an event of a run."""
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
