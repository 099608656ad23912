"""The names that were admitted to a price book on request: by whom, and for how long."""

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
    """An admitted name: its first price, who added it, and how many sweeps did not find it."""

    price: float
    session_id: str | None
    address: str | None
    idle: int = 0


class Admissions:
    """Who added which name to a book at which price, and which names are no longer held."""

    def __init__(self) -> None:
        self._names: dict[str, _Admitted] = {}
        # How many of the names each session, and each address, has added.
        self._by_session: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._kept: set[str] = set()

    def __len__(self) -> int:
        """How many admitted names there are."""
        return len(self._names)

    def check(self, session_id: str, address: str | None, new: int, free: int) -> None:
        """Return if a session may add ``new`` more names to a book that has ``free`` places.

        All sessions of an address together may have added at most as many names as places are free: however
        many sessions and workers it uses, it leaves places to others. Sessions without an address count by
        themselves.

        Raises:
            MarketFullError: It may not add them.
        """
        most = min(PER_SESSION - self._by_session[session_id], max(1, free // PART_OF_FREE), free)
        of_address = most if address is None else free - self._by_address[address]
        if new > min(most, of_address):
            who = "the sessions of this address together" if of_address < most else "this session"
            raise MarketFullError(new, max(0, min(most, of_address)), who)

    def keep(self, names: Iterable[str]) -> None:
        """Keep names even if nobody holds them."""
        self._kept.update(names)

    @property
    def prices(self) -> dict[str, float]:
        """The first price of each name."""
        return {name: admitted.price for name, admitted in self._names.items()}

    def enter(
        self, name: str, price: float, session_id: str | None = None, address: str | None = None
    ) -> None:
        """Record an admitted name, of a session or of none; a name admitted before keeps its owner."""
        before = self._names.get(name)
        if before is not None and before.session_id is not None:
            session_id, address = before.session_id, before.address
        self.leave(name)
        self._names[name] = _Admitted(price, session_id, address)
        for counts, owner in ((self._by_session, session_id), (self._by_address, address)):
            if owner is not None:
                counts[owner] += 1

    def ask(self, names: Iterable[str]) -> None:
        """Record a request for names: a session may be about to hold them."""
        for name in names:
            if name in self._names:
                self._names[name].idle = 0

    def leave(self, name: str) -> None:
        """Record that a name was removed."""
        gone = self._names.pop(name, None)
        if gone is None:
            return
        for counts, owner in ((self._by_session, gone.session_id), (self._by_address, gone.address)):
            if owner is not None:
                counts[owner] -= 1
                if not counts[owner]:
                    del counts[owner]

    def idle(self, held: Collection[str]) -> list[str]:
        """Count one sweep that found ``held``; return the names to remove."""
        for name, admitted in self._names.items():
            admitted.idle = 0 if name in held or name in self._kept else admitted.idle + 1
        return [name for name, admitted in self._names.items() if admitted.idle >= IDLE_ROUNDS]
