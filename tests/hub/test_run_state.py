"""The table of moves, and random walks through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.hub.run_state import (
    MOVES,
    OPEN_STATES,
    OVER_STATES,
    EndReason,
    IllegalMoveError,
    Move,
    Run,
    RunState,
)


def test_a_run_ends_in_exactly_one_way() -> None:
    for state in OVER_STATES:
        after = {move: to for (before, move), to in MOVES.items() if before is state}
        after.pop(Move.RESTART, None)
        assert set(after.values()) <= {state}


def test_only_a_run_that_was_cancelled_begins_again() -> None:
    assert {before for before, move in MOVES if move is Move.RESTART} == {RunState.CANCELLED}


def test_once_its_end_is_decided_a_run_can_only_be_cancelled() -> None:
    after = {move: state for (before, move), state in MOVES.items() if before is RunState.CANCELLING}
    assert after.pop(Move.END) is RunState.CANCELLED
    assert set(after.values()) == {RunState.CANCELLING}


def test_every_open_run_can_be_cancelled() -> None:
    for state in OPEN_STATES:
        assert MOVES[state, Move.CANCEL] is RunState.CANCELLING


def test_an_open_run_cannot_end_without_a_decision() -> None:
    with pytest.raises(IllegalMoveError):
        Run("AAPL").end()


def test_the_first_reason_is_the_one_that_counts() -> None:
    run = Run("AAPL")
    assert run.cancel(EndReason.PORTFOLIO_CHANGED)
    run.cancel(EndReason.SWITCHED)
    run.complete()
    run.end()
    assert (run.state, run.reason) == (RunState.CANCELLED, EndReason.PORTFOLIO_CHANGED)


def test_nothing_can_be_asked_of_a_run_that_is_over() -> None:
    run = Run("AAPL")
    run.fail()
    run.end()
    for move in (run.complete, run.fail, run.restart):
        with pytest.raises(IllegalMoveError):
            move()
    assert not run.cancel(EndReason.CANCELLED)


def test_on_new_holdings_a_run_begins_again_as_if_it_had_never_been() -> None:
    run = Run("AAPL", 7)
    run.snapshot(3)
    run.cancel(EndReason.PORTFOLIO_CHANGED)
    with pytest.raises(IllegalMoveError):
        run.restart()
    run.end()
    run.restart()
    assert (run.state, run.run_id, run.reason, run.request_id) == (RunState.STARTING, None, None, 7)


@pytest.mark.parametrize("reason", set(EndReason) - {EndReason.PORTFOLIO_CHANGED})
def test_for_no_other_reason_a_run_begins_again(reason: EndReason) -> None:
    run = Run("AAPL")
    run.cancel(reason)
    run.end()
    with pytest.raises(IllegalMoveError):
        run.restart()


@given(st.lists(st.sampled_from(["snapshot", "complete", "fail", "cancel", "end", "restart"]), max_size=40))
def test_random_histories_send_only_while_open_and_come_to_one_end(moves: list[str]) -> None:
    run = Run("AAPL")
    for number, move in enumerate(moves):
        before = (run.state, run.run_id, run.reason)
        try:
            if move == "cancel":
                run.cancel(EndReason.PORTFOLIO_CHANGED if number % 2 else EndReason.SWITCHED)
            elif move == "snapshot":
                run.snapshot(number)
            else:
                getattr(run, move)()
        except IllegalMoveError:
            # A refused move changes nothing.
            assert (run.state, run.run_id, run.reason) == before
        assert run.may_send == (run.state in OPEN_STATES)
        assert not (run.may_send and run.is_over)
        if before[0] in OVER_STATES and move != "restart":
            assert run.state is before[0]
        if run.state in {RunState.CANCELLING, RunState.CANCELLED}:
            assert run.reason is not None
