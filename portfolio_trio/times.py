"""The one format of times: RFC 3339, UTC, milliseconds, ``Z``."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import floor


def rfc3339(seconds: float) -> str:
    """Write seconds since the epoch as ``2026-11-22T09:30:00.125Z``."""
    whole = floor(seconds)
    # Rounded to microseconds and then truncated, as datetime does.
    second, millisecond = divmod(whole * 1_000 + round((seconds - whole) * 1e6) // 1_000, 1_000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    # A run formats seven times, and most of them are in the same second.
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
