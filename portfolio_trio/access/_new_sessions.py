"""How many new sessions may be created: by one address, and in total."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from portfolio_trio.access._connection_limits import counted_as
from portfolio_trio.access._rate import RateLimit
from portfolio_trio.access._refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

REMEMBERED: Final = 10_000
"""Addresses whose buckets are kept; the least recently used one is forgotten first."""


class TooManySessions(Refused):
    """New sessions are refused for now (HTTP 429, with Retry-After)."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            429, "rate_limited", "Too many new sessions at once; try again later.", retry_after=retry_after
        )


class NewSessionLimit:
    """Lets one address create ``per_address`` sessions a second, and all addresses together ``total``.

    Requests refused to one address do not count against the others. An address is counted as in `counted_as`,
    loopback included: a proxy on this machine is one address, and if it has many clients, ``per_address`` is
    too low for it. Clients without an address count only in the total.

    Args:
        per_address: Sessions per second of one address in the long run; None for no limit.
        total: The same for all addresses together.
        burst_seconds: How many seconds' worth of sessions may come at once.
        clock: Seconds, monotonic.
        remembered: The maximum number of addresses remembered.
    """

    def __init__(
        self,
        *,
        per_address: float | None,
        total: float | None,
        burst_seconds: float = 1.0,
        clock: Callable[[], float],
        remembered: int = REMEMBERED,
    ) -> None:
        self._per_address = per_address
        self._clock = clock
        self._remembered = remembered
        self._burst_seconds = burst_seconds
        self._total = None if total is None else self._bucket(total)
        self._buckets: OrderedDict[str, RateLimit] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._buckets)

    def check(self, address: str | None) -> None:
        """Count one new session of an address, or of a client without one (None).

        Raises:
            TooManySessions: It is one too many, and was not counted.
        """
        for bucket in (self._bucket_of(address), self._total):
            if bucket is not None and bucket.wait_seconds > 0:
                raise TooManySessions(bucket.wait_seconds)
        for bucket in (self._bucket_of(address), self._total):
            if bucket is not None:
                bucket.grant()

    def _bucket_of(self, address: str | None) -> RateLimit | None:
        group = counted_as(address)
        if group is None or self._per_address is None:
            return None
        bucket = self._buckets.get(group)
        if bucket is None:
            bucket = self._buckets[group] = self._bucket(self._per_address)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(group)
        return bucket

    def _bucket(self, rate: float) -> RateLimit:
        return RateLimit(rate, math.ceil(rate * self._burst_seconds) + 1, self._clock)
