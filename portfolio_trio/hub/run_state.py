"""Which run is current, and what may become of it: decisions only, no I/O, no clock, no Trio.

``MOVES`` is the whole life of a run; whatever is not in it cannot happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunState(Enum):
    """Where a run is in its life."""

    STARTING = auto()  # its task waits for a run_id and the snapshot
    RUNNING = auto()  # its metrics compute, are recorded and sent
    CANCELLING = auto()  # its end is decided, something of it is still at work
    COMPLETED = auto()
    CANCELLED = auto()
    FAILED = auto()


class Move(Enum):
    """What can happen to a run."""

    SNAPSHOT = auto()  # the store gave it a run_id and it has its inputs
    COMPLETE = auto()  # its last message has been written
    FAIL = auto()  # it cannot go on
    CANCEL = auto()  # somebody decided to end it
    END = auto()  # nothing of it is left, and its end has been told
    RESTART = auto()  # its portfolio has changed: it begins again, under a new number


class EndReason(StrEnum):
    """Why a run was cancelled."""

    SWITCHED = "switched"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    PORTFOLIO_CHANGED = "portfolio_changed"
    DISCONNECTED = "disconnected"
    DRAINING = "draining"


# Once the end is decided it stands: a cancelled run that completes or fails in its last steps is still a
# cancelled run, since its messages have been dropped. The first reason is the one that is told.
MOVES: Mapping[tuple[RunState, Move], RunState] = {
    (RunState.STARTING, Move.SNAPSHOT): RunState.RUNNING,
    (RunState.STARTING, Move.FAIL): RunState.FAILED,
    (RunState.STARTING, Move.CANCEL): RunState.CANCELLING,
    (RunState.RUNNING, Move.COMPLETE): RunState.COMPLETED,
    (RunState.RUNNING, Move.FAIL): RunState.FAILED,
    (RunState.RUNNING, Move.CANCEL): RunState.CANCELLING,
    (RunState.CANCELLING, Move.SNAPSHOT): RunState.CANCELLING,
    (RunState.CANCELLING, Move.COMPLETE): RunState.CANCELLING,
    (RunState.CANCELLING, Move.FAIL): RunState.CANCELLING,
    (RunState.CANCELLING, Move.CANCEL): RunState.CANCELLING,
    (RunState.CANCELLING, Move.END): RunState.CANCELLED,
    (RunState.COMPLETED, Move.END): RunState.COMPLETED,
    (RunState.FAILED, Move.END): RunState.FAILED,
    (RunState.CANCELLED, Move.RESTART): RunState.STARTING,
}

OPEN_STATES = frozenset({RunState.STARTING, RunState.RUNNING})
OVER_STATES = frozenset({RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED})


class IllegalMoveError(Exception):
    """The caller asked for what ``MOVES`` does not have; always a fault of this program."""


@dataclass(eq=False, slots=True)
class Run:
    """One run of one analysis, from the request to its end.

    Attributes:
        ticker: What is analysed.
        request_id: The id that its answers echo.
        run_id: The store's number for it; None until it is known, and again once it is started anew.
        state: Where it is in its life; only its own methods move it.
        reason: Why it was cancelled.
    """

    ticker: str
    request_id: str | int | None = None
    run_id: int | None = None
    state: RunState = field(default=RunState.STARTING)
    reason: EndReason | None = None

    @property
    def may_send(self) -> bool:
        """Whether messages of this run may still be queued and leave."""
        return self.state in OPEN_STATES

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left, unless it is started anew."""
        return self.state in OVER_STATES

    @property
    def outcome(self) -> str:
        """In one word how it ended: ``completed``, ``failed``, or why it was cancelled."""
        return self.state.name.lower() if self.reason is None else self.reason

    def snapshot(self, run_id: int) -> None:
        """It has its number and its inputs."""
        self._move(Move.SNAPSHOT)
        self.run_id = run_id

    def complete(self) -> None:
        """Its last message has been written."""
        self._move(Move.COMPLETE)

    def fail(self) -> None:
        """It cannot go on."""
        self._move(Move.FAIL)

    def cancel(self, reason: EndReason) -> bool:
        """Decide its end; return False where it is over. The first reason is the one that is told."""
        if (self.state, Move.CANCEL) not in MOVES:
            return False
        self._move(Move.CANCEL)
        self.reason = self.reason or reason
        return True

    def end(self) -> None:
        """Nothing of it is left."""
        self._move(Move.END)

    def restart(self) -> None:
        """It begins again, on its new portfolio.

        Raises:
            IllegalMoveError: It has not ended, or for another reason.
        """
        if self.reason is not EndReason.PORTFOLIO_CHANGED:
            raise IllegalMoveError(f"{self} is over for good")
        self._move(Move.RESTART)
        self.run_id = self.reason = None

    def _move(self, move: Move) -> None:
        try:
            self.state = MOVES[self.state, move]
        except KeyError:
            raise IllegalMoveError(f"{self} cannot {move.name}") from None
