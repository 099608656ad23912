"""The names that were admitted to a price book on request: by which session, and for how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portfolio_trio.market._errors import MarketFullError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PER_SESSION: Final = 1_000
"""How many names one session may add: as many as it may hold, and as many again while it replaces them."""
PART_OF_FREE: Final = 8
"""One request takes at most an eighth of the free places, so that sessions cannot lock out the next one."""
IDLE_ROUNDS: Final = 3
"""A name is removed when this many sweeps in a row have found it in no portfolio."""


@dataclass(slots=True)
class _Admitted:
    """An admitted name: its first price, the session that added it, and how many sweeps did not find it."""

    price: float
    owner: str | None
    idle: int = 0


class Admissions:
    """Which session added which name to a book at which price, and which names are no longer held."""

    def __init__(self) -> None:
        self._names: dict[str, _Admitted] = {}
        # How many of the names each owner has added.
        self._brought: Counter[str] = Counter()
        self._kept: set[str] = set()

    def __len__(self) -> int:
        """How many admitted names there are."""
        return len(self._names)

    def check(self, session_id: str, new: int, free: int) -> None:
        """Return if a session may add ``new`` more names to a book that has ``free`` places.

        Raises:
            MarketFullError: It may not add them.
        """
        most = min(PER_SESSION - self._brought[session_id], max(1, free // PART_OF_FREE), free)
        if new > most:
            raise MarketFullError(new, max(0, most))

    def keep(self, names: Iterable[str]) -> None:
        """Keep names even if nobody holds them."""
        self._kept.update(names)

    @property
    def prices(self) -> dict[str, float]:
        """The first price of each name."""
        return {name: admitted.price for name, admitted in self._names.items()}

    def enter(self, name: str, price: float, session_id: str | None) -> None:
        """Record an admitted name, of a session or of none; a name admitted before keeps its owner."""
        before = self._names.get(name)
        owner = session_id if before is None or before.owner is None else before.owner
        if owner is not None and (before is None or before.owner is None):
            self._brought[owner] += 1
        self._names[name] = _Admitted(price, owner)

    def ask(self, names: Iterable[str]) -> None:
        """Record a request for names: a session may be about to hold them."""
        for name in names:
            if name in self._names:
                self._names[name].idle = 0

    def leave(self, name: str) -> None:
        """Record that a name was removed."""
        gone = self._names.pop(name, None)
        if gone is not None and gone.owner is not None:
            self._brought[gone.owner] -= 1
            if not self._brought[gone.owner]:
                del self._brought[gone.owner]

    def idle(self, held: Collection[str]) -> list[str]:
        """Count one sweep that found ``held``; return the names to remove."""
        for name, admitted in self._names.items():
            admitted.idle = 0 if name in held or name in self._kept else admitted.idle + 1
        return [name for name, admitted in self._names.items() if admitted.idle >= IDLE_ROUNDS]
