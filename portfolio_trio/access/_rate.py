"""How many requests one client may send."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """A token bucket: ``burst`` requests at once, ``rate`` per second in the long run.

    In any window of ``t`` seconds it grants at most ``burst + rate * t``. It consists of two numbers and
    needs no task.

    Args:
        rate: Requests per second, above 0.
        burst: Requests, at least 1.
        clock: Seconds, monotonic.
    """

    __slots__ = ("_burst", "_clock", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        if not (rate > 0 and burst >= 1):
            raise ValueError("a rate must be above 0 and a burst at least 1")
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def grant(self) -> bool:
        """Take one token; returns whether there was one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def wait_seconds(self) -> float:
        """How long until there is a token."""
        self._fill()
        return max(0.0, (1 - self._tokens) / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


class Decision(Enum):
    """What to do with one request."""

    SERVE = auto()
    REFUSE = auto()
    """Answer ``rate_limited``."""
    DISCONNECT = auto()
    """Close with 1008: the client ignores the refusals."""


class Throttle:
    """Limits the requests of one socket: too many are refused, and far too many end the socket.

    Refused requests are counted by a second bucket of the same rate. So a client at up to twice the permitted
    rate only has its excess requests refused; a faster one is disconnected when that bucket is empty.

    Args:
        rate: Requests per second, above 0.
        burst: Requests at once, at least 1.
        patience: Refusals at once, at least 1.
        clock: Seconds, monotonic.
    """

    __slots__ = ("_refusals", "_requests")

    def __init__(self, rate: float, burst: int, *, patience: int, clock: Callable[[], float]) -> None:
        self._requests = RateLimit(rate, burst, clock)
        self._refusals = RateLimit(rate, patience, clock)

    def decide(self) -> Decision:
        """Count one request."""
        if self._requests.grant():
            return Decision.SERVE
        return Decision.REFUSE if self._refusals.grant() else Decision.DISCONNECT

    @property
    def wait_seconds(self) -> float:
        """How long until a request is served again."""
        return self._requests.wait_seconds
