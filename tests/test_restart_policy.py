"""When a worker is restarted: laws over histories of several workers."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.restart_policy import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    STEADY_SECONDS,
    GiveUp,
    Restarts,
)


@dataclass(frozen=True)
class Lived:
    worker: int
    seconds: float | None  # for which it served
    status: int = 1

    @property
    def steady(self) -> bool:
        return self.seconds is not None and self.seconds >= STEADY_SECONDS


HISTORIES = st.lists(
    st.builds(
        Lived,
        st.integers(1, 3),
        st.none() | st.integers(0, 30),
        st.integers(-31, 255),
    ),
    min_size=1,
    max_size=40,
)


def told(history: list[Lived], seed: int = 0) -> list[float | GiveUp]:
    """What is decided at each end, one life after the other."""
    restarts = Restarts(random.Random(seed))
    decisions = []
    now = 0.0
    for life in history:
        if life.seconds is not None:
            restarts.serves(life.worker, now)
        # One that takes long and then does not start was not steady.
        now += 2 * STEADY_SECONDS if life.seconds is None else life.seconds
        decisions.append(restarts.ended(life.worker, life.status, now))
    return decisions


def doublings(history: list[Lived], index: int) -> int:
    """How many times the worker of an index ended before that, since its last steady life."""
    own = [life for life in history[: index + 1] if life.worker == history[index].worker]
    steady = [place for place, life in enumerate(own) if life.steady]
    return len(own) - 1 - (steady[-1] if steady else 0)


@given(HISTORIES, st.integers(0, 2**32))
def test_the_delay_doubles_with_each_end_of_the_same_worker_up_to_a_limit(
    history: list[Lived], seed: int
) -> None:
    served = [Lived(9, 0.0), *history]
    for index, delay in enumerate(told(served, seed)):
        assert not isinstance(delay, GiveUp)
        whole = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** doublings(served, index))
        assert whole / 2 <= delay <= whole


@given(HISTORIES)
def test_it_gives_up_exactly_while_no_worker_has_ever_served(history: list[Lived]) -> None:
    served = False
    for life, decision in zip(history, told(history), strict=True):
        served = served or life.seconds is not None
        assert isinstance(decision, GiveUp) is not served


@pytest.mark.parametrize(("status", "own"), [(1, 1), (2, 2), (0, 0), (-9, 137), (-15, 143)])
def test_a_start_that_failed_ends_as_the_worker_ended(status: int, own: int) -> None:
    assert told([Lived(1, None, status)]) == [GiveUp(own)]


def test_a_worker_that_falls_again_and_again_waits_longer_and_longer() -> None:
    delays = told([Lived(1, 0.1)] * 12)
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30]
    assert all(
        isinstance(delay, float) and limit / 2 <= delay <= limit
        for delay, limit in zip(delays, longest, strict=True)
    )
    # Jitter: two supervisors, or two workers, do not agree.
    assert len({told([Lived(1, 0.1)], seed)[0] for seed in range(20)}) == 20


def test_steady_service_resets_the_delay_and_a_worker_that_never_served_does_not() -> None:
    first, _, _, forgiven, unforgiven = told(
        [Lived(1, 0.0), Lived(1, 0.0), Lived(1, None), Lived(1, STEADY_SECONDS), Lived(1, None)]
    )
    assert isinstance(first, float)
    assert isinstance(forgiven, float)
    assert forgiven <= FIRST_DELAY_SECONDS
    assert isinstance(unforgiven, float)
    assert unforgiven >= FIRST_DELAY_SECONDS
