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

from portfolio_trio.peers.letters import RUN_ENDS, Arrivals, Letter
from portfolio_trio.slot import EndReason
from portfolio_trio.state import portfolio_message
from portfolio_trio.store import SessionMissing, StoreError, WrongType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub import Hub, Room
    from portfolio_trio.peers.letters import Note
    from portfolio_trio.protocol import messages
    from portfolio_trio.store import Portfolio, PortfolioStore

log: Final = logging.getLogger(__name__)

# Notes that may wait while one of a session is carried out; one too many, and the document is read instead.
NOTES_PER_SESSION: Final = 1_000
# Documents on their way at one time when all are read anew.
READS_AT_ONCE: Final = 64
# How often a document is read before it is shown though runs begin and end meanwhile.
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
        show: Callable[[Portfolio], messages.Portfolio] = portfolio_message,
    ) -> None:
        self._hub = hub
        self._store = store
        self._faults = faults
        self._show = show
        self._arrivals = Arrivals()
        self._waiting: dict[str, deque[tuple[str, Note]]] = {}
        self._leaving: set[str] = set()
        self._nursery: trio.Nursery
        self._running = False
        self._look = trio.Event()

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
            room.close(run, EndReason.DISCONNECTED)
            if run is not None and run.run_id is not None:
                self._nursery.start_soon(self._clear, room.session_id, run.run_id)

    def _alone(self, room: Room) -> AbstractContextManager[None]:
        """The boundary between one session and the letters, beats and readings of all."""
        return self._faults.contained("the relay", instead=room.fail)

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
        if note.kind == "look":
            await self._quietly_read(room)
        elif note.kind == "portfolio":
            await self._follow_holdings(room, note.version or 0, note)
        elif note.run_id is None:
            # It ended before it had a number.
            room.show(note.frame)
        elif note.kind == "cancel":
            await self._cancel(room, note.run_id, note.frame)
        else:
            await self._follow(room, sender, note, note.run_id)

    async def _follow_holdings(self, room: Room, version: int, note: Note) -> None:
        room.renew_runs(version)
        room.see_version(version)
        if version <= room.abroad.shown:
            return
        if version == room.abroad.version and room.running == note.run_id:
            room.note_shown(version)
            room.show(note.frame)
        else:
            # Something has happened since that the note does not know.
            await self._quietly_read(room)

    async def _cancel(self, room: Room, run_id: int, frame: str) -> None:
        """A socket of another worker has cancelled a run: of this worker, or of a third one."""
        async with room.turn:
            stopped = await room.cancel_run(run_id)
        if stopped is not None:
            # It has told its end by itself. Started again meanwhile, it stands in the document once more.
            await self._quietly_clear(room)
        elif room.end_abroad(run_id):
            room.show(frame)

    async def _follow(self, room: Room, sender: str, note: Note, run_id: int) -> None:
        """News of a run of another worker: it ends older ones, and is seen by the sockets here."""
        abroad = room.abroad
        if run_id > abroad.newest:
            async with room.turn:
                await room.supersede_runs(run_id)
        if run_id > abroad.newest:
            if note.kind != "claim" or note.ticker is None or note.version is None:
                # Its beginning is missing: the document says what it works on.
                self._look.set()
                return
            room.follow(run_id, note.ticker, note.version, sender)
        if not abroad.is_open(run_id) or note.kind == "claim":
            return
        run = abroad.run
        if note.kind in RUN_ENDS:
            abroad.end()
        if note.kind == "analysis_cancelled" and run is not None:
            room.drop(run)
            run = None
        room.show(note.frame, run)

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

    async def _quietly_read(self, room: Room) -> bool:
        try:
            await self._read(room)
        except StoreError as error:
            log.info("session %s cannot be read anew: %s", room.session_id, error)
            return False
        return True

    async def _read(self, room: Room) -> None:
        """Bring the sockets of a session to what the document says."""
        if not room.attached:
            # It has not been read yet, and is about to be.
            return
        message = None
        for _ in range(READINGS):
            try:
                state = await self._store.attach(room.session_id)
            except (SessionMissing, WrongType):
                # Whoever asks next is told.
                return
            await self._catch_up(room, state)
            message = self._show(state)
            if message.running == room.running:
                break
            # A run has begun or ended since it was read.
        if message is not None:
            room.note_shown(message.version)
            room.show(message.to_json())

    async def _catch_up(self, room: Room, state: Portfolio) -> None:
        current = state.current_analysis
        if current is not None and current.worker != self._store.worker:
            async with room.turn:
                await room.supersede_runs(current.run_id)
        run = room.abroad.run
        if run is not None and (current is None or current.run_id != run.run_id):
            # How it ended cannot be known; the state that follows says that it does not run any more.
            room.abroad.end()
            room.drop(run)
        room.enter(state)
        room.renew_runs(state.version)

    async def _clear(self, session_id: str, run_id: int) -> None:
        # The boundary between one session and the relay, whose nursery this task is in.
        with self._faults.contained("the relay"):
            try:
                await self._store.finish_analysis(session_id, run_id=run_id)
            except StoreError as error:
                # The next sweep of the market clears it.
                log.info("session %s: the run of a dead worker still stands in it: %s", session_id, error)

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
