"""What the sockets of one session are shown, and in which order: decisions only, no I/O, no clock, no Trio.

Replies of Redis and batches of other workers wake their tasks in no fixed order. So nothing is shown because
its task happens to run, but because it follows from what has been shown: versions never fall, a run begins
once and ends once, an end comes behind all that the run gave, and whatever comes after a run's end in the
document waits until that end is known.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from portfolio_trio.protocol.messages import AnalysisCancelled, Portfolio, Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portfolio_trio.hub.events import SessionEvent
    from portfolio_trio.hub.run_state import EndReason, Run

OrderedEventKind = Literal["portfolio", "portfolio_update", "started", "outcome", "end"]

HOLD_SECONDS: Final = 2.0
"""How long the end of a run is waited for from the worker that ran it, before the document is read."""

WORD_SECONDS: Final = 10.0
"""How long it is waited for where the document has no word of that worker; by then it is dead, or told."""

MAX_HELD_EVENTS: Final = 1_000
"""How much may wait for the end of a run before that end is given up."""


class EventSubscriber(Protocol):
    """A socket that gets events, as the sequencer knows it."""

    def enqueue(self, frame: str, run: Run | None = None) -> None:
        """Queue an event; it can be dropped with ``run``, if one is given."""

    def enqueue_latest(self, frame: str) -> None:
        """Queue an event in place of the latest one that still waits."""


@dataclass(slots=True, eq=False)
class OrderedEvent:
    """One thing that happened.

    Nobody changes it; it is not frozen, since a frozen one takes three times as long to make.

    Attributes:
        kind: What.
        text: The frame for whoever did not ask for it; a state is written for each socket.
        message: What the frame is written from, once somebody is to see it, where there is no text.
        run_id: The run it is about.
        run: The run with which it can be dropped while it waits.
        running: With a start: the run.
        metric: With an outcome: of which metric; empty where nobody said.
        state: With ``portfolio``: the document as it was at some moment.
        adopts: With ``portfolio``: the run that it names counts as started.
        again: With ``portfolio``: something may have been missed; who has seen it sees it again.
        version: With ``portfolio_update``: the holdings it values.
        tick_id: With ``portfolio_update``: the tick.
        outcomes: With an end: how many results and errors have come before it, where a batch of them may be
            lost. The end waits for them, or for what the document has of them.
        requester: Who had asked, and gets ``own`` in place of ``text``, or a state with ``request_id``.
        own: The frame for who had asked.
        request_id: Of who had asked.
        exclude: Who is told otherwise.
        answer: What that one is told, in the place of the event.
    """

    kind: OrderedEventKind
    text: str = ""
    run_id: int | None = None
    run: Run | None = None
    running: Running | None = None
    metric: str = ""
    state: Portfolio | None = None
    adopts: Running | None = None
    again: bool = False
    version: int = 0
    tick_id: int = 0
    outcomes: int = 0
    requester: EventSubscriber | None = None
    own: str = ""
    request_id: str | int | None = None
    exclude: EventSubscriber | None = None
    answer: str = ""
    message: SessionEvent | None = None

    def text_for(self, subscriber: EventSubscriber) -> str:
        """The frame for a socket."""
        return self.own if subscriber is self.requester else self.frame()

    def frame(self) -> str:
        """The frame for whoever did not ask, written once."""
        if not self.text and self.message is not None:
            self.text = self.message.to_json()
        return self.text


@dataclass(slots=True)
class _Seen:
    """What one socket has been shown: the newest version and tick, and the run that is open for it."""

    version: int = 0
    tick_id: int = 0
    open: int | None = None
    told: bool = False


class EventSequencer:
    """Shows what happens in one session to its sockets, in an order that holds for all of them.

    Args:
        alone: The boundary round what is done to one socket, so that its faults are its own.

    Attributes:
        newest: The newest state that is known, as the document had it, without the values of its lines:
            it is kept for as long as the session has sockets.
        open: The run whose start has been shown, and whose end has not.
        outcomes: Of which metrics the open run has been shown a result or an error.
        released: How many events have waited and wait no more, since the beginning.
    """

    def __init__(self, alone: Callable[[Any], AbstractContextManager[object]] = nullcontext) -> None:
        self._alone = alone
        self.newest: Portfolio | None = None
        self.open: Running | None = None
        self.outcomes: tuple[str, ...] = ()
        self.released = 0
        self._last = 0
        # The open run was under way when the first socket came: what it gave before that is not shown.
        self._joined = False
        self._requester: EventSubscriber | None = None
        self._seen: dict[EventSubscriber, _Seen] = {}
        # A list and not a deque: it is nearly always empty, and an empty one costs a tenth.
        self._held: list[OrderedEvent] = []

    @property
    def awaited(self) -> int | None:
        """The run whose end others wait for."""
        return self.open.run_id if self._held and self.open is not None else None

    @property
    def waiting(self) -> int:
        """How many events wait for the end of a run."""
        return len(self._held)

    @property
    def last(self) -> int:
        """The highest run whose start or end has been shown."""
        return self._last

    def is_over(self, run_id: int) -> bool:
        """Whether the end of a run has been shown, or ruled out by what has."""
        return run_id <= self._last and (self.open is None or self.open.run_id != run_id)

    # --- the subscribers ---

    def subscribe(
        self, subscriber: EventSubscriber, state: Portfolio, request_id: str | int | None = None
    ) -> None:
        """Show a new subscriber the state; from now on it sees what happens."""
        newest = self._merge(state)
        current = self.open if self.open is not None and self.open.version >= newest.version else None
        self._seen[subscriber] = _Seen(
            newest.version, newest.valued.tick_id, None if current is None else current.run_id
        )
        self._enqueue(subscriber, _frame(newest, current, request_id))

    def leave(self, subscriber: EventSubscriber) -> None:
        """A socket has gone."""
        self._seen.pop(subscriber, None)

    def mark_told(self, subscriber: EventSubscriber) -> None:
        """A socket has been told that its session has expired."""
        seen = self._seen.get(subscriber)
        if seen is not None:
            seen.told = True

    def begin_anew(self, expired: str) -> None:
        """The session has expired and was made anew: nothing of what was is true any more.

        Args:
            expired: The frame that says so, for each socket that has not been told.
        """
        # Who had asked for it is answered by its own task.
        self.close("disconnected", exclude=self._requester)
        # Whoever waits for an answer gets it.
        held, self._held = self._held, []
        for event in held:
            self._broadcast(event)
        self.open, self.outcomes, self.newest, self._last = None, (), None, 0
        for subscriber, seen in self._seen.items():
            if not seen.told:
                self._enqueue(subscriber, expired)
            self._seen[subscriber] = _Seen()

    def is_subscribed(self, subscriber: EventSubscriber) -> bool:
        """Whether a socket gets the events."""
        return subscriber in self._seen

    def answer(self, state: Portfolio, request_id: str | int | None) -> Portfolio:
        """The state for a socket that sees no events: this one, or a newer one if that is known."""
        newest = self._merge(state)
        current = newest.current_analysis
        if current is not None and (current.version < newest.version or current.run_id <= self._last):
            current = None
        return newest.model_copy(update={"current_analysis": self.open or current, "id": request_id})

    def adopt(self, running: Running) -> None:
        """A run counts as started, for whoever subscribes from now on."""
        if running.run_id > self._last and self.open is None:
            self._open(running)
            self._joined = True

    # --- what happens ---

    def publish(self, event: OrderedEvent) -> None:
        """Show an event, now or later; or never, where what has been shown rules it out."""
        if self._held and (self.open is None or event.run_id != self.open.run_id):
            self._held.append(event)
            if len(self._held) > MAX_HELD_EVENTS:
                self._give_up()
            return
        if self._must_wait(event):
            self._held.append(event)
            return
        if event.kind == "outcome" and self._is_doomed:
            return
        self._broadcast(event)
        self._release()

    def skip(self, run_id: int) -> bool:
        """Take a run as over of which no socket is shown anything; False where others come first."""
        if self._held or self.open is not None or run_id <= self._last:
            return False
        self._last = run_id
        return True

    def _release(self) -> None:
        """Show what need not wait any more."""
        while self._held:
            place = 0 if not self._must_wait(self._held[0]) else self._next_of_open_run()
            if place is None:
                return
            event = self._held.pop(place)
            self.released += 1
            if place == 0 or event.kind != "outcome" or not self._is_doomed:
                self._broadcast(event)

    def _next_of_open_run(self) -> int | None:
        """Where the next event of the open run waits: what it makes wait may have come before it.

        A run that began while another had not ended has all it did waiting here, its end among it.
        """
        run = self.open
        places = (
            place
            for place, event in enumerate(self._held)
            if run is not None and event.run_id == run.run_id and event.kind in {"outcome", "end"}
        )
        return next((place for place in places if not self._must_wait(self._held[place])), None)

    def _give_up(self) -> None:
        """Too much waits for the end of the open run: show the one that is known, if one is."""
        run = self.open
        known = (event for event in self._held if run is not None and event.run_id == run.run_id)
        ended = next((event for event in known if event.kind == "end"), None)
        if ended is None:
            self.close("superseded")
        else:
            self.publish(replace(ended, outcomes=0))

    def close(self, reason: EndReason | str, *, exclude: EventSubscriber | None = None) -> None:
        """The open run is over, and nobody can say better how than ``reason``."""
        if self.open is not None:
            ended = AnalysisCancelled(ticker=self.open.ticker, run_id=self.open.run_id, reason=reason)
            self.publish(OrderedEvent("end", ended.to_json(), run_id=self.open.run_id, exclude=exclude))

    def drop(self, run: Run) -> None:
        """Forget what of a run's outcomes still waits."""
        self._held = [s for s in self._held if s.run is not run or s.kind != "outcome"]

    @property
    def _is_doomed(self) -> bool:
        """Whether the open run was cut short by new holdings: then no more numbers on the old ones."""
        run = self.open
        return run is not None and any(
            event.state is not None
            and event.state.version > run.version
            and event.state.current_analysis is not None
            and event.state.current_analysis.run_id == run.run_id
            for event in self._held
        )

    def lacks(self, outcomes: int) -> bool:
        """Whether the open run has ended with more results and errors than have been shown of it."""
        return "" not in self.outcomes and len(self.outcomes) < outcomes

    def _must_wait(self, event: OrderedEvent) -> bool:
        """Whether an event comes after the end of the open run, which has not been shown yet."""
        run = self.open
        if run is None:
            return False
        if event.kind == "started":
            return event.run_id is not None and event.run_id > run.run_id
        if event.kind == "end":
            return event.run_id == run.run_id and not self._joined and self.lacks(event.outcomes)
        if event.adopts is not None and event.adopts.run_id > run.run_id:
            # A run that began unseen, read in the document: the end of the one before it was unseen, too.
            return True
        # A state is shown as the newest one that is known, and somebody else may have brought that.
        return event.state is not None and max(event.state.version, self._known_version) > run.version

    @property
    def _known_version(self) -> int:
        return 0 if self.newest is None else self.newest.version

    def _broadcast(self, event: OrderedEvent) -> None:
        if event.kind == "portfolio" and event.state is not None:
            self._broadcast_state(event, event.state)
        elif event.kind == "portfolio_update":
            self._broadcast_update(event)
        elif event.kind == "started" and event.running is not None:
            self._broadcast_start(event, event.running)
        elif event.kind == "outcome":
            self._broadcast_outcome(event)
        elif event.kind == "end":
            self._broadcast_end(event, event.run_id)

    def _broadcast_state(self, event: OrderedEvent, state: Portfolio) -> None:
        newest = self._merge(state)
        adopted = event.adopts if event.adopts is not None and event.adopts.run_id > self._last else None
        if adopted is not None:
            self._open(adopted)
        for subscriber, seen in self._seen.items():
            asked = subscriber is event.requester
            if not (asked or event.again or adopted is not None or seen.version < newest.version):
                continue
            seen.version = newest.version
            seen.tick_id = max(seen.tick_id, newest.valued.tick_id)
            if adopted is not None:
                seen.open = adopted.run_id
            current = self.open if self.open is not None and self.open.run_id == seen.open else None
            self._enqueue(subscriber, _frame(newest, current, event.request_id if asked else None))

    def _broadcast_update(self, event: OrderedEvent) -> None:
        for subscriber, seen in self._seen.items():
            if seen.version <= event.version and seen.tick_id <= event.tick_id:
                seen.tick_id = event.tick_id
                with self._alone(subscriber):
                    subscriber.enqueue_latest(event.text)

    def _broadcast_start(self, event: OrderedEvent, running: Running) -> None:
        if running.run_id <= self._last:
            return
        self._open(running)
        self._requester = event.requester
        for subscriber, seen in self._seen.items():
            if seen.version > running.version:
                # It was over before the holdings that this socket has been shown: too late to begin.
                continue
            seen.open = running.run_id
            self._enqueue(subscriber, event.text_for(subscriber))

    def _broadcast_outcome(self, event: OrderedEvent) -> None:
        if self.open is None or self.open.run_id != event.run_id:
            return
        if event.metric and event.metric in self.outcomes:
            return
        self.outcomes = (*self.outcomes, event.metric)
        for subscriber, seen in self._seen.items():
            # Once newer holdings have been shown, no number on older ones.
            if seen.open == event.run_id and seen.version <= self.open.version:
                self._enqueue(subscriber, event.text_for(subscriber), event.run)

    def _broadcast_end(self, event: OrderedEvent, run_id: int | None) -> None:
        # One that ends before it has begun for anybody says so, once.
        never_began = run_id is None or run_id > self._last
        if run_id is not None:
            self._last = max(self._last, run_id)
        if self.open is not None and self.open.run_id == run_id:
            self.open, self.outcomes = None, ()
        for subscriber, seen in self._seen.items():
            is_open = run_id is not None and seen.open == run_id
            if is_open:
                seen.open = None
            if subscriber is event.exclude:
                if event.answer:
                    self._enqueue(subscriber, event.answer)
            elif is_open or never_began or subscriber is event.requester:
                self._enqueue(subscriber, event.text_for(subscriber))

    def _open(self, running: Running) -> None:
        self.open, self.outcomes, self._last = running, (), running.run_id
        self._joined = False

    def _enqueue(self, subscriber: EventSubscriber, frame: str, run: Run | None = None) -> None:
        with self._alone(subscriber):
            subscriber.enqueue(frame, run)

    def _merge(self, state: Portfolio) -> Portfolio:
        """Know a state; return that, or a newer one that is known."""
        if self.newest is None or _place(self.newest) <= _place(state):
            # A set of the fields that were given would be a tenth of an idle session.
            kept = {**state.__dict__, "id": None, "values": None}
            self.newest = Portfolio.model_construct(_fields_set=set(), **kept)
            return state
        return self.newest


def _place(state: Portfolio) -> tuple[int, int]:
    return state.version, state.valued.tick_id


def _frame(state: Portfolio, current: Running | None, request_id: str | int | None) -> str:
    return state.model_copy(update={"current_analysis": current, "id": request_id}).to_json()
