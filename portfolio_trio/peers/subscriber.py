"""What the other workers tell, brought to the sockets of this one.

Notes of one session are carried out one after another, in their order. Where some may be missing, the
document is read: it has the truth, and a note is a hint that came sooner.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio
from pydantic import ValidationError

from portfolio_trio.hub.endings import cancelled, message_of
from portfolio_trio.hub.events import RUN_ENDS, Arrivals, Letter
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.stage import HOLD_SECONDS
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.peers.orphans import Orphan, Orphans
from portfolio_trio.protocol.messages import Portfolio, Running
from portfolio_trio.store import FellBack, SessionMissing, StoreError, WrongType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.events import Note
    from portfolio_trio.hub.hub import Hub, Room
    from portfolio_trio.protocol import messages
    from portfolio_trio.store import Ending, Known, PortfolioStore
    from portfolio_trio.store import Portfolio as State

log: Final = logging.getLogger(__name__)

# Notes that may wait while one of a session is carried out; one too many, and the document is read instead.
NOTES_PER_SESSION: Final = 1_000
# Documents on their way at one time when all are read anew.
READS_AT_ONCE: Final = 64
# How often a document is read that expires and is made anew meanwhile.
READINGS: Final = 5
# What cannot be read is tried again after this long, then after twice as long, and so on.
RETRY_SECONDS: Final = 0.5
MAX_RETRY_SECONDS: Final = 8.0


class Relay:
    """Carries out what letters say.

    Args:
        hub: The sockets.
        store: The documents.
        faults: Contains what goes wrong with one session.
        show: Makes the message of a document.
    """

    def __init__(
        self,
        hub: Hub,
        store: PortfolioStore,
        faults: Faults,
        show: Callable[[State], messages.Portfolio] = portfolio_message,
    ) -> None:
        self._hub = hub
        self._store = store
        self._faults = faults
        self._show = show
        self._arrivals = Arrivals()
        self._orphans = Orphans(store)
        self._waiting: dict[str, deque[tuple[str, Note]]] = {}
        self._leaving: set[str] = set()
        self._nursery: trio.Nursery
        self._running = False
        self._look = trio.Event()
        hub.on_hold = self._expect_end

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry out for ever; started when letters may come."""
        async with trio.open_nursery() as self._nursery:
            self._running = True
            task_status.started()
            try:
                await self._look_for_ever()
            finally:
                # From here on the nursery may close at any checkpoint; what comes now comes too late.
                self._running = False

    def receive(self, text: bytes) -> None:
        """Take a letter; never waits. After the end of `run` it is dropped."""
        if not self._running:
            return None
        try:
            letter = Letter.model_validate_json(text)
        except ValidationError as error:
            log.warning("a letter of another worker cannot be read: %s", error)
            return self.miss()
        if self._arrivals.has(letter):
            return None
        if not self._arrivals.follows(letter):
            log.info("a letter of worker %s is missing: reading the documents anew", letter.sender)
            self._look.set()
        for note in letter.notes:
            self._take(letter.sender, note)
        return None

    def miss(self) -> None:
        """Letters may have been lost, or this worker may have been given up: read every document anew."""
        self._look.set()

    def mourn(self, dead: Iterable[str]) -> None:
        """Workers have died: end what they ran."""
        names = frozenset(dead if self._running else ())
        for worker in names:
            self._arrivals.forget(worker)
            self._hub.forget(worker)
        for room in self._hub.rooms if names else ():
            # The boundary between one session and the beat, without which this worker counts as dead.
            with self._alone(room):
                self._mourn(room, names)

    def _mourn(self, room: Room, names: frozenset[str]) -> None:
        if room.abroad.run is not None and room.abroad.owner in names:
            run = room.abroad.end()
            if run is not None and run.run_id is not None:
                # It may have ended before its worker did: the document says how.
                self.adopt(Orphan(room.session_id, room.incarnation, run.run_id))
                self._start(room, self._resolve, room, run.run_id)

    def _alone(self, room: Room) -> AbstractContextManager[None]:
        """The boundary between one session and the letters, beats and readings of all."""
        return self._faults.contained("the relay", instead=room.fail)

    def _start(self, room: Room, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Have something done for a session beside the letters, unless the relay has ended."""

        async def carry_out() -> None:
            with self._alone(room):
                await work(*args)

        if self._running:
            self._nursery.start_soon(carry_out)

    def adopt(self, orphan: Orphan) -> None:
        """A run may stand in a document though nobody carries it out: clear it, now or when Redis is back."""
        self._orphans.adopt(orphan)
        if self._running:
            self._nursery.start_soon(self._clear, orphan)

    def sweep(self) -> None:
        """Try again to clear what nobody carries out."""
        for orphan in self._orphans.all if self._running else ():
            self._nursery.start_soon(self._clear, orphan)

    async def look_up(self, room: Room) -> None:
        """Nobody has told how a run ended, though it has had time to: show what the document says."""
        await self._quietly_read(room, again=False, late=True)

    def reread(self, room: Room) -> None:
        """The document of a session is another one than was known: read it."""
        self._start(room, self._quietly_read, room)

    async def lift(self, room: Room, known: Known) -> None:
        """A document has fallen back behind this: give it numbers that nobody has seen, and show it to all.

        What runs here on holdings that it may have lost starts again.

        Raises:
            StoreError: The store refused or could not be reached.
        """
        await self._read(room, again=False, lost=known)

    async def leave(self, session_id: str) -> None:
        """Say in the document that this worker has no socket of the session any more, if so it is.

        Raises:
            StoreError: The store could not be reached.
        """
        if self._hub.room(session_id) is not None:
            return
        await self._store.leave_session(session_id)
        room = self._hub.room(session_id)
        if room is not None:
            # Somebody came meanwhile, and may have been struck off again.
            await self._read(room)

    def _take(self, sender: str, note: Note) -> None:
        session_id = note.session_id
        if self._hub.room(session_id) is None:
            # The document names this worker still, or again.
            if session_id not in self._leaving:
                self._leaving.add(session_id)
                self._nursery.start_soon(self._quietly_leave, session_id)
            return
        waiting = self._waiting.get(session_id)
        if waiting is not None:
            waiting.append((sender, note))
            if len(waiting) > NOTES_PER_SESSION:
                waiting.clear()
                self._look.set()
            return
        self._waiting[session_id] = deque([(sender, note)])
        self._nursery.start_soon(self._carry_out_all, session_id)

    async def _carry_out_all(self, session_id: str) -> None:
        waiting = self._waiting[session_id]
        try:
            while waiting:
                sender, note = waiting.popleft()
                room = self._hub.room(session_id)
                if room is not None:
                    # The boundary between one note and the next, of this session and of the others.
                    with self._alone(room):
                        await self._carry_out(room, sender, note)
        finally:
            del self._waiting[session_id]

    async def _carry_out(self, room: Room, sender: str, note: Note) -> None:
        room.meet(sender)
        if note.kind == "look":
            await self._quietly_read(room)
        elif note.incarnation != room.incarnation:
            # Of a document that has expired, or took the place of one: what is true stands in Redis.
            await self._quietly_read(room, again=False)
        elif note.kind == "portfolio":
            await self._follow_holdings(room, note)
        elif note.run_id is None:
            # It ended before it had a number.
            room.show_note(note)
        elif note.kind == "cancel":
            await self._cancel(room, note.run_id)
        else:
            await self._follow(room, sender, note, note.run_id)

    async def _follow_holdings(self, room: Room, note: Note) -> None:
        state = Portfolio.model_validate_json(note.frame)
        current = state.current_analysis
        if room.contradicts(state.version, state.holdings):
            await self._quietly_read(room, again=False)
            return
        standing = 0 if current is None else current.run_id
        # In a document that has fallen back nobody knows what ended before.
        room.renew_runs(state.version, None if note.has_fallen else standing)
        room.see_version(state.version)
        room.show_state(state)

    async def _cancel(self, room: Room, run_id: int) -> None:
        """A socket of another worker has cancelled a run; if it is one of here, its runner tells its end."""
        async with room.turn:
            stopped = await room.cancel_run(run_id)
        if stopped is not None:
            # Started again meanwhile, it stands in the document once more.
            await self._quietly_clear(room)

    async def _follow(self, room: Room, sender: str, note: Note, run_id: int) -> None:
        """News of a run of another worker: it ends older ones, and is seen by the sockets here."""
        abroad = room.abroad
        if run_id > abroad.newest:
            async with room.turn:
                await room.supersede_runs(run_id, note.replaced)
        if run_id > abroad.newest:
            run = note.running
            ticker = note.ticker if run is None else run.ticker
            version = note.version if run is None else run.version
            if ticker is None or version is None:
                # Its beginning is missing: the document says what it works on.
                self._look.set()
                return
            abroad.follow(run_id, ticker, version, sender)
        if note.kind == "claim":
            return
        if note.kind in RUN_ENDS and abroad.is_open(run_id):
            abroad.end()
        room.show_note(note)

    def _expect_end(self, room: Room) -> None:
        """Something waits for the end of a run."""
        if room.stage.awaited is not None:
            self._start(room, self._resolve, room, room.stage.awaited)

    async def _resolve(self, room: Room, run_id: int) -> None:
        """Find out how a run ended if nobody tells it in time."""
        while room.stage.open is not None and room.stage.open.run_id == run_id:
            due = 0
            for _ in range(2):
                # What waits at half-time will have waited long enough, for whichever run.
                due = room.stage.released + room.stage.waiting
                with trio.move_on_after(HOLD_SECONDS / 2):
                    await room.over(run_id)
                    return
            awaited: int | None = run_id
            while self._hub.room(room.session_id) is room:
                if not await self._quietly_read(room, again=False, late=True):
                    break
                if room.stage.awaited in {None, awaited} or room.stage.released >= due:
                    break
                awaited = room.stage.awaited
            else:
                return
            if room.stage.awaited is None:
                return

    async def _look_for_ever(self) -> None:
        """Read all documents when told to look, and then those that could not be read, ever more rarely."""
        unread: list[Room] = []
        pause = RETRY_SECONDS
        while True:
            with trio.move_on_after(pause if unread else math.inf):
                await self._look.wait()
            if self._look.is_set():
                self._look = trio.Event()
                unread, pause = list(self._hub.rooms), RETRY_SECONDS
            else:
                pause = min(2 * pause, MAX_RETRY_SECONDS)
            unread = await self._look_at(unread)

    async def _look_at(self, rooms: Iterable[Room]) -> list[Room]:
        """Read the documents of rooms that have a socket here still; return those that could not be read."""
        waiting = iter([room for room in rooms if self._hub.room(room.session_id) is room])
        unread: list[Room] = []

        async def read(room: Room) -> None:
            # The boundary between one session and the reading of all.
            with self._alone(room):
                if not await self._quietly_read(room):
                    unread.append(room)

        while chunk := tuple(islice(waiting, READS_AT_ONCE)):
            before = len(unread)
            async with trio.open_nursery() as nursery:
                for room in chunk:
                    nursery.start_soon(read, room)
            if len(unread) - before == len(chunk):
                # It is the store that is away: each further read would wait for it in vain.
                break
        return [*unread, *waiting]

    async def _quietly_read(self, room: Room, *, again: bool = True, late: bool = False) -> bool:
        try:
            await self._read(room, again=again, late=late)
        except StoreError as error:
            log.info("session %s cannot be read anew: %s", room.session_id, error)
            return False
        return True

    async def _read(
        self, room: Room, *, again: bool = True, late: bool = False, lost: Known | None = None
    ) -> None:
        """Bring the sockets of a session to what the document says.

        Args:
            room: The session.
            again: Show it though they may know it.
            late: Whoever ran what is over has had time to say how it ended.
            lost: What was known before the document fell back behind it: it gets new numbers first.
        """
        if not room.attached:
            # It has not been read yet, and is about to be.
            return
        for _ in range(READINGS):
            since, known = room.incarnation, room.known
            try:
                if lost is not None:
                    await self._store.lift(room.session_id, lost)
                    room.renew_runs(lost.version + 1)
                state = await self._fetch(room, known)
            except FellBack as failure:
                lost = failure.known
                continue
            except (SessionMissing, WrongType):
                # Whoever asks next is told.
                return
            if state.incarnation == room.incarnation and lost is None:
                await self._catch_up(room, state, late=late)
            if room.enter(state, since):
                if lost is None:
                    self._present(room, state, again=again and since == state.incarnation)
                else:
                    room.lift(self._show(state))
                return

    async def _fetch(self, room: Room, known: Known) -> State:
        state = await self._store.attach(room.session_id, known=known)
        if state.incarnation == room.incarnation and room.contradicts(state.version, state.holdings):
            raise FellBack(room.session_id, known)
        return state

    def _present(self, room: Room, state: State, *, again: bool) -> None:
        current = state.current_analysis
        adopts = None
        if current is not None and current.worker != self._store.worker and current.version >= state.version:
            adopts = Running.model_validate(current, from_attributes=True)
        room.renew_runs(state.version, 0 if current is None else current.run_id)
        room.show_state(self._show(state), adopts=adopts, again=again)

    async def _catch_up(self, room: Room, state: State, *, late: bool) -> None:
        """End what the document says is over."""
        current = state.current_analysis
        newest = 0 if current is None else current.run_id
        if current is not None and current.worker != self._store.worker:
            async with room.turn:
                await room.supersede_runs(newest)
        run = room.stage.open
        if run is None or run.run_id == newest or state.run_counter < run.run_id:
            # Cut short by new holdings it may be, but whoever runs it has not put it away yet.
            return
        if not late:
            # It has ended. Who ran it knows how, and its word may be on its way.
            self._start(room, self._resolve, room, run.run_id)
            return
        # If it was run by a socket here, that tells it now.
        if room.abroad.is_open(run.run_id):
            room.abroad.end()
        async with room.turn:
            await room.supersede_runs(run.run_id + 1)
        if room.stage.open is run:
            room.close(state.end_of(run.run_id) or _likely_end(state, run))

    async def _clear(self, orphan: Orphan) -> None:
        # The boundary between one session and the relay, whose nursery this task is in.
        with self._faults.contained("the relay"):
            end = await self._orphans.clear(orphan)
            room = self._hub.room(orphan.session_id)
            if end is None or room is None or room.incarnation != orphan.incarnation:
                return
            ending = orphan.ending or end.ending or cancelled(end.run_id, EndReason.DISCONNECTED)
            room.close(ending)
            if not end.cleared:
                return
            # Whoever has read of it in the document is told that it is over.
            room.learn(end.others)
            room.publish(message_of(ending, end.ticker), incarnation=orphan.incarnation)

    async def _quietly_clear(self, room: Room) -> None:
        try:
            for viewer in room.viewers:
                await viewer.clear_run()
        except StoreError as error:
            # Tried once more when the connection ends.
            log.info("session %s: its run could not be cleared: %s", room.session_id, error)

    async def _quietly_leave(self, session_id: str) -> None:
        # As in `_clear`.
        with self._faults.contained("the relay"):
            try:
                await self.leave(session_id)
            except StoreError as error:
                log.info("session %s still names this worker: %s", session_id, error)
            finally:
                self._leaving.discard(session_id)


def _likely_end(state: State, run: Running) -> Ending:
    """How a run ended of which the document says nothing: an older release wrote it, or many ended since."""
    reason = EndReason.SUPERSEDED if state.run_counter > run.run_id else EndReason.DISCONNECTED
    if state.version > run.version:
        reason = EndReason.PORTFOLIO_CHANGED
    return cancelled(run.run_id, reason)
