"""The states of a run and the moves between them: decisions only, no I/O, no clock, no Trio.

``MOVES`` has every possible move; all others are errors. The enumerations are strings, whose hash costs a
tenth of that of other members: a run looks its moves up all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunState(StrEnum):
    """The state of a run."""

    STARTING = auto()  # its task waits for a run_id and the snapshot
    RUNNING = auto()  # its metrics are computed, recorded and sent
    CANCELLING = auto()  # its end is decided, but its tasks have not all ended
    COMPLETED = auto()
    CANCELLED = auto()
    FAILED = auto()


class Move(StrEnum):
    """What can happen to a run."""

    SNAPSHOT = auto()  # the store gave it a run_id and it has its inputs
    COMPLETE = auto()  # its last message has been written
    FAIL = auto()  # it cannot go on
    CANCEL = auto()  # its end was decided from outside
    END = auto()  # its tasks have ended, and its end has been reported
    RESTART = auto()  # its portfolio has changed: it starts again, with a new number


class EndReason(StrEnum):
    """Why a run was cancelled."""

    SWITCHED = "switched"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    PORTFOLIO_CHANGED = "portfolio_changed"
    DISCONNECTED = "disconnected"
    DRAINING = "draining"


# Once the end is decided it does not change: a cancelled run that completes or fails in its last steps is
# still a cancelled run, because its messages have been dropped. The first reason is the one that is reported.
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
    """The caller requested a move that is not in ``MOVES``; always a bug in this program."""


@dataclass(eq=False, slots=True)
class Run:
    """One run of one analysis, from the request to its end.

    Attributes:
        ticker: The analysed name.
        request_id: The id that its answers echo.
        run_id: The store's number for it; None until it is known, and again after a restart.
        state: Its state; only its own methods change it.
        reason: Why it was cancelled.
    """

    ticker: str
    request_id: str | int | None = None
    run_id: int | None = None
    state: RunState = field(default=RunState.STARTING)
    reason: EndReason | None = None

    @property
    def may_send(self) -> bool:
        """Whether messages of this run may still be queued and sent."""
        return self.state in OPEN_STATES

    @property
    def is_over(self) -> bool:
        """Whether it has ended, unless it is restarted."""
        return self.state in OVER_STATES

    @property
    def outcome(self) -> str:
        """How it ended, in one word: ``completed``, ``failed``, or the reason of the cancel."""
        return self.state if self.reason is None else self.reason

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
        """Decide its end; return False if it is over. The first reason is the one that is reported."""
        if (self.state, Move.CANCEL) not in MOVES:
            return False
        self._move(Move.CANCEL)
        self.reason = self.reason or reason
        return True

    def end(self) -> None:
        """All its tasks have ended."""
        self._move(Move.END)

    def restart(self) -> None:
        """Restart it, on the new portfolio.

        Raises:
            IllegalMoveError: It has not ended, or ended for another reason.
        """
        if self.reason is not EndReason.PORTFOLIO_CHANGED:
            raise IllegalMoveError(f"{self} is permanently over")
        self._move(Move.RESTART)
        self.run_id = self.reason = None

    def _move(self, move: Move) -> None:
        try:
            self.state = MOVES[self.state, move]
        except KeyError:
            raise IllegalMoveError(f"{self} cannot {move.name}") from None
