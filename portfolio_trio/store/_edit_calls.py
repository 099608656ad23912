"""Changes of the holdings and of their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.canonical import canonical_text
from portfolio_trio.store import _replies
from portfolio_trio.store._document_calls import DocumentCalls
from portfolio_trio.store._prices import Prices, prices_text
from portfolio_trio.store._texts import (
    checked_holdings,
    checked_shares,
    checked_ticker,
    checked_time,
    holdings_text,
    targets_text,
    total_value,
)
from portfolio_trio.store.errors import MissingPrices, OutcomeUnknown, StoreUnavailable, TooManyHoldings
from portfolio_trio.store.models import NOTHING, Known, Portfolio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.store.models import PriceLookup, Tick
    from portfolio_trio.targets import Targets


class EditCalls(DocumentCalls):
    """Changes what a portfolio holds."""

    async def set_holdings(
        self,
        session_id: str,
        holdings: Mapping[str, float],
        *,
        tick: Tick,
        at: str,
        expected_version: int | None = None,
        price_lookup: PriceLookup | None = None,
        incarnation: str = "",
        known: Known = NOTHING,
    ) -> Portfolio:
        """Replace the holdings and value them at ``tick``.

        Raises:
            OutcomeUnknown: The reply was lost, and the change may have been made.
            VersionConflict: The holdings are not at ``expected_version``.
            MissingPrices: A name of ``holdings`` has no price.
            TooManyHoldings: More lines than allowed.
            ValueOverflow: The value is 1e22 or more.
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        prices = Prices(tick, price_lookup)
        kept = checked_holdings(holdings, self._max_holdings)
        text, total = holdings_text(kept), canonical_text(total_value(kept, prices.find(kept)))
        expected = "" if expected_version is None else expected_version
        times = (tick.tick_id, prices.as_of, checked_time(at))
        args = (expected, text, total, *times, self._ttl, self.worker, incarnation, known.text)
        reply = await self._edit("set_holdings", session_id, *args, known=known)
        _, version, current, targets, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=text,
            version=version,
            total=total,
            valued=prices.valued,
            current=current,
            targets=targets,
            incarnation=incarnation,
            others=others,
        )

    async def trade(
        self,
        session_id: str,
        ticker: str,
        shares: float,
        *,
        tick: Tick,
        at: str,
        expected_version: int | None = None,
        price_lookup: PriceLookup | None = None,
        last_known: PriceLookup | None = None,
        incarnation: str = "",
        known: Known = NOTHING,
    ) -> Portfolio:
        """Add shares to one line, or sell with negative ones; a line that comes to zero is removed.

        The holdings are valued at ``tick``; ``last_known`` has prices of other lines that have none there.

        Raises:
            OutcomeUnknown: The reply was lost, and the trade may have been made.
            VersionConflict: The holdings have another version.
            MissingPrices: The traded line would stay without a price, or another has not even a last known.
            NothingTraded: So few shares would be lost to rounding.
            TooManyHoldings: One line more than allowed.
            ValueOverflow: The value or the number of shares is 1e22 or more.
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        offer = (prices := Prices(tick, price_lookup, last_known)).offer(1)
        trade = (checked_ticker(ticker), canonical_text(checked_shares(shares)), self._max_holdings)
        expected = "" if expected_version is None else expected_version
        times = (tick.tick_id, prices.as_of, checked_time(at), self._ttl)
        rest = (*times, self.worker, expected, incarnation, known.text)
        try:
            reply = await self._edit("trade", session_id, *trade, prices_text(offer), *rest, known=known)
        except MissingPrices as missing:
            text = prices_text({**offer, **prices.value(missing.tickers, traded=ticker)})
            reply = await self._edit("trade", session_id, *trade, text, *rest, known=known)
        _, holdings, version, total, current, targets, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=holdings,
            version=version,
            total=total,
            valued=prices.valued,
            current=current,
            targets=targets,
            incarnation=incarnation,
            others=others,
        )

    async def set_targets(
        self,
        session_id: str,
        targets: Targets | None,
        *,
        at: str,
        expected_version: int | None = None,
        incarnation: str = "",
        known: Known = NOTHING,
    ) -> Portfolio:
        """Store the owner's targets, as shares of 1; the holdings and their value do not change.

        Raises:
            OutcomeUnknown: The reply was lost, and the change may have been made.
            VersionConflict: The portfolio is not at ``expected_version``.
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        text = targets_text(targets)
        expected = "" if expected_version is None else expected_version
        args = (expected, text, checked_time(at), self._ttl, self.worker, incarnation, known.text)
        reply = await self._edit("set_targets", session_id, *args, known=known)
        _, holdings, version, total, valued, current, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=holdings,
            version=version,
            total=total,
            valued=valued,
            current=current,
            targets=text.encode(),
            incarnation=incarnation,
            others=others,
        )

    async def _edit(
        self, name: str, session_id: str, *args: str | bytes | float, known: Known
    ) -> list[bytes]:
        """Run a script that must not run twice, and raise the error that its reply stands for."""
        try:
            reply = await self._run(name, session_id, *args, known=known)
        except StoreUnavailable as failure:
            if failure.sent:
                raise OutcomeUnknown(session_id) from failure
            raise
        if reply[0] == b"too_many_holdings":
            raise TooManyHoldings(self._max_holdings)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        return reply
