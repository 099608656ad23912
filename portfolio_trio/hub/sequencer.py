"""What the sockets of one session are shown, and in which order: decisions only, no I/O, no clock, no Trio.

Replies of Redis and batches of other workers wake their tasks in no fixed order. So the order in which tasks
run does not decide what is shown, but only what has been shown before: versions never decrease, a run begins
once and ends once, an end comes after all outcomes of the run, and whatever comes after a run's end in the
document waits until that end is known.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from portfolio_trio.hub.kept_state import KeptState
from portfolio_trio.hub.ordered_event import OrderedEvent
from portfolio_trio.hub.subscribers import Subscribers
from portfolio_trio.protocol.messages import AnalysisCancelled, Portfolio, Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portfolio_trio.hub.ordered_event import EventSubscriber
    from portfolio_trio.hub.run_state import EndReason, Run

MAX_HELD_EVENTS: Final = 1_000
"""How many events may wait for the end of a run before it is no longer waited for."""


class EventSequencer:
    """Shows the events of one session to its sockets, in the same order on all of them.

    Args:
        alone: The boundary around an operation on one socket, which contains its faults.

    Attributes:
        subscribers: The sockets that get events.
        newest: The newest known state of the document.
        open: The run whose start has been shown, but not its end.
        outcomes: The metrics of the open run whose result or error has been shown.
    """

    __slots__ = (
        "_held",
        "_joined",
        "_last",
        "_requester",
        "newest",
        "open",
        "outcomes",
        "subscribers",
    )

    def __init__(self, alone: Callable[[Any], AbstractContextManager[object]] = nullcontext) -> None:
        self.subscribers = Subscribers(alone)
        self.newest: KeptState | None = None
        self.open: Running | None = None
        self.outcomes: tuple[str, ...] = ()
        self._last = 0
        # The open run was in progress when the first socket came: its earlier outcomes are not shown.
        self._joined = False
        self._requester: EventSubscriber | None = None
        # A list, not a deque: it is nearly always empty, and an empty list takes a tenth of the memory.
        self._held: list[OrderedEvent] = []

    @property
    def awaited(self) -> int | None:
        """The run for whose end events wait."""
        return self.open.run_id if self._held and self.open is not None else None

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

    # --- the subscribers and the state ---

    def subscribe(
        self, subscriber: EventSubscriber, state: Portfolio, request_id: str | int | None = None
    ) -> None:
        """Show a new subscriber the state; from now on it sees events."""
        newest = self._merge(state)
        current = self.open if self.open is not None and self.open.version >= newest.version else None
        self.subscribers.add(subscriber, newest, current, request_id)

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
        self.subscribers.begin_anew(expired)

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
        if event.kind in {"started", "end"} and event.run_id is not None and event.run_id > run.run_id:
            # A run may be over before its start could be shown.
            return True
        if event.kind == "end":
            return event.run_id == run.run_id and not self._joined and self.lacks(event.outcomes)
        if event.kind == "started":
            return False
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
            self.subscribers.show_update(event)
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
        self.subscribers.show_state(event, newest, self.open, adopted=adopted is not None)

    def _broadcast_start(self, event: OrderedEvent, running: Running) -> None:
        if running.run_id <= self._last:
            return
        self._open(running)
        self._requester = event.requester
        self.subscribers.show_start(event, running)

    def _broadcast_outcome(self, event: OrderedEvent) -> None:
        if self.open is None or self.open.run_id != event.run_id:
            return
        if event.metric and event.metric in self.outcomes:
            return
        self.outcomes = (*self.outcomes, event.metric)
        self.subscribers.show_outcome(event, self.open.version)

    def _broadcast_end(self, event: OrderedEvent, run_id: int | None) -> None:
        # A run that ends before its start was shown is reported once.
        never_began = run_id is None or run_id > self._last
        if run_id is not None:
            self._last = max(self._last, run_id)
        if self.open is not None and self.open.run_id == run_id:
            self.open, self.outcomes = None, ()
        self.subscribers.show_end(event, never_began=never_began)

    def _open(self, running: Running) -> None:
        self.open, self.outcomes, self._last = running, (), running.run_id
        self._joined = False

    def _merge(self, state: Portfolio) -> Portfolio:
        """Record a state; return it, or a newer one that is known."""
        place = state.version, state.valued.tick_id
        if self.newest is None or (self.newest.version, self.newest.tick_id) <= place:
            self.newest = KeptState(state)
            return state
        return self.newest.message()
