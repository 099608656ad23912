"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter, so that all who lost one server do not come back at once.

    Attributes:
        first: Seconds before the first attempt, at most.
        factor: By how much each further delay is longer.
        longest: Seconds that no delay exceeds.

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
        """Seconds before an attempt, the first being 0: half of it fixed, half of it drawn."""
        return self.whole(attempt) * rng.uniform(0.5, 1.0)

    def whole(self, attempt: int) -> float:
        """Seconds before an attempt where nobody else could come back at the same moment."""
        # Beyond this many doublings the longest delay is reached, whatever the factor; no overflow.
        return min(self.longest, self.first * self.factor ** min(attempt, 64))
