"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter, so that clients that lost one server do not all return at once.

    Attributes:
        first: Seconds before the first attempt, at most.
        factor: The factor from each delay to the next.
        longest: The longest delay in seconds.

    Raises:
        ValueError: The delays would not be positive, or would shrink.
    """

    first: float = 0.25
    factor: float = 2.0
    longest: float = 30.0

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.longest and self.factor >= 1):
            raise ValueError(f"{self}: needs 0 < first <= longest and factor >= 1")

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Seconds before an attempt, counted from 0: half of it fixed, half of it random."""
        return self.whole(attempt) * rng.uniform(0.5, 1.0)

    def whole(self, attempt: int) -> float:
        """Seconds before an attempt, without jitter, for a client that has no others beside it."""
        # Beyond this many steps the longest delay is reached with any factor; avoids overflow.
        return min(self.longest, self.first * self.factor ** min(attempt, 64))
