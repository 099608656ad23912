"""When a worker that ended is restarted, and when that is pointless: decisions without I/O.

| started ──> serves(now) ──> ended(now) ──> a delay, then restarted
|    └──────────────────────> ended(now) ──> a delay, or GiveUp while no worker has ever served
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portfolio_trio.backoff import Backoff

if TYPE_CHECKING:
    import random

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 10.0
"""After serving this long, a worker's delays start again with the first."""

_BACKOFF: Final = Backoff(FIRST_DELAY_SECONDS, longest=LONGEST_DELAY_SECONDS)
_SIGNALLED: Final = 128


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The start has failed, and would fail again.

    Attributes:
        status: The exit status for the supervisor.
    """

    status: int


@dataclass(slots=True)
class _Life:
    served_since: float | None = None
    failures: int = 0


class Restarts:
    """Decides for all workers of one supervisor.

    Args:
        rng: Source of the jitter.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lives: dict[int, _Life] = {}
        self._any_served = False

    def serves(self, worker: int, now: float) -> None:
        """A worker accepts connections, at ``now`` seconds of any clock that does not go back."""
        self._any_served = True
        self._lives.setdefault(worker, _Life()).served_since = now

    def ended(self, worker: int, status: int, now: float) -> float | GiveUp:
        """Return after how many seconds to restart a worker.

        Args:
            worker: Its number.
            status: Its exit status; negative: the signal that ended it.
            now: When it ended.
        """
        if not self._any_served:
            return GiveUp(status if status >= 0 else _SIGNALLED - status)
        life = self._lives.setdefault(worker, _Life())
        since, life.served_since = life.served_since, None
        if since is not None and now - since >= STEADY_SECONDS:
            life.failures = 0
        life.failures += 1
        # Partly random: workers that ended together are not restarted together, and none immediately.
        return _BACKOFF.delay(life.failures - 1, self._rng)


def ending(status: int) -> str:
    """How a process ended, in words: by its exit status, or minus the signal that ended it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
