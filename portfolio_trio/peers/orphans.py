"""Runs that this worker may have left in documents, and that none of its sockets owns any longer.

The reply to a start may come too late or not at all: then the document may contain a run whose number is
unknown. It is found by the token of the start, and cleared as soon as Redis can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portfolio_trio.store import SessionMissing, StoreError

if TYPE_CHECKING:
    from portfolio_trio.store import Ending, PortfolioStore, RunEnd

# A start that was not found may still be in flight: it is searched again at this many sweeps.
TRIES: Final = 3
ORPHANS: Final = 10_000
"""How many are remembered; older ones are left to the next run of their session."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """One run: identified by its number if known, else by the token of its start.

    ``ending`` is its reported end, if it was a run of this worker.
    """

    session_id: str
    incarnation: str
    run_id: int | None = None
    token: str = ""
    ending: Ending | None = None


class Orphans:
    """Remembers such runs until they are known not to be in a document.

    Args:
        store: The documents.
    """

    def __init__(self, store: PortfolioStore) -> None:
        self._store = store
        self._tries: dict[Orphan, int] = {}

    def __len__(self) -> int:
        return len(self._tries)

    def adopt(self, orphan: Orphan) -> None:
        """Remember a run."""
        self._tries[orphan] = TRIES
        while len(self._tries) > ORPHANS:
            del self._tries[next(iter(self._tries))]

    def is_unasked(self, orphan: Orphan) -> bool:
        """Whether Redis has not answered for a run yet."""
        return self._tries.get(orphan) == TRIES

    @property
    def all(self) -> tuple[Orphan, ...]:
        """Every run that may still be in a document."""
        return tuple(self._tries)

    async def clear(self, orphan: Orphan) -> RunEnd | None:
        """Clear a run from its document; None if it was not found there, or Redis could not be reached.

        A run of another worker that had ended before is left unchanged; the document may say how it ended.
        """
        try:
            end = await self._store.finish_analysis(
                orphan.session_id,
                run_id=orphan.run_id,
                token=orphan.token,
                incarnation=orphan.incarnation,
                ending=orphan.ending,
                own=orphan.ending is not None,
            )
        except SessionMissing:
            self._tries.pop(orphan, None)
            return None
        except StoreError:
            # The next sweep tries again.
            return None
        left = self._tries.get(orphan, 0) - 1
        if end.cleared or orphan.run_id is not None or left <= 0:
            self._tries.pop(orphan, None)
        else:
            self._tries[orphan] = left
        return end if end.cleared or end.ending is not None else None
