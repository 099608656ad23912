"""What the sockets of one session are shown, and in which order: decisions only, no I/O, no clock, no Trio.

Replies of Redis and letters of other workers wake their tasks in no fixed order. So nothing is shown because
its task happens to run, but because it follows from what has been shown: versions never fall, a run begins
once and ends once, and whatever comes after a run's end in the document waits until that end is known.
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from portfolio_trio.protocol.messages import AnalysisCancelled, Portfolio, Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portfolio_trio.hub.run_state import EndReason, Run

SceneKind = Literal["portfolio", "portfolio_update", "started", "outcome", "end"]

HOLD_SECONDS: Final = 2.0
"""How long the end of a run is waited for from the worker that ran it."""

HELD_SCENES: Final = 1_000
"""How much may wait for the end of a run before that end is given up."""


class Spectator(Protocol):
    """A socket that gets events, as the stage knows it."""

    def see(self, event: str, run: Run | None = None) -> None:
        """Queue an event; it can be dropped with ``run``, if one is given."""

    def see_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that happened.

    Attributes:
        kind: What.
        text: The frame for whoever did not ask for it; a state is written for each socket.
        run_id: The run it is about.
        run: The run with which it can be dropped while it waits.
        running: With a start: the run.
        state: With ``portfolio``: the document as it was at some moment.
        adopts: With ``portfolio``: the run that it names counts as started.
        again: With ``portfolio``: something may have been missed; who has seen it sees it again.
        version: With ``portfolio_update``: the holdings it values.
        tick_id: With ``portfolio_update``: the tick.
        asker: Who had asked, and gets ``own`` in place of ``text``, or a state with ``request_id``.
        own: The frame for who had asked.
        request_id: Of who had asked.
        but: Who is told otherwise.
    """

    kind: SceneKind
    text: str = ""
    run_id: int | None = None
    run: Run | None = None
    running: Running | None = None
    state: Portfolio | None = None
    adopts: Running | None = None
    again: bool = False
    version: int = 0
    tick_id: int = 0
    asker: Spectator | None = None
    own: str = ""
    request_id: str | int | None = None
    but: Spectator | None = None


@dataclass(slots=True)
class _Sight:
    """What one socket has been shown: the newest version and tick, and the run that is open for it."""

    version: int = 0
    tick_id: int = 0
    open: int | None = None
    told: bool = False


class Stage:
    """Shows what happens in one session to its sockets, in an order that holds for all of them.

    Args:
        alone: The boundary round what is done to one socket, so that its faults are its own.

    Attributes:
        newest: The newest state that is known, as the document had it.
        open: The run whose start has been shown, and whose end has not.
        released: How many scenes have waited and wait no more, since the beginning.
    """

    def __init__(self, alone: Callable[[Any], AbstractContextManager[object]] = nullcontext) -> None:
        self._alone = alone
        self.newest: Portfolio | None = None
        self.open: Running | None = None
        self.released = 0
        self._last = 0
        self._asker: Spectator | None = None
        self._sights: dict[Spectator, _Sight] = {}
        self._held: deque[Scene] = deque()

    @property
    def awaited(self) -> int | None:
        """The run whose end others wait for."""
        return self.open.run_id if self._held and self.open is not None else None

    @property
    def waiting(self) -> int:
        """How many scenes wait for the end of a run."""
        return len(self._held)

    @property
    def last(self) -> int:
        """The highest run whose start or end has been shown."""
        return self._last

    def is_over(self, run_id: int) -> bool:
        """Whether the end of a run has been shown, or ruled out by what has."""
        return run_id <= self._last and (self.open is None or self.open.run_id != run_id)

    # --- who looks on ---

    def greet(self, spectator: Spectator, state: Portfolio, request_id: str | int | None = None) -> None:
        """Show a newcomer the state; from now on it sees what happens."""
        newest = self._merge(state)
        current = self.open if self.open is not None and self.open.version >= newest.version else None
        self._sights[spectator] = _Sight(
            newest.version, newest.valued.tick_id, None if current is None else current.run_id
        )
        self._see(spectator, _frame(newest, current, request_id))

    def leave(self, spectator: Spectator) -> None:
        """A socket has gone."""
        self._sights.pop(spectator, None)

    def tell(self, spectator: Spectator) -> None:
        """A socket has been told that its session has expired."""
        sight = self._sights.get(spectator)
        if sight is not None:
            sight.told = True

    def begin_anew(self, expired: str) -> None:
        """The session has expired and was made anew: nothing of what was is true any more.

        Args:
            expired: The frame that says so, for each socket that has not been told.
        """
        # Who had asked for it is answered by its own task.
        self.close("disconnected", but=self._asker)
        # Whoever waits for an answer gets it.
        held, self._held = self._held, deque()
        for scene in held:
            self._show(scene)
        self.open, self.newest, self._last = None, None, 0
        for spectator, sight in self._sights.items():
            if not sight.told:
                self._see(spectator, expired)
            self._sights[spectator] = _Sight()

    def is_greeted(self, spectator: Spectator) -> bool:
        """Whether a socket sees what happens."""
        return spectator in self._sights

    def answer(self, state: Portfolio, request_id: str | int | None) -> Portfolio:
        """The state for a socket that sees no events: this one, or a newer one if that is known."""
        newest = self._merge(state)
        current = newest.current_analysis
        if current is not None and (current.version < newest.version or current.run_id <= self._last):
            current = None
        return newest.model_copy(update={"current_analysis": self.open or current, "id": request_id})

    def adopt(self, running: Running) -> None:
        """A run counts as started, for whoever is greeted from now on."""
        if running.run_id > self._last and self.open is None:
            self.open, self._last = running, running.run_id

    # --- what happens ---

    def play(self, scene: Scene) -> None:
        """Show a scene, now or when its turn has come; or never, where what has been shown rules it out."""
        if self._held and (self.open is None or scene.run_id != self.open.run_id):
            self._held.append(scene)
            if len(self._held) > HELD_SCENES and self.open is not None:
                self.close("superseded")
            return
        if self._must_wait(scene):
            self._held.append(scene)
            return
        if scene.kind == "outcome" and self._is_doomed:
            return
        self._show(scene)
        while self._held and not self._must_wait(self._held[0]):
            self.released += 1
            self._show(self._held.popleft())

    def close(self, reason: EndReason | str, *, but: Spectator | None = None) -> None:
        """The open run is over, and nobody can say better how than ``reason``."""
        if self.open is not None:
            ended = AnalysisCancelled(ticker=self.open.ticker, run_id=self.open.run_id, reason=reason)
            self.play(Scene("end", ended.to_json(), run_id=self.open.run_id, but=but))

    def drop(self, run: Run) -> None:
        """Forget what of a run's outcomes still waits."""
        self._held = deque(s for s in self._held if s.run is not run or s.kind != "outcome")

    @property
    def _is_doomed(self) -> bool:
        """Whether the open run was cut short by new holdings: then no more numbers on the old ones."""
        run = self.open
        return run is not None and any(
            scene.state is not None
            and scene.state.current_analysis is not None
            and scene.state.current_analysis.run_id == run.run_id
            for scene in self._held
        )

    def _must_wait(self, scene: Scene) -> bool:
        """Whether a scene comes after the end of the open run, which has not been shown yet."""
        run = self.open
        if run is None:
            return False
        if scene.kind == "started":
            return scene.run_id is not None and scene.run_id > run.run_id
        if scene.adopts is not None and scene.adopts.run_id > run.run_id:
            # A run that began unseen, read in the document: the end of the one before it was unseen, too.
            return True
        return scene.state is not None and scene.state.version > run.version

    def _show(self, scene: Scene) -> None:
        if scene.kind == "portfolio" and scene.state is not None:
            self._show_state(scene, scene.state)
        elif scene.kind == "portfolio_update":
            self._show_update(scene)
        elif scene.kind == "started" and scene.running is not None:
            self._show_start(scene, scene.running)
        elif scene.kind == "outcome":
            self._show_outcome(scene)
        elif scene.kind == "end":
            self._show_end(scene, scene.run_id)

    def _show_state(self, scene: Scene, state: Portfolio) -> None:
        newest = self._merge(state)
        adopted = scene.adopts if scene.adopts is not None and scene.adopts.run_id > self._last else None
        if adopted is not None:
            self.open, self._last = adopted, adopted.run_id
        for spectator, sight in self._sights.items():
            asked = spectator is scene.asker
            if not (asked or scene.again or adopted is not None or sight.version < newest.version):
                continue
            sight.version = newest.version
            sight.tick_id = max(sight.tick_id, newest.valued.tick_id)
            if adopted is not None:
                sight.open = adopted.run_id
            current = self.open if self.open is not None and self.open.run_id == sight.open else None
            self._see(spectator, _frame(newest, current, scene.request_id if asked else None))

    def _show_update(self, scene: Scene) -> None:
        for spectator, sight in self._sights.items():
            if sight.version <= scene.version and sight.tick_id <= scene.tick_id:
                sight.tick_id = scene.tick_id
                with self._alone(spectator):
                    spectator.see_latest(scene.text)

    def _show_start(self, scene: Scene, running: Running) -> None:
        if running.run_id <= self._last:
            return
        self.open, self._last, self._asker = running, running.run_id, scene.asker
        for spectator, sight in self._sights.items():
            if sight.version > running.version:
                # It was over before the holdings that this socket has been shown: too late to begin.
                continue
            sight.open = running.run_id
            self._see(spectator, _text_for(spectator, scene))

    def _show_outcome(self, scene: Scene) -> None:
        if self.open is None or self.open.run_id != scene.run_id:
            return
        for spectator, sight in self._sights.items():
            # Once newer holdings have been shown, no number on older ones.
            if sight.open == scene.run_id and sight.version <= self.open.version:
                self._see(spectator, _text_for(spectator, scene), scene.run)

    def _show_end(self, scene: Scene, run_id: int | None) -> None:
        # One that ends before it has begun for anybody says so, once.
        never_began = run_id is None or run_id > self._last
        if run_id is not None:
            self._last = max(self._last, run_id)
        if self.open is not None and self.open.run_id == run_id:
            self.open = None
        for spectator, sight in self._sights.items():
            is_open = run_id is not None and sight.open == run_id
            if is_open:
                sight.open = None
            if (is_open or never_began or spectator is scene.asker) and spectator is not scene.but:
                self._see(spectator, _text_for(spectator, scene))

    def _see(self, spectator: Spectator, event: str, run: Run | None = None) -> None:
        with self._alone(spectator):
            spectator.see(event, run)

    def _merge(self, state: Portfolio) -> Portfolio:
        if self.newest is None or _place(self.newest) <= _place(state):
            self.newest = state if state.id is None else state.model_copy(update={"id": None})
        return self.newest


def _place(state: Portfolio) -> tuple[int, int]:
    return state.version, state.valued.tick_id


def _text_for(spectator: Spectator, scene: Scene) -> str:
    return scene.own if spectator is scene.asker else scene.text


def _frame(state: Portfolio, current: Running | None, request_id: str | int | None) -> str:
    return state.model_copy(update={"current_analysis": current, "id": request_id}).to_json()
