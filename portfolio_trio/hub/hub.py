"""The sockets of this process, by session: who sees whose events, and whose turn it is to start a run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import trio

from portfolio_trio.hub.endings import message_of
from portfolio_trio.hub.error_messages import explain
from portfolio_trio.hub.events import Note
from portfolio_trio.hub.remote_run import Abroad
from portfolio_trio.hub.run_state import EndReason, Run
from portfolio_trio.hub.stage import Scene, Stage
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    MetricFailure,
    Portfolio,
    Running,
)
from portfolio_trio.store import Known, PortfolioChanged, RunSuperseded, SessionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.events import Kind
    from portfolio_trio.hub.stage import SceneKind
    from portfolio_trio.protocol.messages import Message, PortfolioUpdate
    from portfolio_trio.store import Ending
    from portfolio_trio.store import Portfolio as State

SessionEvent = (
    Portfolio
    | AnalysisStarted
    | AnalysisResult
    | MetricFailure
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
)
"""What every viewer of a session gets, whichever socket caused it."""

_SCENES: Mapping[Kind, SceneKind] = {
    "analysis_started": "started",
    "analysis_result": "outcome",
    "metric_error": "outcome",
    "analysis_completed": "end",
    "analysis_cancelled": "end",
    "analysis_failed": "end",
}


class Viewer(Protocol):
    """One socket, as the other sockets of its session know it."""

    def fail(self) -> None:
        """End the socket with 1011; cannot fail itself."""

    def see(self, event: str, run: Run | None = None) -> None:
        """Queue an event of the session; a socket without the subprotocol ignores it."""

    def see_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits."""

    def answer(self, message: Message, run: Run | None = None) -> None:
        """Queue what the socket gets whether or not it speaks the subprotocol."""

    @property
    def sees_events(self) -> bool:
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
        self, reason: EndReason, *, answered: Viewer | None = None
    ) -> AnalysisCancelled | None:
        """End the socket's run and wait until its task has ended; return its last event, if it was open.

        All sockets see that event but the one that is answered with it.
        """

    async def clear_run(self) -> None:
        """Say in the document that the socket's run is over, if it may still stand there."""

    async def supersede_run(self, run_id: int, standing: int | None = None) -> None:
        """End the socket's run, if its number is below this one, and wait until its task has ended."""

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the socket's run, if this is or was its number; as `stop_run`."""

    def renew_run(self, version: int, standing: int | None = None) -> None:
        """Start the socket's run again, if it works on an older version; ``standing`` as for a room's."""


class Teller(Protocol):
    """The way to the other workers."""

    @property
    def me(self) -> str:
        """The name of this worker."""

    def tell(self, others: Iterable[str], note: Note) -> None:
        """Queue a note for some workers; never waits."""

    def forget(self, worker: str) -> None:
        """A worker has died: nothing waits for it any more."""


class Room:
    """The sockets of one session.

    Attributes:
        session_id: The session.
        turn: Held while one socket ends the runs of the others and starts its own.
        abroad: What is known of the session's life on other workers.
        stage: What the sockets have been shown, and what may follow.
        attached: The document names this worker among those that have sockets of the session.
        incarnation: Which document of the session is known; empty before the first.
    """

    def __init__(
        self,
        session_id: str,
        teller: Teller,
        shown: trio.lowlevel.ParkingLot,
        faults: Faults,
        on_hold: Callable[[Room], None],
    ) -> None:
        self.session_id = session_id
        self.turn = trio.StrictFIFOLock()
        self.abroad = Abroad()
        self.stage = Stage(self._alone)
        self.attached = False
        self.incarnation = ""
        self._teller = teller
        self._shown = shown
        self._faults = faults
        self._on_hold = on_hold
        self._cancelling: dict[int, Viewer] = {}
        # Stands for the newest run abroad, so that what of it waits can be dropped.
        self._run_abroad: Run | None = None
        # In the order in which they came, so that events leave in the same order each time.
        self._viewers: dict[Viewer, None] = {}

    @property
    def viewers(self) -> tuple[Viewer, ...]:
        """Every socket of the session."""
        return tuple(self._viewers)

    def fail(self) -> None:
        """End every socket of the session here with 1011: what they know is in doubt."""
        for viewer in self.viewers:
            viewer.fail()

    def _alone(self, viewer: Viewer) -> AbstractContextManager[None]:
        """The boundary between one socket and whoever speaks to all: a fault ends that socket only."""
        return self._faults.contained("a viewer", instead=viewer.fail)

    # --- what the sockets are shown ---

    def answer(self, viewer: Viewer, state: Portfolio, request_id: str | int | None = None) -> None:
        """Show a socket the state, or a newer one if that is known; if it gets events, they follow."""
        if self.stage.is_greeted(viewer):
            self._play(Scene("portfolio", state=state, asker=viewer, request_id=request_id))
        elif viewer.sees_events:
            self.stage.greet(viewer, state, request_id)
        else:
            viewer.answer(self.stage.answer(state, request_id))

    def lift(self, state: Portfolio) -> None:
        """A document that had fallen back has new numbers: let all see it, here and on the other workers."""
        self.show_state(state)
        self._tell("portfolio", state, state.to_json(), has_fallen=True)

    def change(self, viewer: Viewer, state: Portfolio, request_id: str | int | None) -> None:
        """A socket has changed the holdings: let all see it, here and on the other workers."""
        self.answer(viewer, state, request_id)
        self.show_state(state)
        self._tell("portfolio", state, state.to_json())

    def show_state(self, state: Portfolio, *, adopts: Running | None = None, again: bool = False) -> None:
        """Let every socket of this worker see a state, unless it has seen it (or ``again``) or a newer one.

        ``adopts`` is a run of another worker that began unseen.
        """
        self._play(Scene("portfolio", state=state, adopts=adopts, again=again))

    def publish(
        self,
        event: SessionEvent,
        *,
        asker: Viewer | None = None,
        request_id: str | int | None = None,
        run: Run | None = None,
        running: Running | None = None,
        but: Viewer | None = None,
        incarnation: str = "",
    ) -> None:
        """Let every socket see an event of a run of this worker, here and on the other workers.

        Args:
            event: What happened.
            asker: The socket that had asked for the run.
            request_id: What its frame echoes.
            run: The run with which the frames can be dropped while they wait.
            running: With a start: the run.
            but: The socket that is answered with the event, and sees it no second time.
            incarnation: Of the document that the run belongs to.
        """
        if isinstance(event, Portfolio):
            raise TypeError("states are shown by `change` and `show_state`")
        own = "" if asker is None or not asker.sees_events else event.echo(request_id).to_json()
        if incarnation != self.incarnation:
            # Its number means another run now; but who had asked waits for its end.
            if asker is not None and own and asker is not but:
                asker.see(own)
            return
        others = bool(self.abroad.others)
        text = event.to_json() if others or self.is_viewed else ""
        self._play(
            Scene(
                _SCENES[event.type],
                text,
                event.run_id,
                run=run,
                running=running,
                asker=asker,
                own=own,
                but=but,
            )
        )
        if others:
            self._tell(event.type, event, text, running)

    def show_note(self, note: Note) -> None:
        """Let every socket of this worker see what happened to a run of another one."""
        if self._run_abroad is None or self._run_abroad.run_id != note.run_id:
            self._run_abroad = Run("", run_id=note.run_id)
        run = self._run_abroad
        if note.kind == "analysis_cancelled":
            self.drop(run)
        scene = Scene(_SCENES[note.kind], note.frame, note.run_id, run=run, running=note.running)
        if scene.kind == "end":
            scene = replace(scene, but=self._cancelling.get(note.run_id or 0))
        self._play(scene)

    def update(self, update: PortfolioUpdate, version: int) -> None:
        """Let every socket see the value at a tick of the holdings of a version."""
        if self.is_viewed:
            tick_id = update.tick_id
            self._play(Scene("portfolio_update", update.to_json(), version=version, tick_id=tick_id))

    def _play(self, scene: Scene) -> None:
        waits = self.stage.awaited
        self.stage.play(scene)
        if self.stage.awaited not in {None, waits}:
            self._on_hold(self)
        self._shown.unpark_all()

    async def calm(self) -> None:
        """Wait until no run is open on another worker, as far as is known."""
        while self.abroad.run is not None:
            await self._shown.park()

    async def over(self, run_id: int) -> None:
        """Wait until the sockets have seen the end of a run, if they have seen its start."""
        while self.stage.open is not None and self.stage.open.run_id == run_id:
            await self._shown.park()

    @property
    def is_viewed(self) -> bool:
        """Whether any socket of the session gets events."""
        return any(viewer.sees_events for viewer in self._viewers)

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start again what runs on prices that are too far from these."""
        for viewer in self.viewers:
            with self._alone(viewer):
                viewer.reprice(prices)

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits, on every socket."""
        self.stage.drop(run)
        for viewer in self._viewers:
            with self._alone(viewer):
                viewer.drop(run)

    def restart_runs(self) -> None:
        """Start what runs again on the new holdings."""
        for viewer in self.viewers:
            with self._alone(viewer):
                viewer.restart_run()

    def renew_runs(self, version: int, standing: int | None = None) -> None:
        """Start what runs on older holdings again.

        Args:
            version: The new holdings.
            standing: The run that was current when they came; 0 for none, None where nobody knows. Another
                one had ended in the document before, and its last results are on their way.
        """
        for viewer in self.viewers:
            with self._alone(viewer):
                viewer.renew_run(version, standing)

    async def supersede_runs(self, run_id: int, standing: int | None = None) -> None:
        """End the runs whose numbers are below this one, and wait until their tasks have ended.

        ``standing`` as for `renew_runs`: the run whose place it took.
        """
        for viewer in self.viewers:
            with self._alone(viewer):
                await viewer.supersede_run(run_id, standing)

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the run with this number; return its last event, if it was open here."""
        stopped = None
        for viewer in self.viewers:
            with self._alone(viewer):
                stopped = await viewer.cancel_run(run_id) or stopped
        return stopped

    async def stop_runs(
        self, reason: EndReason, *, but: Viewer | None = None, answered: Viewer | None = None
    ) -> AnalysisCancelled | None:
        """End the runs of every socket but one; return the last event of the one that was open, if any."""
        stopped = None
        for viewer in self.viewers:
            if viewer is not but:
                with self._alone(viewer):
                    stopped = await viewer.stop_run(reason, answered=answered) or stopped
        return stopped

    @property
    def running(self) -> int | None:
        """The run that is known to be open, here or on another worker, if it has its number."""
        here = (viewer.running for viewer in self._viewers)
        abroad = None if self.abroad.run is None else self.abroad.run.run_id
        return next((run_id for run_id in here if run_id is not None), abroad)

    @property
    def _runs_here(self) -> bool:
        return any(viewer.running is not None for viewer in self._viewers)

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
        self.abroad.others = state.others
        self.abroad.counter = max(self.abroad.counter, state.run_counter)
        self.see_version(state.version)
        current = state.current_analysis
        if current is None or current.worker == self._teller.me or self._runs_here:
            # A run of this worker is not over before its task has ended, which its worker's note sees to.
            return True
        # What is not open here any more, though it stands there, is about to be cleared by its worker.
        self.abroad.follow(current.run_id, current.ticker, current.version, current.worker)
        if first and current.version >= state.version:
            # Nobody here has seen it start: who is greeted from now on knows it from the greeting.
            self.stage.adopt(Running.model_validate(current, from_attributes=True))
        return True

    def _begin_anew(self, state: State) -> None:
        """The session has expired, and this is the document that took its place."""
        known, self.incarnation = self.incarnation, state.incarnation
        if not known:
            return
        self.attached = False
        # Whom the new document does not name will not hear of it otherwise.
        unnamed = [worker for worker in self.abroad.others if worker not in state.others]
        self._teller.tell(unnamed, Note(session_id=self.session_id, kind="look"))
        self.abroad = Abroad()
        self._cancelling.clear()
        self.stage.begin_anew(explain(SessionMissing(self.session_id)).to_json())

    @property
    def known(self) -> Known:
        """The highest numbers that any socket here may have been shown."""
        abroad, stage = self.abroad, self.stage
        version = 0 if stage.newest is None else stage.newest.version
        run_id = max(abroad.newest, abroad.counter, stage.last)
        return Known(self.incarnation, run_id, max(abroad.version, version))

    def contradicts(self, version: int, holdings: Mapping[str, float]) -> bool:
        """Whether other holdings of this version have been shown: the document fell back, and went on."""
        shown = self.stage.newest
        return shown is not None and shown.version == version and shown.holdings != holdings

    def see_version(self, version: int) -> None:
        """The holdings have this version; a run abroad that works on an older one is over."""
        self.abroad.outdate(version)

    def learn(self, others: tuple[str, ...]) -> None:
        """Take from the store which other workers have sockets of the session."""
        self.abroad.others = others

    def learn_late(
        self, others: tuple[str, ...], told: AnalysisCancelled | AnalysisFailed | None = None
    ) -> None:
        """The same, where a worker that is new may have missed the end of a run, ``told`` just before."""
        strangers = [worker for worker in others if worker not in self.abroad.others]
        self.abroad.others = others
        note = Note(session_id=self.session_id, kind="look")
        if told is not None:
            note = Note(
                session_id=self.session_id,
                kind=told.type,
                run_id=told.run_id,
                incarnation=self.incarnation,
                frame=told.to_json(),
            )
        self._teller.tell(strangers, note)

    def meet(self, worker: str) -> None:
        """Another worker speaks of the session: it wants to hear of it, too."""
        if worker not in self.abroad.others:
            self.abroad.others = (*self.abroad.others, worker)

    def claim(self, running: Running, replaced: int, incarnation: str) -> None:
        """A run of a socket has its number and its holdings; what runs on other workers is over by that.

        Raises:
            SessionMissing: It is a run of a document that another one has taken the place of.
            RunSuperseded: A run with a higher number is known.
            PortfolioChanged: Newer holdings are known.
        """
        abroad, run_id, version = self.abroad, running.run_id, running.version
        if incarnation != self.incarnation:
            raise SessionMissing(self.session_id)
        if run_id < abroad.newest:
            raise RunSuperseded(self.session_id, abroad.newest)
        # How it ends is told by the worker that ran it; what comes next waits for that.
        abroad.claim(run_id)
        if abroad.others:
            note = Note(
                session_id=self.session_id,
                kind="claim",
                run_id=run_id,
                version=version,
                ticker=running.ticker,
                replaced=replaced,
                incarnation=self.incarnation,
            )
            self._teller.tell(abroad.others, note)
        if version < abroad.version:
            raise PortfolioChanged(self.session_id, abroad.version)

    def close(self, ending: Ending, *, but: Viewer | None = None) -> None:
        """Let the sockets see that a run is over, if it is open and nobody has told so in time.

        But one that is answered with it.
        """
        run = self.stage.open
        if run is None or run.run_id != ending.run_id:
            return
        abroad = self._run_abroad
        if ending.outcome == "cancelled" and abroad is not None and abroad.run_id == run.run_id:
            self.drop(abroad)
        ended = message_of(ending, run.ticker)
        but = but or self._cancelling.get(run.run_id)
        self._play(Scene("end", ended.to_json(), run.run_id, but=but))

    @contextmanager
    def cancelling(self, run_id: int, viewer: Viewer) -> Iterator[None]:
        """A socket cancels a run of another worker: that worker is told, and its word is the answer."""
        self._cancelling[run_id] = viewer
        self._tell_cancel(run_id)
        try:
            yield
        finally:
            self._cancelling.pop(run_id, None)

    def _tell_cancel(self, run_id: int) -> None:
        note = Note(session_id=self.session_id, kind="cancel", run_id=run_id, incarnation=self.incarnation)
        self._teller.tell(self.abroad.others, note)

    def _tell(
        self,
        kind: Kind,
        event: SessionEvent,
        frame: str,
        running: Running | None = None,
        *,
        has_fallen: bool = False,
    ) -> None:
        if self.abroad.others:
            note = Note(
                session_id=self.session_id,
                kind=kind,
                run_id=None if isinstance(event, Portfolio) else event.run_id,
                version=event.version if isinstance(event, Portfolio) else None,
                running=running,
                frame=frame,
                has_fallen=has_fallen,
                incarnation=self.incarnation,
            )
            self._teller.tell(self.abroad.others, note)


class Hub:
    """The rooms of one process; a room exists while somebody is in it."""

    def __init__(self, teller: Teller, faults: Faults) -> None:
        self._teller = teller
        self._faults = faults
        self._rooms: dict[str, Room] = {}
        # One for all rooms: only who drains or cancels waits here.
        self._shown = trio.lowlevel.ParkingLot()
        self.on_hold: Callable[[Room], None] = lambda _: None
        """Called when something begins to wait for the end of a run."""

    def _hold(self, room: Room) -> None:
        self.on_hold(room)

    @contextmanager
    def join(self, session_id: str, viewer: Viewer) -> Iterator[Room]:
        """Put a socket into its session's room for as long as the context lasts."""
        room = self._rooms.get(session_id)
        if room is None:
            room = self._rooms[session_id] = Room(
                session_id, self._teller, self._shown, self._faults, self._hold
            )
        room._viewers[viewer] = None  # noqa: SLF001 - only the hub lets sockets in and out
        try:
            yield room
        finally:
            del room._viewers[viewer]  # noqa: SLF001 - as above
            room.stage.leave(viewer)
            if not room.viewers:
                del self._rooms[session_id]

    def room(self, session_id: str) -> Room | None:
        """The room of a session; None where it has no open socket."""
        return self._rooms.get(session_id)

    def forget(self, worker: str) -> None:
        """Another worker has died: it is told nothing any more."""
        self._teller.forget(worker)

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Every session with an open socket."""
        return tuple(self._rooms.values())
