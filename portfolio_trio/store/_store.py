"""The session documents: one typed function per script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portfolio_trio.store._documents import read_document, read_portfolio
from portfolio_trio.store._edit_calls import EditCalls
from portfolio_trio.store._prices import Prices
from portfolio_trio.store._results import results_page
from portfolio_trio.store._run_calls import RunCalls
from portfolio_trio.store._session_calls import SessionCalls
from portfolio_trio.store._sweep import Revaluer, Sweep
from portfolio_trio.store._texts import (
    checked_ticker,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from portfolio_trio.store.models import (
        Portfolio,
        PriceLookup,
        ResultsPage,
        Revaluation,
        SweepReport,
        Tick,
    )

# More than there can be of anything, and exact in Lua.
_ALL: Final = 2**53


class PortfolioStore(SessionCalls, RunCalls, EditCalls):
    """Session documents in Redis, each changed by one Lua script at a time.

    Times are given by the caller, RFC 3339 in UTC with Z: the store reads no clock. Every method may raise
    `StoreUnavailable`, `StoreFull`, `StoreReadOnly` or `StoreUnsupported`, and every one that names a session
    `WrongType`. Cancelling a caller cancels its wait; the script may still run.

    A call that states the ``incarnation`` of the document it means never touches another one: where the
    session has expired and was made anew since, it raises `SessionMissing`.

    One that states what is ``known`` of the document changes nothing where that has less, and raises
    `FellBack`: a replica took over that lacked the newest writes. `lift` then gives it numbers to go on with.
    """

    async def revalue(
        self, session_ids: Sequence[str], *, tick: Tick, price_lookup: PriceLookup | None = None
    ) -> list[Revaluation]:
        """Bring the totals of some sessions to ``tick``; one outcome each, in their order.

        An older tick changes nothing. Does not count as the clients' activity.
        """
        revaluer = Revaluer(self._client, Prices(tick, price_lookup), telemetry=self._telemetry)
        outcomes: list[Revaluation] = []
        for window in revaluer.windows(session_ids):
            outcomes += await revaluer.revalue(window)
        return outcomes

    async def revalue_all(
        self,
        tick: Tick,
        *,
        price_lookup: PriceLookup | None = None,
        lost: Sequence[str] = (),
    ) -> SweepReport:
        """Bring the total of every session to ``tick``.

        Keys are found by SCAN and revalued in windows, a few at a time, so that memory stays bounded.
        Cancelling it leaves some sessions at the older tick and nothing else.

        Args:
            tick: The prices.
            price_lookup: Asked for names that the tick lacks.
            lost: Lost workers: runs of theirs are over, and their sockets are gone.

        Returns:
            Counts by outcome. A key that is no session document is reported there and left as it is.
        """
        return await Sweep(self._client, Prices(tick, price_lookup), lost, telemetry=self._telemetry).run()

    async def get_results(
        self, session_id: str, *, ticker: str | None = None, limit: int | None = None
    ) -> list[dict[str, JsonValue]]:
        """Return stored results, oldest first: of one ticker if named, the newest ``limit`` if given.

        Not bounded in bytes: clients are answered with `newest_results`.

        Raises:
            SessionMissing: There is no such session.
        """
        limit = _ALL if limit is None else limit
        page = await self.newest_results(session_id, ticker=ticker, limit=limit, max_bytes=_ALL)
        return list(page.results)

    async def newest_results(
        self, session_id: str, *, ticker: str | None = None, limit: int, max_bytes: int
    ) -> ResultsPage:
        """Return the newest results, of one ticker if named: as many as are asked for and fit.

        What it costs depends on what is returned and not on what is held; for a ticker its results are looked
        for among the newest 20,000. Does not count as the client's activity.

        Args:
            session_id: The session.
            ticker: Only results of this one.
            limit: How many at most.
            max_bytes: How long they may be together as JSON; the newest one is given however long it is.

        Raises:
            SessionMissing: There is no such session.
        """
        which = "" if ticker is None else checked_ticker(ticker)
        reply = await self._run("get_results", session_id, which, limit, max_bytes, idempotent=True)
        return results_page(session_id, reply, max_bytes)

    async def peek_portfolio(self, session_id: str) -> Portfolio:
        """Return the session's portfolio without counting as the client's activity.

        Raises:
            SessionMissing: There is no such session.
        """
        return await read_portfolio(self._client, session_id)

    async def get_document(self, session_id: str) -> dict[str, JsonValue]:
        """Return the whole document, for tests and tools.

        Raises:
            SessionMissing: There is no such session.
        """
        return await read_document(self._client, session_id)
