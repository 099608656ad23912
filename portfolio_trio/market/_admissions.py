"""The names that came into a price book because somebody asked for them: by whom, and until when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Admitted:
    """A name that came so: its first price, who brought it, and how many sweeps did not find it."""

    price: float
    owner: str | None
    idle: int = 0


class Admissions:
    """Who brought which name into a book at which price, and which names nobody holds any more."""

    def __init__(self) -> None:
        self._names: dict[str, _Admitted] = {}
        # How many of the names each owner has: as many as name it.
        self._brought: Counter[str] = Counter()
        self._kept: set[str] = set()

    def __len__(self) -> int:
        """How many names came so and are there."""
        return len(self._names)

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

    @property
    def prices(self) -> dict[str, float]:
        """The first price of each name."""
        return {name: admitted.price for name, admitted in self._names.items()}

    def enter(self, name: str, price: float, session_id: str | None) -> None:
        """A name has come, of a session or of none; one that had come before keeps its owner."""
        before = self._names.get(name)
        owner = session_id if before is None or before.owner is None else before.owner
        if owner is not None and (before is None or before.owner is None):
            self._brought[owner] += 1
        self._names[name] = _Admitted(price, owner)

    def ask(self, names: Iterable[str]) -> None:
        """Names have been asked for: somebody may be about to hold them."""
        for name in names:
            if name in self._names:
                self._names[name].idle = 0

    def leave(self, name: str) -> None:
        """A name has gone."""
        gone = self._names.pop(name, None)
        if gone is not None and gone.owner is not None:
            self._brought[gone.owner] -= 1
            if not self._brought[gone.owner]:
                del self._brought[gone.owner]

    def idle(self, held: Collection[str]) -> list[str]:
        """Count one sweep that found ``held``; return the names that may go."""
        for name, admitted in self._names.items():
            admitted.idle = 0 if name in held or name in self._kept else admitted.idle + 1
        return [name for name, admitted in self._names.items() if admitted.idle >= IDLE_ROUNDS]
