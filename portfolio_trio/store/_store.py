"""The session documents: one typed function per script."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class PortfolioStore(SessionCalls, RunCalls, EditCalls):
    """Session documents in Redis, each changed by one Lua script at a time.

    Times are given by the caller, RFC 3339 in UTC with Z: the store reads no clock. Every method may raise
    `StoreUnavailable`, `StoreFull`, `StoreReadOnly` or `StoreUnsupported`, and every one that names a session
    `WrongType`. Cancelling a caller cancels its wait; the script may still run.

    A call that states the ``incarnation`` of the document it means never touches another one: if the session
    has expired and been created again since, it raises `SessionMissing`.

    A call that states what is ``known`` of the document changes nothing if the document has lower numbers,
    and raises `FellBack`: a replica took over that lacked the newest writes. `lift` then gives the document
    new numbers to continue with.
    """

    async def revalue(
        self, session_ids: Sequence[str], *, tick: Tick, price_lookup: PriceLookup | None = None
    ) -> list[Revaluation]:
        """Update the totals of some sessions to ``tick``; one outcome each, in their order.

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
        """Update the total of every session to ``tick``.

        Keys are found by SCAN and revalued in windows, a few at a time, so that memory stays bounded.
        Cancelling it leaves some sessions at the older tick and has no other effect.

        Args:
            tick: The prices.
            price_lookup: Called for the prices of names that the tick lacks.
            lost: Lost workers: their runs are over, and their sockets are gone.

        Returns:
            Counts by outcome. A key that is not a session document is reported there and left unchanged.
        """
        return await Sweep(self._client, Prices(tick, price_lookup), lost, telemetry=self._telemetry).run()

    async def newest_results(
        self, session_id: str, *, ticker: str | None = None, limit: int, max_bytes: int
    ) -> ResultsPage:
        """Return the newest results, of one ticker if named: as many as are requested and fit.

        The cost depends on the results returned, not on those stored; results of one ticker are searched
        among the newest 20,000. Does not count as the client's activity.

        Args:
            session_id: The session.
            ticker: Only results of this ticker.
            limit: Maximum number of results.
            max_bytes: Maximum total length as JSON; the newest one is always returned.

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
