"""Showing the documents to the sockets of their sessions, when events may be missing."""

from __future__ import annotations

import logging
import math
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.backoff import Backoff
from portfolio_trio.log_throttle import Seldom
from portfolio_trio.peers.recorded import likely_end, results_of
from portfolio_trio.protocol.messages import Running
from portfolio_trio.store import FellBack, SessionMissing, StoreError, WrongType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.hub import Hub
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.peers.recorded import Result
    from portfolio_trio.protocol import messages
    from portfolio_trio.store import Ending, Known, PortfolioStore
    from portfolio_trio.store import Portfolio as State

log: Final = logging.getLogger(__name__)

# Documents read concurrently when all are read again.
READS_AT_ONCE: Final = 64
# How many times to read a document that expires and is created again meanwhile.
READINGS: Final = 5
# Failed reads are repeated after this many seconds, then after twice as long, and so on.
RETRY_SECONDS: Final = 0.5
MAX_RETRY_SECONDS: Final = 8.0
RETRY: Final = Backoff(RETRY_SECONDS, longest=MAX_RETRY_SECONDS)


class Waited(IntEnum):
    """How long the reader has waited for the end of a run."""

    NOT = 0  # just begun: the report of the worker that ran it may be on its way
    SHORT = 1  # for a while; only an end reported by the worker that ran it is shown
    LONG = 2  # that worker has had time to report; the completion that all its results prove is shown as well
    OUT = 3  # any end in the document is shown, or the one implied


class DocumentReader:
    """Brings the sockets of sessions up to date with the documents.

    Args:
        hub: The sockets.
        store: The documents.
        faults: Contains errors of one session.
        to_message: Makes the message for a document.
        metrics: The metrics of a run.
        find_out: Starts finding out how a run ended whose end has not been reported yet.
    """

    def __init__(
        self,
        hub: Hub,
        store: PortfolioStore,
        faults: Faults,
        *,
        to_message: Callable[[State], messages.Portfolio],
        metrics: Collection[str],
        find_out: Callable[[SessionGroup, int], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._faults = faults
        self._to_message = to_message
        self._metrics = metrics
        self._find_out = find_out
        self._look = trio.Event()
        # After an outage of the store there may be a log line for each session.
        self._log = Seldom(log, clock=trio.current_time)

    def look(self) -> None:
        """Read every document again, soon."""
        self._look.set()

    async def run(self) -> None:
        """Read all documents when requested, and then those that failed, at growing intervals."""
        unread: list[SessionGroup] = []
        attempt = 0
        while True:
            with trio.move_on_after(RETRY.whole(attempt) if unread else math.inf):
                await self._look.wait()
            if self._look.is_set():
                self._look = trio.Event()
                unread, attempt = list(self._hub.groups), 0
            else:
                attempt += 1
            unread = await self._look_at(unread)

    async def _look_at(self, groups: Iterable[SessionGroup]) -> list[SessionGroup]:
        """Read the documents of groups that still have a socket here; return those that could not be read."""
        waiting = iter([group for group in groups if self._hub.group(group.session_id) is group])
        unread: list[SessionGroup] = []

        async def read(group: SessionGroup) -> None:
            # An error of one session must not end the reading of all.
            with self._faults.contained("the peer subscriber", instead=group.fail):
                if not await self.read_quietly(group):
                    unread.append(group)

        while chunk := tuple(islice(waiting, READS_AT_ONCE)):
            before = len(unread)
            async with trio.open_nursery() as nursery:
                for group in chunk:
                    nursery.start_soon(read, group)
            if len(unread) - before == len(chunk):
                # The store is down: further reads would only wait in vain.
                break
        return [*unread, *waiting]

    async def read_quietly(
        self, group: SessionGroup, *, again: bool = True, waited: Waited = Waited.NOT
    ) -> bool:
        """As `read`; if it fails, log that and return False."""
        try:
            await self.read(group, again=again, waited=waited)
        except StoreError as error:
            self._log.info(
                "a session cannot be read; it will be tried again",
                extra={"event": "session_unreadable", "session": group.session_id, "error": str(error)},
                alike="session",
            )
            return False
        return True

    async def read(
        self,
        group: SessionGroup,
        *,
        again: bool = True,
        waited: Waited = Waited.NOT,
        lost: Known | None = None,
    ) -> None:
        """Bring the sockets of a session up to date with the document.

        Args:
            group: The session.
            again: Show it even if they may have seen it.
            waited: How long the end of the open run has been waited for.
            lost: The numbers known before the document fell back: it gets new ones first.
        """
        if not group.document.attached:
            # It has not been read yet, but is about to be.
            return
        for _ in range(READINGS):
            since, known = group.incarnation, group.document.known
            try:
                if lost is not None:
                    await self._store.lift(group.session_id, lost)
                    group.runs.renew(lost.version + 1)
                state = await self._fetch(group, known)
            except FellBack as failure:
                lost = failure.known
                continue
            except (SessionMissing, WrongType):
                # The next request will report it.
                return
            if state.incarnation == group.incarnation and lost is None:
                await self._catch_up(group, state, waited)
            if group.document.enter(state, since):
                if lost is None:
                    self._present(group, state, again=again and since == state.incarnation)
                else:
                    group.lift(self._to_message(state))
                return

    async def _fetch(self, group: SessionGroup, known: Known) -> State:
        state = await self._store.attach(group.session_id, known=known)
        if state.incarnation == group.incarnation and group.document.contradicts(state):
            raise FellBack(group.session_id, known)
        return state

    def _present(self, group: SessionGroup, state: State, *, again: bool) -> None:
        current = state.current_analysis
        adopts = None
        if current is not None and current.worker != self._store.worker and current.version >= state.version:
            adopts = Running.model_validate(current, from_attributes=True)
        group.runs.renew(state.version, 0 if current is None else current.run_id)
        group.broadcast_state(self._to_message(state), adopts=adopts, again=again)

    async def _catch_up(self, group: SessionGroup, state: State, waited: Waited) -> None:
        """End the run that is over according to the document."""
        current = state.current_analysis
        newest = 0 if current is None else current.run_id
        if current is not None and current.worker != self._store.worker:
            async with group.start_lock:
                await group.runs.supersede(newest)
        # Later runs may be over as well, and no longer be in the document at the next reading.
        while await self._end_one(group, state, newest, waited):
            waited = min(waited, Waited.LONG)

    async def _end_one(self, group: SessionGroup, state: State, newest: int, waited: Waited) -> bool:
        """End the open run, if the document says how it ended; ``newest`` is its current one."""
        run = group.sequencer.open
        if run is None or run.run_id == newest or state.run_counter < run.run_id:
            # New holdings may have cut it short, but its worker has not cleared it yet.
            return False
        ended = state.end_of(run.run_id)
        if waited < Waited.LONG and not (ended is not None and ended.told):
            # It has ended. The worker that ran it knows how; its report, or its last results, may be on their
            # way.
            if waited is Waited.NOT:
                self._find_out(group, run.run_id)
            return False
        # If a socket here ran it, that socket reports it now.
        if group.remote.is_open(run.run_id):
            group.remote.end()
        async with group.start_lock:
            await group.runs.supersede(run.run_id + 1)
        is_out = waited is Waited.OUT
        if group.sequencer.open is run and (is_out or ended is None or ended.is_final):
            await self._end(group, state, run, ended, may_guess=is_out)
        return group.sequencer.open is not run

    async def _end(
        self, group: SessionGroup, state: State, run: Running, ended: Ending | None, *, may_guess: bool
    ) -> None:
        """Show the end of the open run, preceded by the results that were in no batch.

        If many runs have ended since, the document may not have its end. Its worker may still report that.
        """
        results: list[Result] = []
        lacks = ended is not None and group.sequencer.lacks(ended.results + ended.errors)
        if ended is None or (ended.outcome == "completed" and lacks):
            metrics = len(self._metrics) if ended is None else ended.results
            results = await results_of(self._store, state, run, metrics)
        if ended is None:
            ended = likely_end(state, run, results, self._metrics)
            if ended.outcome != "completed" and not may_guess:
                return
        if ended.outcome == "completed":
            group.remote_events.show_recorded(run.run_id, results)
        group.remote_events.close(ended)
