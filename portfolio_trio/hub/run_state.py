"""Which run is current, and what may become of it: decisions only, no I/O, no clock, no Trio.

A slot holds at most one run. ``MOVES`` is the whole life of a run; whatever is not in it cannot happen.
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
    CANCELLING = auto()  # its end is decided, its task has not ended yet
    COMPLETED = auto()
    CANCELLED = auto()
    FAILED = auto()


class Move(Enum):
    """What can happen to a run."""

    SNAPSHOT = auto()  # the store gave it a run_id and it has its inputs
    COMPLETE = auto()  # its last message has been written
    FAIL = auto()  # it cannot go on
    CANCEL = auto()  # somebody decided to end it
    END = auto()  # its task has ended


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
}

OPEN_STATES = frozenset({RunState.STARTING, RunState.RUNNING})


class IllegalMoveError(Exception):
    """The caller asked for what ``MOVES`` does not have; always a fault of this program."""


@dataclass(eq=False, slots=True)
class Run:
    """One run of one analysis, from the request to its end.

    Attributes:
        ticker: What is analysed.
        request_id: The id that its answers echo.
        run_id: The store's number for it; None until it is known.
        state: Where it is in its life; only its slot moves it.
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


class Slot:
    """At most one run, and the moves it makes."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current: Run | None = None

    @property
    def current(self) -> Run | None:
        """The run whose task has not ended yet."""
        return self._current

    def begin(self, ticker: str, request_id: str | int | None = None) -> Run:
        """Put a new run into the empty slot.

        Raises:
            IllegalMoveError: The task of the run before has not ended.
        """
        if self._current is not None:
            raise IllegalMoveError(f"{self._current} has not ended")
        self._current = Run(ticker, request_id)
        return self._current

    def snapshot(self, run: Run, run_id: int) -> None:
        """The run has its number and its inputs."""
        self._move(run, Move.SNAPSHOT)
        run.run_id = run_id

    def complete(self, run: Run) -> None:
        """The last message of the run has been written."""
        self._move(run, Move.COMPLETE)

    def fail(self, run: Run) -> None:
        """The run cannot go on."""
        self._move(run, Move.FAIL)

    def cancel(self, reason: EndReason) -> Run | None:
        """Decide the end of the current run, if there is one that is still open; return it."""
        run = self._current
        if run is None or (run.state, Move.CANCEL) not in MOVES:
            return None
        self._move(run, Move.CANCEL)
        run.reason = run.reason or reason
        return run

    def end(self, run: Run) -> None:
        """The task of the run has ended: the slot is free."""
        self._move(run, Move.END)
        self._current = None

    def _move(self, run: Run, move: Move) -> None:
        if run is not self._current:
            raise IllegalMoveError(f"{run} is not the current run")
        try:
            run.state = MOVES[run.state, move]
        except KeyError:
            raise IllegalMoveError(f"{run} cannot {move.name}") from None
