"""Log lines that may come in floods: one for each period, with how many were held back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping


class Seldom:
    """Writes at most one line for each period.

    Args:
        log: Where to.
        seconds: The period.
        clock: Seconds.
    """

    def __init__(self, log: logging.Logger, *, seconds: float = 1.0, clock: Callable[[], float]) -> None:
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._next = -math.inf
        self._held_back = 0

    def warning(self, text: str, *args: object, extra: Mapping[str, object]) -> None:
        """Write a warning, or count it for the next line; arguments as for a logger."""
        now = self._clock()
        if now < self._next:
            self._held_back += 1
            return
        if self._held_back:
            text, args = text + " (and %d more like it)", (*args, self._held_back)
            extra = {**extra, "held_back": self._held_back}
        self._log.warning(text, *args, extra=extra)
        self._next, self._held_back = now + self._seconds, 0
