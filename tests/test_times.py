"""The format of times."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from portfolio_trio.times import rfc3339


@given(st.floats(min_value=0, max_value=4e9))
@example(0.0)
@example(1_800_000_000.9999996)
@example(1_800_000_000.1239999)
@example(1_700_000_000.001)
def test_a_time_is_written_as_datetime_writes_it(seconds: float) -> None:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    assert rfc3339(seconds) == text.replace("+00:00", "Z")


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_whole_milliseconds_come_back(milliseconds: int) -> None:
    read = datetime.fromisoformat(rfc3339(milliseconds / 1_000))
    assert round(read.timestamp() * 1_000) == milliseconds
