"""Limiting log lines that would repeat: frequent events, and continuing conditions.

`Seldom` writes one line per period, with the number held back. `Lasting` writes one when a condition begins
and one when it ends, with its duration.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

MOST_KINDS: Final = 64
"""The maximum number of distinguished kinds of lines; further ones count as one kind."""


@dataclass(slots=True)
class _Kind:
    due: float = -math.inf
    held_back: int = 0


class Seldom:
    """Writes at most one line per period, for each kind.

    The next line has ``held_back``: the number of lines left out in between.

    Args:
        log: The logger to write to.
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
            text: The message.
            extra: The event and its context.
            alike: Lines with the same value are counted together.
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
            # Kinds whose period is over no longer hold back lines.
            self._kinds = {each: kind for each, kind in self._kinds.items() if now < kind.due}
            if len(self._kinds) >= MOST_KINDS:
                alike = None
        return self._kinds.setdefault(alike, _Kind())


class Lasting:
    """Writes a line when a condition begins and one when it ends, however often it is reported meanwhile.

    Args:
        log: The logger to write to.
        clock: Seconds.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._since: float | None = None
        self._times = 0

    def begins(self, text: str, *, extra: Mapping[str, object], level: int = logging.WARNING) -> None:
        """Report that it has begun, or continues: the latter only at level ``debug``.

        Args:
            text: The message.
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
        """Report that it is over, if it had begun, with its ``seconds`` and the ``times`` it was reported."""
        if self._since is not None:
            took = {"seconds": round(self._clock() - self._since, 3), "times": self._times}
            self._log.info(text, extra={**extra, **took})
        self.forget()

    def forget(self) -> None:
        """Forget the condition without a line: the next report begins it again."""
        self._since, self._times = None, 0
