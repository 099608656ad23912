"""What the sockets of one session are shown, and in which order: decisions only, no I/O, no clock, no Trio.

Replies of Redis and batches of other workers wake their tasks in no fixed order. So the order in which tasks
run does not decide what is shown, but only what has been shown before: versions never decrease, a run begins
once and ends once, an end comes after all outcomes of the run, and whatever comes after a run's end in the
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
"""Seconds to wait for the end of a run from the worker that ran it, before the document is read."""

WORD_SECONDS: Final = 10.0
"""Seconds to wait if the document has no report from that worker; by then it is lost, or has reported."""

MAX_HELD_EVENTS: Final = 1_000
"""How many events may wait for the end of a run before it is no longer waited for."""


class EventSubscriber(Protocol):
    """A socket that gets events, as the sequencer uses it."""

    def enqueue(self, frame: str, run: Run | None = None) -> None:
        """Queue an event; it can be dropped with ``run``, if one is given."""

    def enqueue_latest(self, frame: str) -> None:
        """Queue an event, replacing the latest one that still waits."""


@dataclass(slots=True, eq=False)
class OrderedEvent:
    """One event.

    It is never modified; it is not frozen, because a frozen one takes three times as long to create.

    Attributes:
        kind: The kind of event.
        text: The frame for sockets other than the requester; a state is written for each socket.
        message: The message from which the frame is made when it is first needed, if there is no text.
        run_id: The run it concerns.
        run: The run with which it can be dropped while it waits.
        running: For a start: the run.
        metric: For an outcome: its metric; empty if unknown.
        state: For ``portfolio``: the document as it was at some moment.
        adopts: For ``portfolio``: the run in it counts as started.
        again: For ``portfolio``: events may have been missed, so show it again to sockets that have seen it.
        version: For ``portfolio_update``: the version of the holdings that it values.
        tick_id: For ``portfolio_update``: the tick.
        outcomes: For an end: how many results and errors came before it, if a batch of them may be lost. The
            end waits for them, or for those that the document has.
        requester: The socket that asked, and gets ``own`` instead of ``text``, or a state with
            ``request_id``.
        own: The frame for the requester.
        request_id: The requester's id.
        exclude: A socket that is informed in another way.
        answer: The frame for that socket, at the position of the event.
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
        """The frame for sockets other than the requester, made only once."""
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
    """Shows the events of one session to its sockets, in the same order on all of them.

    Args:
        alone: The boundary around an operation on one socket, which contains its faults.

    Attributes:
        newest: The newest known state of the document, without the values of its lines: it is kept as long as
            the session has sockets.
        open: The run whose start has been shown, but not its end.
        outcomes: The metrics of the open run whose result or error has been shown.
        released: How many waiting events have been released so far.
    """

    def __init__(self, alone: Callable[[Any], AbstractContextManager[object]] = nullcontext) -> None:
        self._alone = alone
        self.newest: Portfolio | None = None
        self.open: Running | None = None
        self.outcomes: tuple[str, ...] = ()
        self.released = 0
        self._last = 0
        # The open run was in progress when the first socket came: its earlier outcomes are not shown.
        self._joined = False
        self._requester: EventSubscriber | None = None
        self._seen: dict[EventSubscriber, _Seen] = {}
        # A list, not a deque: it is nearly always empty, and an empty list takes a tenth of the memory.
        self._held: list[OrderedEvent] = []

    @property
    def awaited(self) -> int | None:
        """The run for whose end events wait."""
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
        """Whether the end of a run has been shown, or can no longer be shown."""
        return run_id <= self._last and not self.is_open(run_id)

    def is_open(self, run_id: int) -> bool:
        """Whether the start of a run has been shown, and not its end."""
        return self.open is not None and self.open.run_id == run_id

    # --- the subscribers ---

    def subscribe(
        self, subscriber: EventSubscriber, state: Portfolio, request_id: str | int | None = None
    ) -> None:
        """Show a new subscriber the state; from now on it sees events."""
        newest = self._merge(state)
        current = self.open if self.open is not None and self.open.version >= newest.version else None
        self._seen[subscriber] = _Seen(
            newest.version, newest.valued.tick_id, None if current is None else current.run_id
        )
        self._enqueue(subscriber, _frame(newest, current, request_id))

    def leave(self, subscriber: EventSubscriber) -> None:
        """Remove a socket."""
        self._seen.pop(subscriber, None)

    def mark_told(self, subscriber: EventSubscriber) -> None:
        """Record that a socket was told that its session has expired."""
        seen = self._seen.get(subscriber)
        if seen is not None:
            seen.told = True

    def begin_anew(self, expired: str) -> None:
        """The session has expired and was created again: nothing known of the old one is valid any longer.

        Args:
            expired: The frame with that news, for each socket that has not been told.
        """
        # The requester is answered by its own task.
        self.close("disconnected", exclude=self._requester)
        # A socket that waits for an answer gets it.
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
        """The state for a socket that sees no events: this one, or a newer one if known."""
        newest = self._merge(state)
        current = newest.current_analysis
        if current is not None and (current.version < newest.version or current.run_id <= self._last):
            current = None
        return newest.model_copy(update={"current_analysis": self.open or current, "id": request_id})

    def adopt(self, running: Running) -> None:
        """A run counts as started, for sockets that subscribe from now on."""
        if running.run_id > self._last and self.open is None:
            self._open(running)
            self._joined = True

    # --- events ---

    def publish(self, event: OrderedEvent) -> None:
        """Show an event, now or later; or never, if it no longer fits what has been shown."""
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
        """Record a run as over that no socket is shown; False if other events must come first."""
        if self._held or self.open is not None or run_id <= self._last:
            return False
        self._last = run_id
        return True

    def _release(self) -> None:
        """Show the events that no longer need to wait."""
        while self._held:
            place = 0 if not self._must_wait(self._held[0]) else self._next_of_open_run()
            if place is None:
                return
            event = self._held.pop(place)
            self.released += 1
            if place == 0 or event.kind != "outcome" or not self._is_doomed:
                self._broadcast(event)

    def _next_of_open_run(self) -> int | None:
        """The position of the next waiting event of the open run, which may come after events waiting for it.

        All events of a run that began before another had ended wait here, its end included.
        """
        run = self.open
        places = (
            place
            for place, event in enumerate(self._held)
            if run is not None and event.run_id == run.run_id and event.kind in {"outcome", "end"}
        )
        return next((place for place in places if not self._must_wait(self._held[place])), None)

    def _give_up(self) -> None:
        """Too many events wait for the end of the open run: show its end as far as known."""
        run = self.open
        known = (event for event in self._held if run is not None and event.run_id == run.run_id)
        ended = next((event for event in known if event.kind == "end"), None)
        if ended is None:
            self.close("superseded")
        else:
            self.publish(replace(ended, outcomes=0))

    def close(self, reason: EndReason | str, *, exclude: EventSubscriber | None = None) -> None:
        """The open run is over, and no better reason than ``reason`` is known."""
        if self.open is not None:
            ended = AnalysisCancelled(ticker=self.open.ticker, run_id=self.open.run_id, reason=reason)
            self.publish(OrderedEvent("end", ended.to_json(), run_id=self.open.run_id, exclude=exclude))

    def drop(self, run: Run) -> None:
        """Drop the waiting outcomes of a run."""
        self._held = [s for s in self._held if s.run is not run or s.kind != "outcome"]

    @property
    def _is_doomed(self) -> bool:
        """Whether new holdings cut the open run short: then no more numbers on the old ones are shown."""
        run = self.open
        return run is not None and any(
            event.state is not None
            and event.state.version > run.version
            and event.state.current_analysis is not None
            and event.state.current_analysis.run_id == run.run_id
            for event in self._held
        )

    def lacks(self, outcomes: int) -> bool:
        """Whether the open run has ended with more results and errors than were shown."""
        return "" not in self.outcomes and len(self.outcomes) < outcomes

    def _must_wait(self, event: OrderedEvent) -> bool:
        """Whether an event must come after the end of the open run, which has not been shown yet."""
        run = self.open
        if run is None:
            return False
        if event.kind == "started":
            return event.run_id is not None and event.run_id > run.run_id
        if event.kind == "end":
            return event.run_id == run.run_id and not self._joined and self.lacks(event.outcomes)
        if event.adopts is not None and event.adopts.run_id > run.run_id:
            # A run found in the document whose start was not seen: the end of the previous one was not seen
            # either.
            return True
        # A state is shown as the newest known one, which may have come from elsewhere.
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
        adopted = event.adopts
        if adopted is not None and (adopted.run_id <= self._last or adopted.version < newest.version):
            # It is over, or about to be: while the state waited, newer holdings became known.
            adopted = None
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
                # It was over before the holdings that this socket has already been shown: too late to start.
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
            # After newer holdings have been shown, no number on older ones may be shown.
            if seen.open == event.run_id and seen.version <= self.open.version:
                self._enqueue(subscriber, event.text_for(subscriber), event.run)

    def _broadcast_end(self, event: OrderedEvent, run_id: int | None) -> None:
        # A run that ends before its start was shown is reported once.
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
        """Record a state; return it, or a newer one that is known."""
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
