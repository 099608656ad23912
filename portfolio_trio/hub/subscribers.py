"""The sockets of one session that get events, and what each has been shown: no I/O, no clock, no Trio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portfolio_trio.hub.ordered_event import EventSubscriber, OrderedEvent
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.protocol.messages import Portfolio, Running


@dataclass(slots=True)
class _Seen:
    """What one socket has been shown: the newest version and tick, and the run that is open for it."""

    version: int = 0
    tick_id: int = 0
    open: int | None = None
    told: bool = False


class Subscribers:
    """Queues each event for the sockets that have not been shown it, or anything that it contradicts.

    They come and go, so the session may have shown what one of them has not. A version never decreases on a
    socket, and it gets results and the end of a run only if it got the start.

    Args:
        alone: The boundary around an operation on one socket, which contains its faults.
    """

    __slots__ = ("_alone", "_seen")

    def __init__(self, alone: Callable[[Any], AbstractContextManager[object]]) -> None:
        self._alone = alone
        self._seen: dict[EventSubscriber, _Seen] = {}

    def __contains__(self, subscriber: EventSubscriber) -> bool:
        return subscriber in self._seen

    def add(
        self,
        subscriber: EventSubscriber,
        state: Portfolio,
        current: Running | None,
        request_id: str | int | None,
    ) -> None:
        """Show a new subscriber the state, with the run that is open; from now on it sees events."""
        run_id = None if current is None else current.run_id
        self._seen[subscriber] = _Seen(state.version, state.valued.tick_id, run_id)
        self._enqueue(subscriber, _frame(state, current, request_id))

    def remove(self, subscriber: EventSubscriber) -> None:
        """Remove a socket."""
        self._seen.pop(subscriber, None)

    def mark_told(self, subscriber: EventSubscriber) -> None:
        """Record that a socket was told that its session has expired."""
        seen = self._seen.get(subscriber)
        if seen is not None:
            seen.told = True

    def was_told(self, subscriber: EventSubscriber) -> bool:
        """Whether a socket was told that its session has expired, and not been shown a new one since."""
        seen = self._seen.get(subscriber)
        return seen is not None and seen.told

    def tell_expired(self, expired: str) -> None:
        """Send ``expired`` to each socket that was not told that the session has expired."""
        for subscriber, seen in self._seen.items():
            if not seen.told:
                seen.told = True
                self._enqueue(subscriber, expired)

    def begin_anew(self, expired: str) -> None:
        """Forget what was shown of an expired document; ``expired`` is for each socket not told yet."""
        self.tell_expired(expired)
        for subscriber in self._seen:
            self._seen[subscriber] = _Seen()

    def show_state(
        self, event: OrderedEvent, newest: Portfolio, current: Running | None, *, adopted: bool
    ) -> None:
        """Show a state to those that have not seen its version, and to whoever asked.

        Args:
            event: The event.
            newest: The newest known state.
            current: The open run.
            adopted: It counts as started from now on, for every socket.
        """
        for subscriber, seen in self._seen.items():
            asked = subscriber is event.requester
            if not (asked or event.again or adopted or seen.version < newest.version):
                continue
            seen.version = newest.version
            seen.tick_id = max(seen.tick_id, newest.valued.tick_id)
            if adopted and current is not None:
                seen.open = current.run_id
            shown = current if current is not None and current.run_id == seen.open else None
            self._enqueue(subscriber, _frame(newest, shown, event.request_id if asked else None))

    def show_update(self, event: OrderedEvent) -> None:
        """Show the value of holdings at a tick to those that have seen nothing newer."""
        for subscriber, seen in self._seen.items():
            if seen.version <= event.version and seen.tick_id <= event.tick_id:
                seen.tick_id = event.tick_id
                with self._alone(subscriber):
                    subscriber.enqueue_latest(event.text)

    def show_start(self, event: OrderedEvent, running: Running) -> None:
        """Show the start of a run."""
        for subscriber, seen in self._seen.items():
            if seen.version > running.version:
                # It was over before the holdings that this socket has already been shown: too late to start.
                continue
            seen.open = running.run_id
            self._enqueue(subscriber, event.text_for(subscriber))

    def show_outcome(self, event: OrderedEvent, version: int) -> None:
        """Show an outcome of the open run, which works on this version of the holdings."""
        for subscriber, seen in self._seen.items():
            # After newer holdings have been shown, no number on older ones may be shown.
            if seen.open == event.run_id and seen.version <= version:
                self._enqueue(subscriber, event.text_for(subscriber), event.run)

    def show_end(self, event: OrderedEvent, *, never_began: bool) -> None:
        """Show the end of a run to those that saw its start; if it ``never_began``, to all."""
        for subscriber, seen in self._seen.items():
            is_open = event.run_id is not None and seen.open == event.run_id
            if is_open:
                seen.open = None
            if subscriber is event.exclude:
                if event.answer:
                    self._enqueue(subscriber, event.answer)
            elif is_open or never_began or subscriber is event.requester:
                self._enqueue(subscriber, event.text_for(subscriber))

    def _enqueue(self, subscriber: EventSubscriber, frame: str, run: Run | None = None) -> None:
        with self._alone(subscriber):
            subscriber.enqueue(frame, run)


def _frame(state: Portfolio, current: Running | None, request_id: str | int | None) -> str:
    return state.model_copy(update={"current_analysis": current, "id": request_id}).to_json()
