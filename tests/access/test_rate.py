"""A socket may send requests in bursts, but in the long run only at a limited rate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.access import Decision, RateLimit, Throttle
from tests.support.clock import ManualClock

rates = st.floats(0.01, 1_000)
bursts = st.integers(1, 50)
gaps = st.lists(st.floats(0, 2) | st.just(0.0) | st.floats(0, 1_000), max_size=60)
EDGE = 1e-6
"""The effect of rounding: a token may be available a millionth of a token too early."""


@given(rate=rates, burst=bursts, gaps=gaps, start=st.floats(0, 1e6))
def test_no_window_has_more_than_the_burst_and_the_rate(
    rate: float, burst: int, gaps: list[float], start: float
) -> None:
    clock = ManualClock(start)
    limit = RateLimit(rate, burst, clock)
    granted = []
    for gap in gaps:
        clock.time += gap
        if limit.grant():
            granted.append(clock.time)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            window = granted[last] - granted[first]
            assert last - first + 1 <= burst + rate * window + EDGE


@given(rate=rates, burst=bursts, gaps=gaps)
def test_a_refusal_means_that_the_window_is_full(rate: float, burst: int, gaps: list[float]) -> None:
    """The converse: no client is refused before it has used its tokens."""
    clock = ManualClock(0.0)
    limit = RateLimit(rate, burst, clock)
    tokens, filled_at = float(burst), 0.0
    for gap in gaps:
        clock.time += gap
        tokens, filled_at = min(burst, tokens + rate * (clock.time - filled_at)), clock.time
        if limit.grant():
            tokens -= 1
        else:
            assert tokens < 1 + EDGE


@given(rate=rates, burst=bursts)
def test_after_a_pause_the_burst_is_there_again_and_no_more(rate: float, burst: int) -> None:
    clock = ManualClock(0.0)
    limit = RateLimit(rate, burst, clock)
    for pause in (0.0, burst / rate + EDGE / rate, 1e6):
        clock.time += pause
        assert [limit.grant() for _ in range(burst + 1)] == [True] * burst + [False]


@given(rate=rates, burst=bursts)
def test_the_wait_is_neither_too_short_nor_too_long(rate: float, burst: int) -> None:
    clock = ManualClock(0.0)
    limit = RateLimit(rate, burst, clock)
    assert limit.wait_seconds == 0
    for _ in range(burst):
        assert limit.grant()
    wait = limit.wait_seconds
    assert math.isclose(wait, 1 / rate, rel_tol=1e-9)
    clock.time += wait * 0.99
    assert not limit.grant()
    clock.time += wait * 0.02
    assert limit.grant()


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0), (1.0, -1), (math.nan, 1)])
def test_a_limit_that_grants_nothing_is_a_mistake(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateLimit(rate, burst, ManualClock(0.0))


def test_each_socket_costs_five_slots_and_no_dict() -> None:
    assert not hasattr(RateLimit(1.0, 1, ManualClock(0.0)), "__dict__")
    assert not hasattr(Throttle(1.0, 1, patience=1, clock=ManualClock(0.0)), "__dict__")


def decide(throttle: Throttle, clock: ManualClock, *, per_second: float, seconds: float) -> list[Decision]:
    decisions = []
    for _ in range(round(per_second * seconds)):
        decisions.append(throttle.decide())
        clock.time += 1 / per_second
    return decisions


def test_a_client_within_its_rate_is_served_for_ever() -> None:
    clock = ManualClock(0.0)
    throttle = Throttle(16.0, 4, patience=4, clock=clock)
    assert set(decide(throttle, clock, per_second=16, seconds=100)) == {Decision.SERVE}


def test_a_client_slightly_too_fast_is_refused_and_never_disconnected() -> None:
    clock = ManualClock(0.0)
    throttle = Throttle(16.0, 4, patience=4, clock=clock)
    decisions = decide(throttle, clock, per_second=32, seconds=100)
    assert set(decisions) == {Decision.SERVE, Decision.REFUSE}
    assert decisions.count(Decision.SERVE) == pytest.approx(1_600, abs=5)


def test_a_flood_is_disconnected_after_burst_and_patience() -> None:
    clock = ManualClock(0.0)
    throttle = Throttle(16.0, 4, patience=6, clock=clock)
    decisions = [throttle.decide() for _ in range(12)]
    assert decisions == [Decision.SERVE] * 4 + [Decision.REFUSE] * 6 + [Decision.DISCONNECT] * 2
    assert throttle.wait_seconds == 1 / 16


def test_a_steady_flood_is_disconnected_although_some_is_served() -> None:
    clock = ManualClock(0.0)
    throttle = Throttle(16.0, 4, patience=6, clock=clock)
    decisions = decide(throttle, clock, per_second=64, seconds=2)
    assert Decision.DISCONNECT in decisions
    assert Decision.SERVE in decisions[4 : decisions.index(Decision.DISCONNECT)]
