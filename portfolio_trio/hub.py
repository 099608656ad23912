"""The sockets of this process, by session: who sees whose events, and whose turn it is to start a run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from portfolio_trio.peers.abroad import Abroad
from portfolio_trio.peers.letters import Note
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    MetricFailure,
    Portfolio,
)
from portfolio_trio.slot import EndReason
from portfolio_trio.store import PortfolioChanged, RunSuperseded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.peers.letters import Kind
    from portfolio_trio.slot import Run
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


class Viewer(Protocol):
    """One socket, as the other sockets of its session know it."""

    def fail(self) -> None:
        """End the socket with 1011; cannot fail itself."""

    def see(self, event: str, run: Run | None = None) -> None:
        """Queue an event of the session; a socket without the subprotocol ignores it."""

    def see_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits."""

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

    async def supersede_run(self, run_id: int) -> None:
        """End the socket's run, if its number is below this one, and wait until its task has ended."""

    async def cancel_run(self, run_id: int) -> AnalysisCancelled | None:
        """End the socket's run, if this is or was its number; as `stop_run`."""

    def renew_run(self, version: int) -> None:
        """Start the socket's run again, if it works on an older version of the holdings."""


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
        attached: The document names this worker among those that have sockets of the session.
    """

    def __init__(
        self, session_id: str, teller: Teller, shown: trio.lowlevel.ParkingLot, faults: Faults
    ) -> None:
        self.session_id = session_id
        self.turn = trio.StrictFIFOLock()
        self.abroad = Abroad()
        self.attached = False
        self._teller = teller
        self._shown = shown
        self._faults = faults
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

    def publish(self, event: SessionEvent, *but: Viewer | None, run: Run | None = None) -> None:
        """Let every socket but some see an event, here and on the other workers."""
        viewers = [viewer for viewer in self._viewers if viewer not in but and viewer.sees_events]
        if viewers or self.abroad.others:
            text = event.to_json()
            for viewer in viewers:
                with self._alone(viewer):
                    viewer.see(text, run)
            self._tell(event.type, event, text)

    def show(self, event: str, run: Run | None = None) -> None:
        """Let every socket of this worker see an event."""
        for viewer in self._viewers:
            with self._alone(viewer):
                viewer.see(event, run)
        self._shown.unpark_all()

    async def calm(self) -> None:
        """Wait until no run is open on another worker, as far as is known."""
        while self.abroad.run is not None:
            await self._shown.park()

    def publish_latest(self, event: str) -> None:
        """Let every socket see an event that replaces the one before."""
        for viewer in self._viewers:
            with self._alone(viewer):
                viewer.see_latest(event)

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
        for viewer in self._viewers:
            with self._alone(viewer):
                viewer.drop(run)

    def restart_runs(self) -> None:
        """Start what runs again on the new holdings."""
        for viewer in self.viewers:
            with self._alone(viewer):
                viewer.restart_run()

    def renew_runs(self, version: int) -> None:
        """Start what runs on older holdings again."""
        for viewer in self.viewers:
            with self._alone(viewer):
                viewer.renew_run(version)

    async def supersede_runs(self, run_id: int) -> None:
        """End the runs whose numbers are below this one, and wait until their tasks have ended."""
        for viewer in self.viewers:
            with self._alone(viewer):
                await viewer.supersede_run(run_id)

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

    def enter(self, state: State) -> None:
        """Take the state of the session as the store has it, on attaching to it."""
        if not self.attached:
            self.attached = True
            self.note_shown(state.version)
        self.abroad.others = state.others
        self.see_version(state.version)
        current = state.current_analysis
        if current is None or current.worker == self._teller.me or self._runs_here:
            # A run of this worker is not over before its task has ended, which its worker's note sees to.
            return
        # What is not open here any more, though it stands there, is about to be cleared by its worker.
        self.follow(current.run_id, current.ticker, current.version, current.worker)

    def follow(self, run_id: int, ticker: str, version: int, owner: str) -> None:
        """A run has begun on another worker; the one before it is over. Nothing, if it is no news."""
        self.close(self.abroad.follow(run_id, ticker, version, owner), EndReason.SUPERSEDED)

    def note_shown(self, version: int) -> None:
        """All sockets have been shown, or are about to be shown, the holdings of this version."""
        self.abroad.shown = max(self.abroad.shown, version)

    def see_version(self, version: int) -> None:
        """The holdings have this version; a run abroad that works on an older one is over."""
        self.close(self.abroad.outdate(version), EndReason.PORTFOLIO_CHANGED)

    def learn(self, others: tuple[str, ...]) -> None:
        """Take from the store which other workers have sockets of the session."""
        self.abroad.others = others

    def learn_late(self, others: tuple[str, ...]) -> None:
        """The same, where a worker that is new may have missed what was told just before."""
        strangers = [worker for worker in others if worker not in self.abroad.others]
        self.abroad.others = others
        self._teller.tell(strangers, Note(session_id=self.session_id, kind="look"))

    def claim(self, run_id: int, ticker: str, version: int) -> None:
        """A run of a socket has its number and its holdings; what runs on other workers is over by that.

        Raises:
            RunSuperseded: A run with a higher number is known.
            PortfolioChanged: Newer holdings are known.
        """
        abroad = self.abroad
        if run_id < abroad.newest:
            raise RunSuperseded(self.session_id, abroad.newest)
        self.close(abroad.claim(run_id), EndReason.SUPERSEDED)
        if abroad.others:
            note = Note(
                session_id=self.session_id, kind="claim", run_id=run_id, version=version, ticker=ticker
            )
            self._teller.tell(abroad.others, note)
        if version < abroad.version:
            raise PortfolioChanged(self.session_id, abroad.version)

    def close(self, run: Run | None, reason: EndReason) -> None:
        """Let the sockets see that a run abroad is over, if they have not seen it yet."""
        if run is not None:
            self.drop(run)
            self.show(AnalysisCancelled(ticker=run.ticker, run_id=run.run_id, reason=reason).to_json())

    def end_abroad(self, run_id: int) -> bool:
        """A run abroad is cancelled, and older ones are over; whether it was known to be open."""
        run = self.abroad.cancel(run_id)
        if run is None or run.run_id != run_id:
            self.close(run, EndReason.SUPERSEDED)
            return False
        self.drop(run)
        return True

    def cancel_abroad(self, event: AnalysisCancelled, *, but: Viewer) -> None:
        """A socket has cancelled a run of another worker: let all see it, and that worker end it."""
        text = event.to_json()
        if event.run_id is not None and (
            event.run_id > self.abroad.newest or self.abroad.is_open(event.run_id)
        ):
            self.end_abroad(event.run_id)
            for viewer in self._viewers:
                if viewer is not but:
                    with self._alone(viewer):
                        viewer.see(text)
            self._shown.unpark_all()
        self._tell("cancel", event, text)

    def _tell(self, kind: Kind, event: SessionEvent, frame: str) -> None:
        if self.abroad.others:
            note = Note(
                session_id=self.session_id,
                kind=kind,
                run_id=event.running if isinstance(event, Portfolio) else event.run_id,
                version=event.version if isinstance(event, Portfolio) else None,
                frame=frame,
            )
            self._teller.tell(self.abroad.others, note)


class Hub:
    """The rooms of one process; a room exists while somebody is in it."""

    def __init__(self, teller: Teller, faults: Faults) -> None:
        self._teller = teller
        self._faults = faults
        self._rooms: dict[str, Room] = {}
        # One for all rooms: only who drains waits here.
        self._shown = trio.lowlevel.ParkingLot()

    @contextmanager
    def join(self, session_id: str, viewer: Viewer) -> Iterator[Room]:
        """Put a socket into its session's room for as long as the context lasts."""
        room = self._rooms.get(session_id)
        if room is None:
            room = self._rooms[session_id] = Room(session_id, self._teller, self._shown, self._faults)
        room._viewers[viewer] = None  # noqa: SLF001 - only the hub lets sockets in and out
        try:
            yield room
        finally:
            del room._viewers[viewer]  # noqa: SLF001 - as above
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
