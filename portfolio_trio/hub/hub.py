"""The sockets of this process, by session: who sees whose events, and who may start a run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import trio

from portfolio_trio.hub.endings import message_of
from portfolio_trio.hub.error_messages import explain
from portfolio_trio.hub.events import PeerEvent
from portfolio_trio.hub.remote_run import RemoteState
from portfolio_trio.hub.run_state import EndReason, Run
from portfolio_trio.hub.sequencer import EventSequencer, OrderedEvent
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    MetricFailure,
    Portfolio,
    Running,
)
from portfolio_trio.protocol.results import ComputedResult
from portfolio_trio.store import Known, PortfolioChanged, RunSuperseded, SessionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import Kind
    from portfolio_trio.hub.sequencer import OrderedEventKind
    from portfolio_trio.protocol.messages import Message, PortfolioUpdate
    from portfolio_trio.store import Ending
    from portfolio_trio.store import Portfolio as State

SessionEvent = (
    Portfolio
    | AnalysisStarted
    | ComputedResult
    | MetricFailure
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
)
"""What every subscriber of a session gets, whichever socket caused it."""

_EVENT_KINDS: Mapping[Kind, OrderedEventKind] = {
    "analysis_started": "started",
    "analysis_result": "outcome",
    "metric_error": "outcome",
    "analysis_completed": "end",
    "analysis_cancelled": "end",
    "analysis_failed": "end",
}


class SessionSubscriber(Protocol):
    """One socket, as the other sockets of its session know it."""

    def fail(self) -> None:
        """End the socket with 1011; cannot fail itself."""

    def enqueue(self, event: str, run: Run | None = None) -> None:
        """Queue an event of the session; a socket without the subprotocol ignores it."""

    def enqueue_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits."""

    def answer(self, message: Message | ComputedResult, run: Run | None = None) -> None:
        """Queue what the socket gets whether or not it speaks the subprotocol."""

    @property
    def receives_events(self) -> bool:
        """Whether the socket speaks the subprotocol."""

    @property
    def running(self) -> int | None:
        """The number of the socket's run, if it is open and has one."""

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits to be sent."""

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start the socket's run again if these prices move its portfolio too far from its snapshot."""

    def restart_run(self) -> None:
        """End the socket's run as ``portfolio_changed`` and start it again, if it has one."""

    async def stop_run(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """End the socket's run and wait until its task has ended; return its last event, if it was open.

        All sockets see that event, and a canceller as its answer.
        """

    async def clear_run(self) -> None:
        """Say in the document that the socket's run is over, if it may still stand there."""

    async def supersede_run(self, run_id: int, standing: int | None = None) -> None:
        """End the socket's run, if its number is below this one, and wait until its task has ended."""

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the socket's run, if this is or was its number; as `stop_run`."""

    def renew_run(self, version: int, standing: int | None = None) -> None:
        """Start the socket's run again, if it works on an older version; ``standing`` as for a group's."""


class PeerSender(Protocol):
    """The way to the other workers."""

    @property
    def me(self) -> str:
        """The name of this worker."""

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        """Queue an event for some workers; never waits."""

    def forget(self, worker: str) -> None:
        """A worker is lost: nothing waits for it any more."""


class SessionGroup:
    """The sockets of one session.

    Attributes:
        session_id: The session.
        start_lock: Held while one socket ends the runs of the others and starts its own.
        remote: What is known of the session's life on other workers.
        sequencer: What the sockets have been shown, and what may follow.
        attached: The document names this worker among those that have sockets of the session.
        incarnation: Which document of the session is known; empty before the first.
    """

    def __init__(
        self,
        session_id: str,
        peers: PeerSender,
        changed: trio.lowlevel.ParkingLot,
        faults: Faults,
        on_hold: Callable[[SessionGroup], None],
    ) -> None:
        self.session_id = session_id
        self.start_lock = trio.StrictFIFOLock()
        self.remote = RemoteState()
        self.sequencer = EventSequencer(self._alone)
        self.attached = False
        self.incarnation = ""
        self._peers = peers
        self._changed = changed
        self._faults = faults
        self._on_hold = on_hold
        self._cancelling: dict[int, Canceller] = {}
        self._told: AnalysisCancelled | AnalysisFailed | None = None
        # Stands for the newest remote run, so that what of it waits can be dropped.
        self._remote_run: Run | None = None
        # In the order in which they came, so that events leave in the same order each time.
        self._subscribers: dict[SessionSubscriber, None] = {}

    @property
    def subscribers(self) -> tuple[SessionSubscriber, ...]:
        """Every socket of the session."""
        return tuple(self._subscribers)

    def fail(self) -> None:
        """End every socket of the session here with 1011: what they know is in doubt."""
        for subscriber in self.subscribers:
            subscriber.fail()

    def _alone(self, subscriber: SessionSubscriber) -> AbstractContextManager[None]:
        """The boundary between one socket and whoever speaks to all: a fault ends that socket only."""
        return self._faults.contained("a subscriber", instead=subscriber.fail)

    # --- what the sockets are shown ---

    def answer(
        self, subscriber: SessionSubscriber, state: Portfolio, request_id: str | int | None = None
    ) -> None:
        """Show a socket the state, or a newer one if that is known; if it gets events, they follow."""
        if self.sequencer.is_subscribed(subscriber):
            self._publish(OrderedEvent("portfolio", state=state, requester=subscriber, request_id=request_id))
        elif subscriber.receives_events:
            self.sequencer.subscribe(subscriber, state, request_id)
        else:
            subscriber.answer(self.sequencer.answer(state, request_id))

    def lift(self, state: Portfolio) -> None:
        """A document that had fallen back has new numbers: let all see it, here and on the other workers."""
        self.broadcast_state(state)
        self._send_to_peers("portfolio", state, state.to_json(), has_fallen=True)

    def change(self, subscriber: SessionSubscriber, state: Portfolio, request_id: str | int | None) -> None:
        """A socket has changed the holdings: let all see it, here and on the other workers."""
        self.answer(subscriber, state, request_id)
        self.broadcast_state(state)
        self._send_to_peers("portfolio", state, state.to_json())

    def broadcast_state(
        self, state: Portfolio, *, adopts: Running | None = None, again: bool = False
    ) -> None:
        """Let every socket of this worker see a state, unless it has seen it (or ``again``) or a newer one.

        ``adopts`` is a run of another worker that began unseen.
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
        """Let every socket see an event of a run of this worker, here and on the other workers.

        Args:
            event: What happened.
            requester: The socket that had asked for the run.
            request_id: What its frame echoes.
            run: The run with which the frames can be dropped while they wait.
            running: With a start: the run.
            canceller: With an end: who had asked for it, and is answered with it.
            incarnation: Of the document that the run belongs to.
        """
        if isinstance(event, Portfolio):
            raise TypeError("states are shown by `change` and `broadcast_state`")
        own = "" if requester is None or not requester.receives_events else event.echo(request_id).to_json()
        if incarnation != self.incarnation:
            # Its number means another run now; but who had asked waits for its end.
            if requester is not None and own:
                requester.enqueue(own)
            return
        if isinstance(event, AnalysisCancelled | AnalysisFailed):
            self._told = event
        others = bool(self.remote.others)
        text = event.to_json() if others or self.has_subscribers else ""
        ordered = OrderedEvent(
            _EVENT_KINDS[event.type],
            text,
            event.run_id,
            run=run,
            running=running,
            requester=requester,
            own=own,
        )
        self._publish(self._answering(ordered, event, canceller))
        if others:
            self._send_to_peers(event.type, event, text, running)

    def broadcast_peer_event(self, peer_event: PeerEvent) -> None:
        """Let every socket of this worker see what happened to a run of another one."""
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
        )
        canceller = self._cancelling.get(peer_event.run_id or 0)
        if canceller is not None and peer_event.kind == "analysis_cancelled":
            message = AnalysisCancelled.model_validate_json(peer_event.frame)
            event = self._answering(event, message, canceller)
        self._publish(event)

    def _answering(
        self, event: OrderedEvent, message: SessionEvent, canceller: Canceller | None
    ) -> OrderedEvent:
        """An end with which a canceller is answered, if it is the one that it asked for, and gets events."""
        if canceller is None or canceller.answered or not self.sequencer.is_subscribed(canceller.subscriber):
            return event
        if not isinstance(message, AnalysisCancelled) or message.reason != EndReason.CANCELLED:
            return event
        canceller.answered = True
        answer = message.echo(canceller.request_id).to_json()
        return replace(event, exclude=canceller.subscriber, answer=answer)

    def update(self, update: PortfolioUpdate, version: int) -> None:
        """Let every socket see the value at a tick of the holdings of a version."""
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
        self._changed.unpark_all()

    async def wait_remote_idle(self) -> None:
        """Wait until no run is open on another worker, as far as is known."""
        while self.remote.run is not None:
            await self._changed.park()

    async def wait_ended(self, run_id: int) -> None:
        """Wait until the sockets have seen the end of a run, if they have seen its start."""
        while self.sequencer.open is not None and self.sequencer.open.run_id == run_id:
            await self._changed.park()

    @property
    def has_subscribers(self) -> bool:
        """Whether any socket of the session gets events."""
        return any(subscriber.receives_events for subscriber in self._subscribers)

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start again what runs on prices that are too far from these."""
        for subscriber in self.subscribers:
            with self._alone(subscriber):
                subscriber.reprice(prices)

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits, on every socket."""
        self.sequencer.drop(run)
        for subscriber in self._subscribers:
            with self._alone(subscriber):
                subscriber.drop(run)

    def restart_runs(self) -> None:
        """Start what runs again on the new holdings."""
        for subscriber in self.subscribers:
            with self._alone(subscriber):
                subscriber.restart_run()

    def renew_runs(self, version: int, standing: int | None = None) -> None:
        """Start what runs on older holdings again.

        Args:
            version: The new holdings.
            standing: The run that was current when they came; 0 for none, None where nobody knows. Another
                one had ended in the document before, and its last results are on their way.
        """
        for subscriber in self.subscribers:
            with self._alone(subscriber):
                subscriber.renew_run(version, standing)

    async def supersede_runs(self, run_id: int, standing: int | None = None) -> None:
        """End the runs whose numbers are below this one, and wait until their tasks have ended.

        ``standing`` as for `renew_runs`: the run whose place it took.
        """
        for subscriber in self.subscribers:
            with self._alone(subscriber):
                await subscriber.supersede_run(run_id, standing)

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the run with this number; return its last event, if it was open here."""
        stopped = None
        for subscriber in self.subscribers:
            with self._alone(subscriber):
                stopped = await subscriber.cancel_run(run_id) or stopped
        return stopped

    async def stop_runs(
        self,
        reason: EndReason,
        *,
        exclude: SessionSubscriber | None = None,
        canceller: Canceller | None = None,
    ) -> AnalysisCancelled | None:
        """End the runs of every socket but one; return the last event of the one that was open, if any."""
        stopped = None
        for subscriber in self.subscribers:
            if subscriber is not exclude:
                with self._alone(subscriber):
                    stopped = await subscriber.stop_run(reason, canceller=canceller) or stopped
        return stopped

    @property
    def running(self) -> int | None:
        """The run that is known to be open, here or on another worker, if it has its number."""
        here = (subscriber.running for subscriber in self._subscribers)
        remote = None if self.remote.run is None else self.remote.run.run_id
        return next((run_id for run_id in here if run_id is not None), remote)

    @property
    def _runs_here(self) -> bool:
        return any(subscriber.running is not None for subscriber in self._subscribers)

    # --- the other workers ---

    def enter(self, state: State, since: str = "") -> bool:
        """Take the state of the session as the store has it, on attaching to it.

        Args:
            state: The state.
            since: The incarnation that was known when the state was asked for.

        Returns:
            Whether it is the state of the session. If not, another document has become known meanwhile, and
            nobody can say which of the two is the newer one: it is to be asked for again.
        """
        if state.incarnation != self.incarnation:
            if since != self.incarnation:
                return False
            # Asked for when the other one was known, so it took the place of that.
            self._begin_anew(state)
        first, self.attached = not self.attached, True
        self.remote.others = state.others
        self.remote.counter = max(self.remote.counter, state.run_counter)
        self.update_version(state.version)
        current = state.current_analysis
        if current is None or current.worker == self._peers.me or self._runs_here:
            # A run of this worker is not over before its task has ended, which its worker's event sees to.
            return True
        # What is not open here any more, though it stands there, is about to be cleared by its worker.
        self.remote.follow(current.run_id, current.ticker, current.version, current.worker)
        if first and current.version >= state.version:
            # Nobody here has seen it start: who subscribes from now on knows it from its first state.
            self.sequencer.adopt(Running.model_validate(current, from_attributes=True))
        return True

    def _begin_anew(self, state: State) -> None:
        """The session has expired, and this is the document that took its place."""
        known, self.incarnation = self.incarnation, state.incarnation
        if not known:
            return
        self.attached = False
        # Whom the new document does not name will not hear of it otherwise.
        unnamed = [worker for worker in self.remote.others if worker not in state.others]
        self._peers.send(unnamed, PeerEvent(session_id=self.session_id, kind="look"))
        self.remote = RemoteState()
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
        """Whether other holdings of this version have been shown: the document fell back, and went on."""
        newest = self.sequencer.newest
        return newest is not None and newest.version == version and newest.holdings != holdings

    def update_version(self, version: int) -> None:
        """The holdings have this version; a remote run that works on an older one is over."""
        self.remote.outdate(version)

    def set_peers(self, others: tuple[str, ...]) -> None:
        """Take from the store which other workers have sockets of the session."""
        self.remote.others = others

    def set_peers_late(
        self, others: tuple[str, ...], told: AnalysisCancelled | AnalysisFailed | None = None
    ) -> None:
        """The same, where a worker that is new may have missed the end of a run, ``told`` just before."""
        strangers = [worker for worker in others if worker not in self.remote.others]
        self.remote.others = others
        peer_event = PeerEvent(session_id=self.session_id, kind="look")
        if told is not None:
            peer_event = PeerEvent(
                session_id=self.session_id,
                kind=told.type,
                run_id=told.run_id,
                incarnation=self.incarnation,
                frame=told.to_json(),
            )
        self._peers.send(strangers, peer_event)

    def told_of(self, run_id: int) -> AnalysisCancelled | AnalysisFailed | None:
        """What this worker has told of the end of a run, if it was the last that it told of."""
        return self._told if self._told is not None and self._told.run_id == run_id else None

    def add_peer(self, worker: str) -> None:
        """Another worker speaks of the session: it wants to hear of it, too."""
        if worker not in self.remote.others:
            self.remote.others = (*self.remote.others, worker)

    def claim(self, running: Running, replaced: int, incarnation: str) -> None:
        """A run of a socket has its number and its holdings; what runs on other workers is over by that.

        Raises:
            SessionMissing: It is a run of a document that another one has taken the place of.
            RunSuperseded: A run with a higher number is known.
            PortfolioChanged: Newer holdings are known.
        """
        remote, run_id, version = self.remote, running.run_id, running.version
        if incarnation != self.incarnation:
            raise SessionMissing(self.session_id)
        if run_id < remote.newest:
            raise RunSuperseded(self.session_id, remote.newest)
        # How it ends is told by the worker that ran it; what comes next waits for that.
        remote.claim(run_id)
        if remote.others:
            peer_event = PeerEvent(
                session_id=self.session_id,
                kind="claim",
                run_id=run_id,
                version=version,
                ticker=running.ticker,
                replaced=replaced,
                incarnation=self.incarnation,
            )
            self._peers.send(remote.others, peer_event)
        if version < remote.version:
            raise PortfolioChanged(self.session_id, remote.version)

    def close(self, ending: Ending) -> None:
        """Let the sockets see that a run is over, if it is open and nobody has told so in time."""
        run = self.sequencer.open
        if run is None or run.run_id != ending.run_id:
            return
        remote = self._remote_run
        if ending.outcome == "cancelled" and remote is not None and remote.run_id == run.run_id:
            self.drop(remote)
        ended = message_of(ending, run.ticker)
        event = OrderedEvent("end", ended.to_json(), run.run_id)
        self._publish(self._answering(event, ended, self._cancelling.get(run.run_id)))

    @contextmanager
    def cancelling(self, run_id: int, canceller: Canceller) -> Iterator[None]:
        """A socket cancels a run of another worker: that worker is told, and its word is the answer."""
        self._cancelling[run_id] = canceller
        self._send_cancel(run_id)
        try:
            yield
        finally:
            self._cancelling.pop(run_id, None)

    def _send_cancel(self, run_id: int) -> None:
        peer_event = PeerEvent(
            session_id=self.session_id, kind="cancel", run_id=run_id, incarnation=self.incarnation
        )
        self._peers.send(self.remote.others, peer_event)

    def _send_to_peers(
        self,
        kind: Kind,
        event: SessionEvent,
        frame: str,
        running: Running | None = None,
        *,
        has_fallen: bool = False,
    ) -> None:
        if self.remote.others:
            peer_event = PeerEvent(
                session_id=self.session_id,
                kind=kind,
                run_id=None if isinstance(event, Portfolio) else event.run_id,
                version=event.version if isinstance(event, Portfolio) else None,
                running=running,
                frame=frame,
                has_fallen=has_fallen,
                incarnation=self.incarnation,
            )
            self._peers.send(self.remote.others, peer_event)


class Hub:
    """The groups of one process; a group exists while somebody is in it."""

    def __init__(self, peers: PeerSender, faults: Faults) -> None:
        self._peers = peers
        self._faults = faults
        self._groups: dict[str, SessionGroup] = {}
        # One for all groups: only who drains or cancels waits here.
        self._changed = trio.lowlevel.ParkingLot()
        self.on_hold: Callable[[SessionGroup], None] = lambda _: None
        """Called when something begins to wait for the end of a run."""

    def _hold(self, group: SessionGroup) -> None:
        self.on_hold(group)

    @contextmanager
    def join(self, session_id: str, subscriber: SessionSubscriber) -> Iterator[SessionGroup]:
        """Put a socket into its session's group for as long as the context lasts."""
        group = self._groups.get(session_id)
        if group is None:
            group = self._groups[session_id] = SessionGroup(
                session_id, self._peers, self._changed, self._faults, self._hold
            )
        group._subscribers[subscriber] = None  # noqa: SLF001 - only the hub lets sockets in and out
        try:
            yield group
        finally:
            del group._subscribers[subscriber]  # noqa: SLF001 - as above
            group.sequencer.leave(subscriber)
            if not group.subscribers:
                del self._groups[session_id]

    def group(self, session_id: str) -> SessionGroup | None:
        """The group of a session; None where it has no open socket."""
        return self._groups.get(session_id)

    def forget(self, worker: str) -> None:
        """Another worker is lost: it is told nothing any more."""
        self._peers.forget(worker)

    @property
    def groups(self) -> tuple[SessionGroup, ...]:
        """Every session with an open socket."""
        return tuple(self._groups.values())
