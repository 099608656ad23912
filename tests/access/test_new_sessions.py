"""One address cannot use up the new sessions of the others, and few addresses are remembered."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.access import NewSessionLimit, TooManySessions
from portfolio_trio.settings import Settings
from tests.support.clock import ManualClock

FLOOD = 1_000


def granted(limit: NewSessionLimit, address: str | None, asked: int = FLOOD) -> int:
    count = 0
    for _ in range(asked):
        with suppress(TooManySessions):
            limit.check(address)
            count += 1
    return count


def test_a_refusal_says_when_to_come_back() -> None:
    limit = NewSessionLimit(per_address=0.5, total=20, clock=ManualClock(0.0))
    assert granted(limit, "192.0.2.1") == 2
    with pytest.raises(TooManySessions) as refused:
        limit.check("192.0.2.1")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.retry_after == pytest.approx(2)


@pytest.mark.parametrize("flood", ["192.0.2.1", "127.0.0.1", "::1", "2001:db8::1"])
def test_a_flood_of_one_address_leaves_the_others_their_sessions(flood: str) -> None:
    limit = NewSessionLimit(per_address=5, total=20, clock=ManualClock(0.0))
    assert granted(limit, flood) == 6
    assert granted(limit, "192.0.2.2") == 6
    assert granted(limit, "127.0.0.2") == 6


def test_four_addresses_that_flood_leave_the_others_their_sessions_by_default() -> None:
    clock, chosen = ManualClock(0.0), Settings()
    limit = NewSessionLimit(
        per_address=chosen.sessions_per_second_per_address, total=chosen.sessions_per_second, clock=clock
    )
    refused = 0
    for second in range(120):
        clock.time = float(second)
        for flooder in range(4):
            granted(limit, f"192.0.2.{flooder}", asked=100)
        refused += 1 - granted(limit, "198.51.100.7", asked=1)
    assert refused == 0


def test_a_subnet_is_one_address_and_what_has_none_counts_in_the_total_alone() -> None:
    limit = NewSessionLimit(per_address=5, total=20, clock=ManualClock(0.0))
    assert sum(granted(limit, f"2001:db8::{number:x}", 3) for number in range(100)) == 6
    assert granted(limit, None) == 21 - 6


def test_all_together_have_a_ceiling() -> None:
    clock = ManualClock(0.0)
    limit = NewSessionLimit(per_address=5, total=20, clock=clock)
    assert sum(granted(limit, f"192.0.2.{number}", 3) for number in range(100)) == 21
    clock.time = 1
    assert sum(granted(limit, f"192.0.2.{number}", 3) for number in range(100)) == 20


def test_without_a_limit_per_address_one_may_use_the_whole_ceiling() -> None:
    limit = NewSessionLimit(per_address=None, total=20, clock=ManualClock(0.0))
    assert granted(limit, "127.0.0.1") == 21
    assert len(limit) == 0


def test_the_address_that_has_not_asked_for_longest_is_forgotten() -> None:
    limit = NewSessionLimit(per_address=1, total=1e6, clock=ManualClock(0.0), remembered=100)
    for number in range(10_000):
        # This one keeps asking, and is not forgotten over all the others.
        assert granted(limit, "192.0.2.1", 1) == (number < 2)
        limit.check(f"10.0.{number // 250}.{number % 250}")
        assert len(limit) <= 100


@given(
    gaps=st.lists(st.floats(0, 2), max_size=60),
    rate=st.floats(0.1, 10),
    names=st.lists(st.sampled_from("abc"), min_size=60, max_size=60),
)
def test_what_is_refused_takes_nothing(gaps: list[float], rate: float, names: list[str]) -> None:
    """A client that asks only when requests are granted gets as much as one that asks all the time."""
    clock = ManualClock(0.0)
    eager, patient = (NewSessionLimit(per_address=rate, total=2 * rate, clock=clock) for _ in range(2))
    for gap, name in zip(gaps, names, strict=False):
        clock.time += gap
        if granted(eager, name, 1):
            assert granted(patient, name, 1) == 1
        assert granted(eager, name, 3) == granted(patient, name, 3)
