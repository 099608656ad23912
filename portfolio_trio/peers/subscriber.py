"""Showing the events of other workers to the sockets of this one.

Events of one session are handled one after another, in order. If some may be missing, the document is read:
it is authoritative, and an event is a hint that arrives earlier.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final

import trio
from pydantic import ValidationError

from portfolio_trio.hub.endings import cancelled, message_of
from portfolio_trio.hub.events import RUN_ENDS, Batch, SequenceTracker
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.log_throttle import Seldom
from portfolio_trio.peers.document_reader import RETRY, DocumentReader, Waited
from portfolio_trio.peers.orphans import Orphan, Orphans
from portfolio_trio.peers.run_ends import RunEnds
from portfolio_trio.protocol.messages import Portfolio
from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.events import PeerEvent
    from portfolio_trio.hub.hub import Hub
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.protocol import messages
    from portfolio_trio.store import Known, PortfolioStore
    from portfolio_trio.store import Portfolio as State

log: Final = logging.getLogger(__name__)

# Events that may wait while one of a session is handled; beyond that, the document is read instead.
EVENTS_PER_SESSION: Final = 1_000


class PeerSubscriber:
    """Handles the events in batches.

    Args:
        hub: The sockets.
        store: The documents.
        faults: Contains errors of one session.
        to_message: Makes the message for a document.
        metrics: The metrics of a run.

    Attributes:
        ends: Finds out how runs ended.
    """

    def __init__(
        self,
        hub: Hub,
        store: PortfolioStore,
        faults: Faults,
        to_message: Callable[[State], messages.Portfolio] = portfolio_message,
        metrics: Collection[str] = (),
    ) -> None:
        self._hub = hub
        self._store = store
        self._faults = faults
        self._documents = DocumentReader(
            hub, store, faults, to_message=to_message, metrics=metrics, find_out=self.find_out
        )
        self.ends = RunEnds(hub, self._documents)
        self._log = Seldom(log, clock=trio.current_time)
        self._tracker = SequenceTracker()
        self._orphans = Orphans(store)
        self._waiting: dict[str, deque[tuple[str, PeerEvent]]] = {}
        self._leaving: set[str] = set()
        self._nursery: trio.Nursery
        self._running = False
        hub.on_hold = self._expect_end

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle events until cancelled; started when batches may arrive."""
        async with trio.open_nursery() as self._nursery:
            self._running = True
            task_status.started()
            try:
                await self._documents.run()
            finally:
                # From here on the nursery may close at any checkpoint; later events are ignored.
                self._running = False

    def receive(self, text: bytes) -> None:
        """Accept a batch without waiting. After the end of `run` it is dropped."""
        if not self._running:
            return None
        try:
            batch = Batch.model_validate_json(text)
        except ValidationError as error:
            self._log.warning(
                "a batch of another worker cannot be read: do all workers have the same version?",
                extra={"event": "batch_unreadable", "error": str(error)},
                alike="unreadable",
            )
            return self.miss()
        if self._tracker.has(batch):
            return None
        if not self._tracker.follows(batch):
            self._log.info(
                "a batch of another worker is missing: the documents are read again",
                extra={"event": "batch_missing", "peer": batch.sender},
                alike="missing",
            )
            self._documents.look()
        for peer_event in batch.events:
            self._take(batch.sender, peer_event)
        return None

    def miss(self) -> None:
        """Batches may be missing, or this worker was considered lost: read every document again."""
        self._documents.look()

    def on_workers_lost(self, lost: Iterable[str]) -> None:
        """Workers are lost: end their runs."""
        names = frozenset(lost if self._running else ())
        for worker in names:
            self._tracker.forget(worker)
            self._hub.forget(worker)
        for group in self._hub.groups if names else ():
            # An error of one session must not stop the heartbeat, without which this worker counts as lost.
            with self._alone(group):
                self._on_workers_lost(group, names)

    def _on_workers_lost(self, group: SessionGroup, names: frozenset[str]) -> None:
        group.peers.remove_peers(names)
        if group.remote.run is not None and group.remote.owner in names:
            run = group.remote.end()
            if run is not None and run.run_id is not None:
                # It may have ended before its worker was lost: the document says how.
                self.adopt(Orphan(group.session_id, group.incarnation, run.run_id))
                self.find_out(group, run.run_id)

    def _alone(self, group: SessionGroup) -> AbstractContextManager[None]:
        """Contains the errors of one session, which must not affect batches, heartbeats and reads."""
        return self._faults.contained("the peer subscriber", instead=group.fail)

    def _start(self, group: SessionGroup, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Do something for a session concurrently with the batches, unless the peer subscriber has ended."""

        async def carry_out() -> None:
            with self._alone(group):
                await work(*args)

        if self._running:
            self._nursery.start_soon(carry_out)

    def adopt(self, orphan: Orphan) -> None:
        """A run may be in a document although no task runs it: clear it, now or when Redis is back."""
        self._orphans.adopt(orphan)
        if self._running:
            self._nursery.start_soon(self._clear_in_time, orphan)

    def sweep(self) -> None:
        """Try again to clear runs that no task runs."""
        for orphan in self._orphans.all if self._running else ():
            self._nursery.start_soon(self._clear, orphan)

    def reread(self, group: SessionGroup) -> None:
        """The session has a document other than the known one: read it."""
        self._start(group, self._documents.read_quietly, group)

    def find_out(self, group: SessionGroup, run_id: int) -> None:
        """A run that is open here is over in the document: show how it ended, if that is not reported."""
        self._start(group, self.ends.resolve, group, run_id)

    async def lift(self, group: SessionGroup, known: Known) -> None:
        """A document has fallen behind these numbers: give it new ones, and show it to all.

        Runs here on holdings that it may have lost start again.

        Raises:
            StoreError: The store refused or could not be reached.
        """
        await self._documents.read(group, again=False, lost=known)

    async def leave(self, session_id: str) -> None:
        """Record in the document that this worker has no socket of the session any longer, if that is so.

        Raises:
            StoreError: The store could not be reached.
        """
        if self._hub.group(session_id) is not None:
            return
        await self._store.leave_session(session_id)
        group = self._hub.group(session_id)
        if group is not None:
            # A socket was opened meanwhile, and may have been removed again.
            await self._documents.read(group)

    def _take(self, sender: str, peer_event: PeerEvent) -> None:
        session_id = peer_event.session_id
        if self._hub.group(session_id) is None:
            # The document still, or again, lists this worker.
            if session_id not in self._leaving:
                self._leaving.add(session_id)
                self._nursery.start_soon(self._quietly_leave, session_id)
            return
        waiting = self._waiting.get(session_id)
        if waiting is not None:
            waiting.append((sender, peer_event))
            if len(waiting) > EVENTS_PER_SESSION:
                waiting.clear()
                self._documents.look()
            return
        self._waiting[session_id] = deque([(sender, peer_event)])
        self._nursery.start_soon(self._carry_out_all, session_id)

    async def _carry_out_all(self, session_id: str) -> None:
        waiting = self._waiting[session_id]
        try:
            while waiting:
                sender, peer_event = waiting.popleft()
                group = self._hub.group(session_id)
                if group is not None:
                    # An error of one event must not affect the next, of this session or others.
                    with self._alone(group):
                        await self._carry_out(group, sender, peer_event)
        finally:
            del self._waiting[session_id]

    async def _carry_out(self, group: SessionGroup, sender: str, peer_event: PeerEvent) -> None:
        group.peers.add_peer(sender)
        if peer_event.kind == "look":
            await self._documents.read_quietly(group)
        elif peer_event.incarnation != group.incarnation:
            # It concerns an expired document, or a new one: read the state in Redis.
            await self._documents.read_quietly(group, again=False)
        elif peer_event.kind == "portfolio":
            await self._follow_holdings(group, peer_event)
        elif peer_event.run_id is None:
            # It ended before it had a number.
            group.remote_events.show(peer_event)
        elif peer_event.kind == "cancel":
            await self._cancel(group, peer_event.run_id)
        else:
            await self._follow(group, sender, peer_event, peer_event.run_id)

    async def _follow_holdings(self, group: SessionGroup, peer_event: PeerEvent) -> None:
        state = Portfolio.model_validate_json(peer_event.frame)
        current = state.current_analysis
        if group.document.contradicts(state):
            await self._documents.read_quietly(group, again=False)
            return
        standing = 0 if current is None else current.run_id
        # In a document that has fallen back it is not known what ended before.
        group.runs.renew(state.version, None if peer_event.has_fallen else standing)
        group.remote.outdate(state.version)
        group.broadcast_state(state)

    async def _cancel(self, group: SessionGroup, run_id: int) -> None:
        """A socket of another worker has cancelled a run; if it runs here, its runner reports its end."""
        async with group.start_lock:
            stopped = await group.runs.cancel(run_id)
        if stopped is not None:
            # It was restarted meanwhile, and is in the document again.
            await group.runs.clear()

    async def _follow(self, group: SessionGroup, sender: str, peer_event: PeerEvent, run_id: int) -> None:
        """An event of another worker's run: it ends older ones, and is shown to the sockets here."""
        remote = group.remote
        if run_id > remote.newest:
            async with group.start_lock:
                await group.runs.supersede(run_id, peer_event.replaced)
        if run_id > remote.newest:
            run = peer_event.running
            ticker = peer_event.ticker if run is None else run.ticker
            version = peer_event.version if run is None else run.version
            if ticker is None or version is None:
                # Its start is missing: the document has its holdings.
                self._documents.look()
                return
            remote.follow(run_id, ticker, version, sender)
        if peer_event.kind == "claim":
            return
        if peer_event.kind in RUN_ENDS and remote.is_open(run_id):
            remote.end()
        group.remote_events.show(peer_event)

    def _expect_end(self, group: SessionGroup) -> None:
        """An event waits for the end of a run."""
        if group.sequencer.awaited is not None:
            self.find_out(group, group.sequencer.awaited)

    async def _clear_in_time(self, orphan: Orphan) -> None:
        """Clear a run as soon as Redis can be reached; until then the document lacks its reported end."""
        await self._clear(orphan)
        for attempt in count():
            if not self._orphans.is_unasked(orphan):
                return
            await trio.sleep(RETRY.whole(attempt))
            await self._clear(orphan)

    async def _clear(self, orphan: Orphan) -> None:
        # An error of one session must not end the peer subscriber, in whose nursery this task runs.
        with self._faults.contained("the peer subscriber"):
            end = await self._orphans.clear(orphan)
            group = self._hub.group(orphan.session_id)
            if end is None or group is None or group.incarnation != orphan.incarnation:
                return
            ending = orphan.ending or end.ending or cancelled(end.run_id, EndReason.DISCONNECTED)
            if ending.outcome == "completed":
                # Its results come before its end; the document has them as well.
                await self._documents.read_quietly(group, again=False, waited=Waited.LONG)
            else:
                group.remote_events.close(ending)
            if not end.cleared:
                return
            # Workers that have read it in the document are told that it is over.
            group.peers.set_peers(end.others)
            group.publish(message_of(ending, end.ticker), incarnation=orphan.incarnation)

    async def _quietly_leave(self, session_id: str) -> None:
        # As in `_clear`.
        with self._faults.contained("the peer subscriber"):
            try:
                await self.leave(session_id)
            except StoreError as error:
                self._log.info(
                    "the document of a session still lists this worker",
                    extra={"event": "session_not_left", "session": session_id, "error": str(error)},
                    alike="left",
                )
            finally:
                self._leaving.discard(session_id)
