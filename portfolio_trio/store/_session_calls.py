"""Sessions: opening, attaching and leaving them, and lifting one that has fallen back."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from portfolio_trio.store import _replies
from portfolio_trio.store._document_calls import DocumentCalls
from portfolio_trio.store._prices import Prices
from portfolio_trio.store._texts import (
    checked_holdings,
    checked_time,
    holdings_text,
    new_document,
    total_value,
)
from portfolio_trio.store.errors import (
    MissingPrices,
    SessionMissing,
)
from portfolio_trio.store.models import NOTHING, Known, Portfolio, Valued

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.store.models import (
        PriceLookup,
        Tick,
    )


class SessionCalls(DocumentCalls):
    """Opens sessions, and records which workers have sockets of them."""

    async def open_session(
        self,
        session_id: str,
        *,
        holdings: Mapping[str, float],
        tick: Tick,
        at: str,
        price_lookup: PriceLookup | None = None,
        attach: bool = False,
    ) -> Portfolio:
        """Return the session's portfolio, creating the session with ``holdings`` if there is none.

        Counts as the client's activity: the time to live starts again. With ``attach`` the document lists
        this worker among those that have sockets of the session, until `leave_session`.

        Raises:
            MissingPrices: There is no session, and a name of ``holdings`` has no price.
            TooManyHoldings: ``holdings`` has more lines than allowed.
        """
        prices = Prices(tick, price_lookup)
        kept = checked_holdings(holdings, self._max_holdings)
        try:
            total = total_value(kept, prices.find(kept))
        except MissingPrices:
            # An existing session needs no prices to be opened.
            with suppress(SessionMissing):
                return await self.get_portfolio(session_id, at=at, attach=attach)
            raise
        incarnation = secrets.token_hex(8)
        text = holdings_text(kept)
        document = new_document(
            session_id,
            holdings=text,
            total=total,
            valued=prices.valued,
            at=checked_time(at),
            incarnation=incarnation,
            attached=(self.worker,) if attach else (),
        )
        opened = await self._open(session_id, document, at, attach=attach)
        if opened is not None:
            return opened
        valued = Valued(tick.tick_id, prices.as_of)
        texts = (text.encode(), b"null")
        return Portfolio(
            session_id, kept, 1, total, valued, None, created=True, incarnation=incarnation, texts=texts
        )

    async def get_portfolio(
        self,
        session_id: str,
        *,
        at: str,
        attach: bool = False,
        incarnation: str = "",
        known: Known = NOTHING,
    ) -> Portfolio:
        """Return the session's portfolio. Counts as the client's activity; ``attach`` as for `open_session`.

        Raises:
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        checked_time(at)
        return await self._reopen(session_id, at, attach=attach, incarnation=incarnation, known=known)

    async def attach(self, session_id: str, *, known: Known = NOTHING) -> Portfolio:
        """Return the session's portfolio and attach this worker, without counting as the client's activity.

        Raises:
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        return await self._reopen(session_id, "", attach=True, known=known)

    async def lift(self, session_id: str, known: Known) -> None:
        """Give a document that has fallen back version and run numbers that nobody has seen.

        Afterwards its version is above the known one, and the next run_id will be. A run below the known one
        is no longer current. Safe to repeat; does not count as the client's activity.

        Raises:
            SessionMissing: There is no such session, or it is another document.
        """
        reply = await self._run("lift", session_id, known.text, idempotent=True)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)

    async def leave_session(self, session_id: str) -> None:
        """Record that this worker has no socket of the session any longer; the session may be missing."""
        reply = await self._run("leave_session", session_id, self.worker, idempotent=True)
        if reply[0] not in {b"ok", b"missing"}:
            raise _replies.refusal(session_id, reply)

    async def _reopen(
        self, session_id: str, at: str, *, attach: bool, known: Known, incarnation: str = ""
    ) -> Portfolio:
        portfolio = await self._open(session_id, "", at, attach=attach, incarnation=incarnation, known=known)
        if portfolio is None:
            raise AssertionError("open_session created a session from nothing")
        return portfolio

    async def _open(
        self,
        session_id: str,
        document: str,
        at: str,
        *,
        attach: bool,
        incarnation: str = "",
        known: Known = NOTHING,
    ) -> Portfolio | None:
        args = (document, at, self._ttl, self.worker if attach else "", incarnation, known.text)
        reply = await self._run("open_session", session_id, *args, known=known, idempotent=True)
        if reply[0] == b"created":
            return None
        if reply[0] not in {b"opened", b"unattached"}:
            raise _replies.refusal(session_id, reply)
        status, holdings, version, total, valued, current, counter, own, ends, targets, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=holdings,
            version=version,
            total=total,
            valued=valued,
            current=current,
            targets=targets,
            others=others,
            attached=status == b"opened",
            counter=counter,
            incarnation=own.decode(),
            ends=ends,
        )
