"""Log lines that would repeat: what comes in floods, and what lasts.

`Seldom` writes one line for each period, with how many were held back. `Lasting` writes one as something
begins and one as it is over, with how long that was.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

MOST_KINDS: Final = 64
"""So many kinds of lines are told apart; what comes then counts as one kind."""


@dataclass(slots=True)
class _Kind:
    due: float = -math.inf
    held_back: int = 0


class Seldom:
    """Writes at most one line for each period, of those that are alike.

    The line that comes next has ``held_back``: how many there were in between.

    Args:
        log: Where to.
        seconds: The period.
        clock: Seconds.
    """

    def __init__(self, log: logging.Logger, *, seconds: float = 10.0, clock: Callable[[], float]) -> None:
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def info(self, text: str, *, extra: Mapping[str, object], alike: Hashable = None) -> None:
        """Write a line for ``info``; arguments as for `warning`."""
        self._write(logging.INFO, text, extra, alike)

    def warning(self, text: str, *, extra: Mapping[str, object], alike: Hashable = None) -> None:
        """Write a warning, or count it for the next line.

        Args:
            text: What happened.
            extra: The event and its context.
            alike: Lines that have this in common are counted together.
        """
        self._write(logging.WARNING, text, extra, alike)

    def error(
        self,
        text: str,
        *,
        extra: Mapping[str, object],
        alike: Hashable = None,
        exc_info: BaseException | None = None,
    ) -> None:
        """Write an error with its traceback; other arguments as for `warning`."""
        self._write(logging.ERROR, text, extra, alike, exc_info)

    def _write(
        self,
        level: int,
        text: str,
        extra: Mapping[str, object],
        alike: Hashable,
        exc_info: BaseException | None = None,
    ) -> None:
        now = self._clock()
        kind = self._kind(alike, now)
        if now < kind.due:
            kind.held_back += 1
            return
        held_back = {"held_back": kind.held_back} if kind.held_back else {}
        self._log.log(level, text, exc_info=exc_info, extra={**extra, **held_back})
        kind.due, kind.held_back = now + self._seconds, 0

    def _kind(self, alike: Hashable, now: float) -> _Kind:
        if alike not in self._kinds and len(self._kinds) >= MOST_KINDS:
            # Those whose period is over hold nothing back any more.
            self._kinds = {each: kind for each, kind in self._kinds.items() if now < kind.due}
            if len(self._kinds) >= MOST_KINDS:
                alike = None
        return self._kinds.setdefault(alike, _Kind())


class Lasting:
    """Writes a line as something begins and one as it is over, however often it is said in between.

    Args:
        log: Where to.
        clock: Seconds.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._since: float | None = None
        self._times = 0

    def begins(self, text: str, *, extra: Mapping[str, object], level: int = logging.WARNING) -> None:
        """Say that it has begun, or still is: the latter for ``debug`` only.

        Args:
            text: What has begun.
            extra: The event and its context.
            level: How important it is.
        """
        self._times += 1
        if self._since is None:
            self._since = self._clock()
        else:
            level = logging.DEBUG
        self._log.log(level, text, extra=extra)

    def ends(self, text: str, *, extra: Mapping[str, object]) -> None:
        """Say that it is over, if it had begun: with ``seconds`` that it took, and ``times`` it was said."""
        if self._since is not None:
            took = {"seconds": round(self._clock() - self._since, 3), "times": self._times}
            self._log.info(text, extra={**extra, **took})
        self.forget()

    def forget(self) -> None:
        """It is nothing of ours any more: whatever comes begins anew, and no line says that it is over."""
        self._since, self._times = None, 0
