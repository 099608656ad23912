"""The names that came into a price book because somebody asked for them: by whom, and until when."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from portfolio_trio.market._errors import MarketFullError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PER_SESSION: Final = 1_000
"""Names that one session may have brought: what it may hold, and as much again while it replaces that."""
PART_OF_FREE: Final = 8
"""One request takes at most the eighth part of what is free: many sessions cannot lock out the next one."""
IDLE_ROUNDS: Final = 3
"""A name gives its place back when so many sweeps in a row have found it in no portfolio."""


class Admissions:
    """Who brought which name into a book, and which names nobody holds any more."""

    def __init__(self) -> None:
        self._idle: dict[str, int] = {}
        self._owners: dict[str, str] = {}
        self._brought: Counter[str] = Counter()
        self._kept: set[str] = set()

    def __len__(self) -> int:
        """How many names came so and are there."""
        return len(self._idle)

    def check(self, session_id: str, new: int, free: int) -> None:
        """Return if a session may bring ``new`` more names into a book that has ``free`` places.

        Raises:
            MarketFullError: It may not.
        """
        most = min(PER_SESSION - self._brought[session_id], max(1, free // PART_OF_FREE), free)
        if new > most:
            raise MarketFullError(new, max(0, most))

    def keep(self, names: Iterable[str]) -> None:
        """Let names stay though nobody holds them."""
        self._kept.update(names)

    def enter(self, name: str, session_id: str | None) -> None:
        """A name has come, of a session or of none."""
        self._idle[name] = 0
        if session_id is not None and name not in self._owners:
            self._owners[name] = session_id
            self._brought[session_id] += 1

    def ask(self, names: Iterable[str]) -> None:
        """Names have been asked for: somebody may be about to hold them."""
        for name in names:
            if name in self._idle:
                self._idle[name] = 0

    def leave(self, name: str) -> None:
        """A name has gone."""
        self._idle.pop(name, None)
        owner = self._owners.pop(name, None)
        if owner is not None:
            self._brought[owner] -= 1
            if not self._brought[owner]:
                del self._brought[owner]

    def idle(self, held: Collection[str]) -> list[str]:
        """Count one sweep that found ``held``; return the names that may go."""
        for name in self._idle:
            self._idle[name] = 0 if name in held or name in self._kept else self._idle[name] + 1
        return [name for name, rounds in self._idle.items() if rounds >= IDLE_ROUNDS]
