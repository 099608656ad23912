"""The sockets of one session: who they are, what they are shown, and what is known for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.hub.error_messages import explain
from portfolio_trio.hub.known_document import KnownDocument
from portfolio_trio.hub.local_runs import LocalRuns
from portfolio_trio.hub.ordered_event import EVENT_KINDS, OrderedEvent
from portfolio_trio.hub.peer_link import PeerLink
from portfolio_trio.hub.remote_events import RemoteEvents
from portfolio_trio.hub.sequencer import EventSequencer
from portfolio_trio.locks import Turn
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisFailed,
    MetricFailure,
    Portfolio,
    Running,
)
from portfolio_trio.protocol.results import ComputedResult
from portfolio_trio.store import SessionMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import trio

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import SessionEvent
    from portfolio_trio.hub.members import Member, SessionSubscriber
    from portfolio_trio.hub.ordered_event import EventSubscriber
    from portfolio_trio.hub.peer_link import PeerSender
    from portfolio_trio.hub.remote_run import RemoteState
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.protocol.messages import PortfolioUpdate


class SessionGroup:
    """The sockets of one session.

    Attributes:
        session_id: The session.
        start_lock: Held while one socket ends the runs of the others and starts its own.
        runs: The runs of the sockets here.
        peers: The link to the other workers.
        sequencer: What the sockets have been shown, and what may follow.
        document: What is known of the session's document.
        remote_events: Shows the sockets what other workers, or the document, tell of runs.
    """

    __slots__ = (
        "_changed",
        "_faults",
        "_members",
        "_on_hold",
        "document",
        "peers",
        "remote_events",
        "runs",
        "sequencer",
        "session_id",
        "start_lock",
    )

    def __init__(
        self,
        session_id: str,
        sender: PeerSender,
        changed: trio.lowlevel.ParkingLot,
        faults: Faults,
        on_hold: Callable[[SessionGroup], None],
    ) -> None:
        self.session_id = session_id
        self.start_lock = Turn()
        # In the order of arrival, so that events are sent in the same order each time.
        self._members: dict[EventSubscriber, Member] = {}
        self.runs = LocalRuns(session_id, self._members.values(), faults)
        self.peers = PeerLink(session_id, sender)
        self.sequencer = EventSequencer(self._alone)
        self.document = KnownDocument(session_id, self.peers, self.sequencer, self.runs)
        self.remote_events = RemoteEvents(self)
        self._changed = changed
        self._faults = faults
        self._on_hold = on_hold

    def add(self, member: Member) -> None:
        """Count a socket among those of the session, until it is removed."""
        self._members[member.subscriber] = member

    def remove(self, member: Member) -> None:
        """Remove a socket."""
        del self._members[member.subscriber]
        self.sequencer.subscribers.remove(member.subscriber)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every socket of the session."""
        return tuple(self._members.values())

    @property
    def incarnation(self) -> str:
        """The known document of the session; empty before the first."""
        return self.peers.incarnation

    @property
    def remote(self) -> RemoteState:
        """The known state of the session on other workers."""
        return self.peers.remote

    def fail(self) -> None:
        """Close every socket of the session here with 1011: what they were shown may be wrong."""
        for member in self.members:
            member.fail()

    def _alone(self, subscriber: EventSubscriber) -> AbstractContextManager[None]:
        """The boundary between one socket and an operation on all: a fault ends only that socket."""
        return self._faults.contained("a subscriber", instead=self._members[subscriber].fail)

    # --- what the sockets are shown ---

    def answer(
        self, subscriber: SessionSubscriber, state: Portfolio, request_id: str | int | None = None
    ) -> None:
        """Show a socket the state, or a newer one if known; if it gets events, they follow."""
        if subscriber in self.sequencer.subscribers:
            event = OrderedEvent("portfolio", state=state, requester=subscriber, request_id=request_id)
            self.broadcast(event)
        elif subscriber.receives_events:
            self.sequencer.subscribe(subscriber, state, request_id)
        else:
            subscriber.answer(self.sequencer.answer(state, request_id))

    def lift(self, state: Portfolio) -> None:
        """A document that had fallen back has new numbers: show it to all, here and on the other workers."""
        self.broadcast_state(state)
        self.peers.send(state, state.to_json(), has_fallen=True)

    def change(self, subscriber: SessionSubscriber, state: Portfolio, request_id: str | int | None) -> None:
        """A socket has changed the holdings: show that to all, here and on the other workers."""
        self.answer(subscriber, state, request_id)
        self.broadcast_state(state)
        self.peers.send(state, state.to_json())

    def broadcast_state(
        self, state: Portfolio, *, adopts: Running | None = None, again: bool = False
    ) -> None:
        """Show a state to every socket of this worker, unless it has seen it (or ``again``) or a newer one.

        ``adopts`` is a run of another worker whose start was not seen.
        """
        self.broadcast(OrderedEvent("portfolio", state=state, adopts=adopts, again=again))

    def publish(
        self,
        event: SessionEvent,
        *,
        requester: SessionSubscriber | None = None,
        request_id: str | int | None = None,
        run: Run | None = None,
        running: Running | None = None,
        canceller: Canceller | None = None,
        incarnation: str = "",
    ) -> None:
        """Show an event of a run of this worker to every socket, here and on the other workers.

        Args:
            event: The event.
            requester: The socket that asked for the run.
            request_id: The id that its frame echoes.
            run: The run with which the frames can be dropped while they wait.
            running: For a start: the run.
            canceller: For an end: the canceller that asked for it, and is answered with it.
            incarnation: Of the document that the run belongs to.
        """
        if isinstance(event, Portfolio):
            raise TypeError("states are shown by `change` and `broadcast_state`")
        own = "" if requester is None or not requester.receives_events else event.echo(request_id).to_json()
        if incarnation != self.incarnation:
            # Its number now means another run, but the requester waits for its end.
            if requester is not None and own:
                requester.enqueue(own)
            return
        if isinstance(event, AnalysisCancelled | AnalysisFailed):
            self.peers.told = event
        ordered = OrderedEvent(
            EVENT_KINDS[event.type],
            run_id=event.run_id,
            run=run,
            running=running,
            metric=event.metric if isinstance(event, ComputedResult | MetricFailure) else "",
            requester=requester,
            own=own,
            message=event,
        )
        self.broadcast(ordered, canceller)
        if self.peers.others:
            self.peers.send(event, ordered.frame(), running)

    def pass_unseen(self, run_id: int) -> bool:
        """Record a run as over, if no socket has seen or would see it; returns whether that is so."""
        if self.peers.others or self.has_subscribers or not self.sequencer.skip(run_id):
            return False
        self._tell_changed()
        return True

    def expire(self) -> None:
        """The document is gone: tell the sockets that get events; the next request creates another."""
        self.sequencer.subscribers.tell_expired(explain(SessionMissing(self.session_id)).to_json())

    def update(self, update: PortfolioUpdate, version: int) -> None:
        """Show every socket the value, at a tick, of the holdings of a version."""
        if self.has_subscribers:
            tick_id = update.tick_id
            self.broadcast(
                OrderedEvent("portfolio_update", update.to_json(), version=version, tick_id=tick_id)
            )

    def broadcast(self, event: OrderedEvent, canceller: Canceller | None = None) -> None:
        """Show an event to the sockets here, in its turn; if ``canceller`` asked for it, it is its answer."""
        if canceller is not None:
            event = canceller.answer_with(event, self.sequencer.subscribers)
        waits = self.sequencer.awaited
        self.sequencer.publish(event)
        if self.sequencer.awaited not in {None, waits}:
            self._on_hold(self)
        self._tell_changed()

    def _tell_changed(self) -> None:
        if self._changed:
            self._changed.unpark_all()

    async def wait_remote_idle(self) -> None:
        """Wait until no run is open on another worker, as far as is known."""
        while self.remote.run is not None:
            await self._changed.park()

    async def wait_ended(self, run_id: int) -> None:
        """Wait until the sockets have seen the end of a run, if they have seen its start."""
        while self.sequencer.is_open(run_id):
            await self._changed.park()

    async def wait_over(self, run_id: int) -> None:
        """Wait until the sockets have seen the end of a run, whose start they may not have seen yet."""
        while not self.sequencer.is_over(run_id):
            await self._changed.park()

    @property
    def has_subscribers(self) -> bool:
        """Whether any socket of the session gets events."""
        return any(member.subscriber.receives_events for member in self._members.values())

    def drop(self, run: Run) -> None:
        """Drop the waiting frames of ``run`` on every socket."""
        self.sequencer.drop(run)
        for member in self.members:
            with self._alone(member.subscriber):
                member.subscriber.drop(run)

    def end_remote_follow(self) -> None:
        """A cancel when nothing is running: the worker that follows the newest run ends the following."""
        if self.peers.others and self.document.known.run_id:
            self.peers.send_cancel(self.document.known.run_id)
