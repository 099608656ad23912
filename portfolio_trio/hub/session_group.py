"""The sockets of one session: what they are shown, and to which document of the session it belongs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic_core import to_json

from portfolio_trio.hub.endings import message_of
from portfolio_trio.hub.error_messages import explain
from portfolio_trio.hub.local_runs import LocalRuns
from portfolio_trio.hub.peer_link import PeerLink
from portfolio_trio.hub.run_state import EndReason, Run
from portfolio_trio.hub.sequencer import EventSequencer, OrderedEvent
from portfolio_trio.locks import Turn
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisFailed,
    MetricFailure,
    Portfolio,
    Running,
)
from portfolio_trio.protocol.results import ComputedResult
from portfolio_trio.store import FellBack, Known, PortfolioChanged, RunSuperseded, SessionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    import trio

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import Kind, PeerEvent, SessionEvent
    from portfolio_trio.hub.members import Member, SessionSubscriber
    from portfolio_trio.hub.peer_link import PeerSender
    from portfolio_trio.hub.remote_run import RemoteState
    from portfolio_trio.hub.sequencer import EventSubscriber, OrderedEventKind
    from portfolio_trio.protocol.messages import PortfolioUpdate
    from portfolio_trio.store import Ending, Head, RunStart
    from portfolio_trio.store import Portfolio as State

_EVENT_KINDS: Mapping[Kind, OrderedEventKind] = {
    "analysis_started": "started",
    "analysis_result": "outcome",
    "metric_error": "outcome",
    "analysis_completed": "end",
    "analysis_cancelled": "end",
    "analysis_failed": "end",
}


class SessionGroup:
    """The sockets of one session.

    Attributes:
        session_id: The session.
        start_lock: Held while one socket ends the runs of the others and starts its own.
        runs: The runs of the sockets here.
        peers: The link to the other workers.
        sequencer: What the sockets have been shown, and what may follow.
        attached: The document lists this worker among those that have sockets of the session.
    """

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
        self.attached = False
        self._changed = changed
        self._faults = faults
        self._on_hold = on_hold
        self._cancelling: dict[int, Canceller] = {}
        self._head: Head | None = None
        self._told: AnalysisCancelled | AnalysisFailed | None = None
        # Represents the newest remote run, so that its waiting frames can be dropped.
        self._remote_run: Run | None = None

    def add(self, member: Member) -> None:
        """Count a socket among those of the session, until it is removed."""
        self._members[member.subscriber] = member

    def remove(self, member: Member) -> None:
        """Remove a socket."""
        del self._members[member.subscriber]
        self.sequencer.leave(member.subscriber)

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
        if self.sequencer.is_subscribed(subscriber):
            self._publish(OrderedEvent("portfolio", state=state, requester=subscriber, request_id=request_id))
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
        self._publish(OrderedEvent("portfolio", state=state, adopts=adopts, again=again))

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
            self._told = event
        ordered = OrderedEvent(
            _EVENT_KINDS[event.type],
            run_id=event.run_id,
            run=run,
            running=running,
            metric=event.metric if isinstance(event, ComputedResult | MetricFailure) else "",
            requester=requester,
            own=own,
            message=event,
        )
        self._publish(self._answering(ordered, event, canceller))
        if self.peers.others:
            self.peers.send(event, ordered.frame(), running)

    def pass_unseen(self, run_id: int) -> bool:
        """Record a run as over, if no socket has seen or would see it; returns whether that is so."""
        if self.peers.others or self.has_subscribers or not self.sequencer.skip(run_id):
            return False
        self._tell_changed()
        return True

    def broadcast_peer_event(self, peer_event: PeerEvent) -> None:
        """Show an event of another worker's run to every socket of this worker."""
        if peer_event.run_id is not None and peer_event.run_id == self.runs.running:
            # Its number was assigned twice, by a document that fell back: this concerns another run.
            return
        if self._remote_run is None or self._remote_run.run_id != peer_event.run_id:
            self._remote_run = Run("", run_id=peer_event.run_id)
        run = self._remote_run
        if peer_event.kind == "analysis_cancelled":
            self.drop(run)
        event = OrderedEvent(
            _EVENT_KINDS[peer_event.kind],
            peer_event.frame,
            peer_event.run_id,
            run=run,
            running=peer_event.running,
            metric=peer_event.metric,
            outcomes=peer_event.outcomes,
        )
        canceller = self._cancelling.get(peer_event.run_id or 0)
        if canceller is not None and peer_event.kind == "analysis_cancelled":
            message = AnalysisCancelled.model_validate_json(peer_event.frame)
            event = self._answering(event, message, canceller)
        self._publish(event)

    def _answering(
        self, event: OrderedEvent, message: SessionEvent, canceller: Canceller | None
    ) -> OrderedEvent:
        """The canceller that this end answers, if it asked for it and gets events."""
        if canceller is None or canceller.answered or not self.sequencer.is_subscribed(canceller.subscriber):
            return event
        if not isinstance(message, AnalysisCancelled) or message.reason != EndReason.CANCELLED:
            return event
        canceller.answered = True
        answer = message.echo(canceller.request_id).to_json()
        return replace(event, exclude=canceller.subscriber, answer=answer)

    def update(self, update: PortfolioUpdate, version: int) -> None:
        """Show every socket the value, at a tick, of the holdings of a version."""
        if self.has_subscribers:
            tick_id = update.tick_id
            self._publish(
                OrderedEvent("portfolio_update", update.to_json(), version=version, tick_id=tick_id)
            )

    def _publish(self, event: OrderedEvent) -> None:
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
        while self.sequencer.open is not None and self.sequencer.open.run_id == run_id:
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

    @property
    def running(self) -> int | None:
        """The open run, here or on another worker, if it is known and has its number."""
        remote = None if self.remote.run is None else self.remote.run.run_id
        return self.runs.running or remote

    # --- the document ---

    def enter(self, state: State, since: str = "") -> bool:
        """Record the state of the session in the store, when attaching to it.

        Args:
            state: The state.
            since: The incarnation that was known when the state was requested.

        Returns:
            Whether it is the state of the session. If not, another document has become known meanwhile, and
            it is not known which of the two is newer: request it again.
        """
        if state.incarnation != self.incarnation:
            if since != self.incarnation:
                return False
            # It was requested when the other one was known, so it replaced that one.
            self._begin_anew(state)
        first, self.attached = not self.attached, True
        self.peers.set_peers(state.others)
        self.remote.counter = max(self.remote.counter, state.run_counter)
        self.update_version(state.version)
        self.learn(state.head)
        current = state.current_analysis
        if current is None or current.worker == self.peers.me or self.runs.running is not None:
            # A run of this worker is not over before its task has ended; its own event will show that.
            return True
        # A run that is no longer open here but still in the document is about to be cleared by its worker.
        self.remote.follow(current.run_id, current.ticker, current.version, current.worker)
        if first and current.version >= state.version:
            # No socket here has seen it start: new subscribers will know it from their first state.
            self.sequencer.adopt(Running.model_validate(current, from_attributes=True))
        return True

    def _begin_anew(self, state: State) -> None:
        """The session has expired, and this document replaced it."""
        first = not self.incarnation
        self.peers.begin_anew(state.incarnation, state.others)
        if not first:
            self.attached = False
            self._head = None
            self._cancelling.clear()
            self.sequencer.begin_anew(explain(SessionMissing(self.session_id)).to_json())

    @property
    def known(self) -> Known:
        """The highest numbers that any socket here may have been shown."""
        remote, sequencer = self.remote, self.sequencer
        version = 0 if sequencer.newest is None else sequencer.newest.version
        run_id = max(remote.newest, remote.counter, sequencer.last)
        return Known(self.incarnation, run_id, max(remote.version, version))

    def contradicts(self, version: int, holdings: Mapping[str, float]) -> bool:
        """Whether other holdings with this version have been shown: the document fell back and continued."""
        newest = self.sequencer.newest
        return newest is not None and newest.version == version and newest.holdings != holdings

    @property
    def head(self) -> Head | None:
        """The portfolio in the document, unless something newer is known."""
        head = self._head
        return head if head is not None and head.version >= self.known.version else None

    def learn(self, head: Head) -> None:
        """Record the portfolio from a reply."""
        if self._head is None or self._head.version <= head.version:
            self._head = head

    def update_version(self, version: int) -> None:
        """Record the version of the holdings; a remote run on an older one is over."""
        self.remote.outdate(version)

    def claim(self, ticker: str, start: RunStart, incarnation: str) -> None:
        """A run of a socket has its number and its holdings; any run on other workers is over because of it.

        Args:
            ticker: The run's ticker.
            start: The store's reply to its start.
            incarnation: Of the document.

        Raises:
            SessionMissing: It is a run of a document that has been replaced.
            RunSuperseded: A run with a higher number is known.
            PortfolioChanged: Newer holdings are known.
            FellBack: A run of another worker has this number.
        """
        told = self._told
        if told is not None and told.run_id == start.replaced:
            # It was in the document until now: new workers have read it there, and may have missed its end.
            self.peers.set_peers_late(start.others, told)
        else:
            self.peers.set_peers(start.others)
        remote, run_id, version = self.remote, start.run_id, start.version
        if incarnation != self.incarnation:
            raise SessionMissing(self.session_id)
        if run_id < remote.newest:
            raise RunSuperseded(self.session_id, remote.newest)
        if run_id == remote.newest:
            raise FellBack(self.session_id, self.known)
        # The worker that ran it reports its end; later events wait for that.
        remote.claim(run_id)
        self.peers.send_claim(ticker, start)
        self.learn(start.head)
        if version < remote.version:
            raise PortfolioChanged(self.session_id, remote.version)

    def lacks_outcomes(self, ending: Ending) -> bool:
        """Whether a run has completed with more results and errors than the sockets have been shown."""
        return self.sequencer.lacks(ending.results + ending.errors)

    def show_recorded(self, run_id: int, results: Iterable[Mapping[str, Any]]) -> None:
        """Show the sockets the open run's results from the document, except those they have seen.

        Args:
            run_id: The run; nothing is shown if it is no longer open.
            results: As they were sent, without their envelopes.
        """
        for result in results:
            metric, open_run = str(result["metric"]), self.sequencer.open
            if open_run is not None and open_run.run_id == run_id and metric not in self.sequencer.outcomes:
                frame = to_json({"type": "analysis_result", **result}).decode()
                self._publish(OrderedEvent("outcome", frame, run_id, metric=metric))

    def close(self, ending: Ending) -> None:
        """Show the sockets that a run is over, if it is open and its end was not reported in time."""
        run = self.sequencer.open
        if run is None or run.run_id != ending.run_id:
            return
        remote = self._remote_run
        if ending.outcome == "cancelled" and remote is not None and remote.run_id == run.run_id:
            self.drop(remote)
        ended = message_of(ending, run.ticker)
        event = OrderedEvent("end", ended.to_json(), run.run_id)
        self._publish(self._answering(event, ended, self._cancelling.get(run.run_id)))

    def close_unseen(self, told: AnalysisCancelled, canceller: Canceller) -> None:
        """A run was cancelled before the sockets here saw it start: they see its end, and no start later."""
        event = OrderedEvent("end", told.to_json(), told.run_id)
        self._publish(self._answering(event, told, canceller))

    def end_remote_follow(self) -> None:
        """A cancel when nothing is running: the worker that follows the newest run ends the following."""
        if self.peers.others and self.known.run_id:
            self.peers.send_cancel(self.known.run_id)

    @contextmanager
    def cancelling(self, run_id: int, canceller: Canceller) -> Iterator[None]:
        """A socket cancels a run of another worker: tell that worker, whose report is the answer."""
        self._cancelling[run_id] = canceller
        self.peers.send_cancel(run_id)
        try:
            yield
        finally:
            self._cancelling.pop(run_id, None)
