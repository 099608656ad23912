"""How long a lease lasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.peers.membership import SHORTEST_LEASE, WORKER_TTL_SECONDS, lease_seconds


@pytest.mark.parametrize(
    ("interval", "lease"),
    [(0.01, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 2.0), (20.0, 10.0), (30.0, 10.0), (86_400.0, 10.0)],
)
def test_a_lease_is_half_an_interval_within_bounds(interval: float, lease: float) -> None:
    assert lease_seconds(interval) == lease


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_a_lease_is_never_longer_than_a_worker_ttl_nor_shorter_than_heartbeats_can_keep(
    one: float, two: float
) -> None:
    assert SHORTEST_LEASE <= lease_seconds(one) <= WORKER_TTL_SECONDS
    assert lease_seconds(min(one, two)) <= lease_seconds(max(one, two))
