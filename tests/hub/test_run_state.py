"""The table of moves, and random walks through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.hub.run_state import (
    MOVES,
    OPEN_STATES,
    EndReason,
    IllegalMoveError,
    Move,
    Run,
    RunState,
    Slot,
)

TERMINAL = {RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED}


def test_a_run_ends_in_exactly_one_way() -> None:
    for state in TERMINAL:
        assert {after for (before, _), after in MOVES.items() if before is state} <= {state}


def test_once_its_end_is_decided_a_run_can_only_be_cancelled() -> None:
    after = {move: state for (before, move), state in MOVES.items() if before is RunState.CANCELLING}
    assert after.pop(Move.END) is RunState.CANCELLED
    assert set(after.values()) == {RunState.CANCELLING}


def test_every_open_run_can_be_cancelled() -> None:
    for state in OPEN_STATES:
        assert MOVES[state, Move.CANCEL] is RunState.CANCELLING


def test_a_second_run_waits_for_the_end_of_the_first() -> None:
    slot = Slot()
    slot.begin("AAPL")
    slot.cancel(EndReason.SWITCHED)
    with pytest.raises(IllegalMoveError):
        slot.begin("GOOGL")


def test_an_open_run_cannot_end_without_a_decision() -> None:
    slot = Slot()
    run = slot.begin("AAPL")
    with pytest.raises(IllegalMoveError):
        slot.end(run)


def test_the_first_reason_is_the_one_that_counts() -> None:
    slot = Slot()
    run = slot.begin("AAPL")
    assert slot.cancel(EndReason.PORTFOLIO_CHANGED) is run
    slot.cancel(EndReason.SWITCHED)
    slot.complete(run)
    slot.end(run)
    assert (run.state, run.reason) == (RunState.CANCELLED, EndReason.PORTFOLIO_CHANGED)
    assert slot.current is None


def test_nothing_can_be_asked_of_a_run_that_is_over() -> None:
    slot = Slot()
    run = slot.begin("AAPL")
    slot.fail(run)
    slot.end(run)
    for move in (slot.complete, slot.fail, slot.end):
        with pytest.raises(IllegalMoveError):
            move(run)
    assert slot.cancel(EndReason.CANCELLED) is None


@given(st.lists(st.sampled_from(["begin", "snapshot", "complete", "fail", "cancel", "end"]), max_size=40))
def test_random_histories_hold_at_most_one_run_and_end_each_once(moves: list[str]) -> None:
    slot = Slot()
    runs: list[Run] = []
    ended: list[Run] = []
    for move in moves:
        current = slot.current
        before = [run.state for run in runs]
        try:
            if move == "begin":
                runs.append(slot.begin(f"T{len(runs)}"))
            elif move == "cancel":
                slot.cancel(EndReason.CANCELLED)
            elif current is not None:
                slot.snapshot(current, len(runs)) if move == "snapshot" else getattr(slot, move)(current)
                if move == "end":
                    ended.append(current)
        except IllegalMoveError:
            # A refused move changes nothing.
            assert slot.current is current
            assert [run.state for run in runs] == before
        assert sum(run.may_send for run in runs) <= 1
        assert all(run is slot.current for run in runs if run.state not in TERMINAL)
        assert all(run.state in TERMINAL for run in ended)
    assert len(set(map(id, ended))) == len(ended)
