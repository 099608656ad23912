"""The session documents: one typed function per script."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from portfolio_trio.canonical import canonical_text
from portfolio_trio.store import _replies
from portfolio_trio.store._calls import translated
from portfolio_trio.store._documents import read_document, read_portfolio
from portfolio_trio.store._keys import key_of
from portfolio_trio.store._prices import Prices, prices_text
from portfolio_trio.store._results import results_page
from portfolio_trio.store._sweep import Revaluer, Sweep
from portfolio_trio.store._texts import (
    checked_holdings,
    checked_shares,
    checked_ticker,
    checked_time,
    ending_text,
    holdings_text,
    new_document,
    targets_text,
    total_value,
)
from portfolio_trio.store.errors import (
    FellBack,
    MissingPrices,
    OutcomeUnknown,
    SessionMissing,
    StoreUnavailable,
    TooManyHoldings,
)
from portfolio_trio.store.models import NOTHING, Ending, Known, Portfolio, RunEnd, Valued
from portfolio_trio.store.scripts import script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from portfolio_trio.redis import RedisClient
    from portfolio_trio.store.models import (
        PriceLookup,
        ResultsPage,
        Revaluation,
        RunStart,
        SweepReport,
        Tick,
    )
    from portfolio_trio.targets import Targets

# More than there can be of anything, and exact in Lua.
_ALL: Final = 2**53


class PortfolioStore:
    """Session documents in Redis, each changed by one Lua script at a time.

    Times are given by the caller, RFC 3339 in UTC with Z: the store reads no clock. Every method may raise
    `StoreUnavailable`, `StoreFull`, `StoreReadOnly` or `StoreUnsupported`, and every one that names a session
    `WrongType`. Cancelling a caller cancels its wait; the script may still run.

    A call that states the ``incarnation`` of the document it means never touches another one: where the
    session has expired and was made anew since, it raises `SessionMissing`.

    One that states what is ``known`` of the document changes nothing where that has less, and raises
    `FellBack`: a replica took over that lacked the newest writes. `lift` then gives it numbers to go on with.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        ttl_seconds: int = 86_400,
        max_results: int = 1_000,
        max_results_bytes: int = 1_048_576,
        max_holdings: int = 500,
        worker: str = "",
    ) -> None:
        """Make a store over ``client``, which should have been opened with `all_scripts`.

        Args:
            client: The way to Redis.
            ttl_seconds: How long a session lives after its client last did something; 0: for ever.
            max_results: How many results a document keeps, the newest ones.
            max_results_bytes: How long their texts may be together; of two limits the narrower one holds.
            max_holdings: How many lines a portfolio may have.
            worker: The name under which this process is known to the other processes on this Redis.
        """
        self._client = client
        self._ttl = ttl_seconds
        self._max_results = max_results
        self._max_results_bytes = max_results_bytes
        self._max_holdings = max_holdings
        self.worker = worker

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

        Counts as the client's activity: the time to live starts anew. With ``attach`` the document names
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
            try:
                return await self.get_portfolio(session_id, at=at, attach=attach)
            except SessionMissing:
                pass
            raise
        incarnation = secrets.token_hex(8)
        document = new_document(
            session_id,
            holdings=holdings_text(kept),
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
        return Portfolio(session_id, kept, 1, total, valued, None, created=True, incarnation=incarnation)

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
            FellBack: It has less than is known.
        """
        checked_time(at)
        return await self._reopen(session_id, at, attach=attach, incarnation=incarnation, known=known)

    async def attach(self, session_id: str, *, known: Known = NOTHING) -> Portfolio:
        """Return the session's portfolio and attach this worker, without counting as the client's activity.

        Raises:
            SessionMissing: There is no such session.
            FellBack: It has less than is known.
        """
        return await self._reopen(session_id, "", attach=True, known=known)

    async def lift(self, session_id: str, known: Known) -> None:
        """Give a document that has fallen back numbers that nobody has seen.

        Afterwards its version is above the known one, and the next run_id will be. A run below the known one
        is not current any more. Safe to repeat; does not count as the client's activity.

        Raises:
            SessionMissing: There is no such session, or it is another document.
        """
        reply = await self._run("lift", session_id, known.text, idempotent=True)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)

    async def leave_session(self, session_id: str) -> None:
        """Note that this worker has no socket of the session any more; a missing session is fine."""
        reply = await self._run("leave_session", session_id, self.worker, idempotent=True)
        if reply[0] not in {b"ok", b"missing"}:
            raise _replies.refusal(session_id, reply)

    async def start_analysis(
        self,
        session_id: str,
        *,
        ticker: str,
        started_at: str,
        tick_id: int,
        incarnation: str = "",
        token: str = "",
        known: Known = NOTHING,
        ended: Ending | None = None,
    ) -> RunStart:
        """Make a new run the session's current one; whatever an older run still writes is refused.

        Args:
            session_id: The session.
            ticker: What it analyses.
            started_at: Now.
            tick_id: The newest tick.
            incarnation: Of the document that is meant.
            token: By which `finish_analysis` finds the run where this call's reply does not come.
            known: Of the document.
            ended: How the caller's run before ended, if the document may not know.

        Raises:
            SessionMissing: There is no such session.
            FellBack: It has less than is known.
        """
        args = (checked_ticker(ticker), checked_time(started_at), tick_id, self._ttl, self.worker)
        before = ("", "") if ended is None else (ended.run_id, ending_text(ended))
        # Sent twice it starts once, or without a token skips a number and does no other harm.
        which = (incarnation, token, known.text, *before)
        reply = await self._run("start_analysis", session_id, *args, *which, known=known, idempotent=True)
        return _replies.run_start(session_id, reply, started_at=started_at, tick_id=tick_id)

    async def record_results(
        self,
        session_id: str,
        *,
        run_id: int,
        version: int,
        results: Sequence[bytes | str],
        at: str,
        finish: bool = False,
        recorded: int | None = None,
        incarnation: str = "",
        token: str = "",
        errors: int = 0,
    ) -> tuple[str, ...]:
        """Append results of the current run and drop the oldest beyond the limit.

        Args:
            session_id: The session.
            run_id: The run that computed them.
            version: The holdings' version it worked on.
            results: JSON texts, one result each, oldest first.
            at: Now.
            finish: The run ends with these: nothing is current afterwards.
            recorded: How many results of this run the caller has stored before. With it a call whose reply
                was lost is sent again by itself and stored once; without it such a call raises
                `StoreUnavailable`, and may have been stored.
            incarnation: Of the document that is meant.
            token: Of the run's start; tells it from another one of the same number, after a document fell
                back.
            errors: With ``finish``: how many metrics of the run gave no result.

        Returns:
            The other workers that have sockets of the session.

        Raises:
            RunSuperseded: A newer run is current.
            RunNotCurrent: No run is current.
            PortfolioChanged: The holdings have another version now.
            ResultsOutOfStep: The document counts other results of this run than ``recorded``.
            FellBack: The document lacks the run, or results of it that were stored; only where the
                ``incarnation`` is stated.
            SessionMissing: There is no such session.
        """
        before = "" if recorded is None else recorded
        limits = (self._max_results, self._max_results_bytes)
        rest = (checked_time(at), self._ttl, *limits, int(finish), self.worker, incarnation, token, errors)
        args = (run_id, version, before, *rest, *results)
        known = Known(incarnation, run_id, version)
        reply = await self._run(
            "record_results", session_id, *args, known=known, idempotent=recorded is not None
        )
        if reply[0] not in {b"ok", b"repeated"}:
            raise _replies.refusal(session_id, reply)
        return _replies.workers(reply[1:])

    async def finish_analysis(
        self,
        session_id: str,
        *,
        run_id: int | None = None,
        token: str = "",
        incarnation: str = "",
        ending: Ending | None = None,
        own: bool = False,
    ) -> RunEnd:
        """Note that a run ended without its last result, if it still is the current one.

        Does not count as the client's activity. A run whose number is not known, because the reply to its
        start did not come, is found by the token of the start; with both it is the run that has both.

        Args:
            session_id: The session.
            run_id: The run.
            token: Of its start, where its number is not known.
            incarnation: Of the document that is meant.
            ending: How it ended; by default as ``disconnected``.
            own: This worker ran it, and has told how it ended: that is what the document says from now on,
                also where the run is not the current one any more.

        Raises:
            SessionMissing: There is no such session.
        """
        how = ending_text(ending or Ending(0, "cancelled", "disconnected"))
        args = ("" if run_id is None else run_id, self.worker, incarnation, token, how, int(own))
        reply = await self._run("finish_analysis", session_id, *args, idempotent=True)
        if reply[0] in {b"superseded", b"not_running"}:
            text, *others = reply[2 if reply[0] == b"superseded" else 1 :]
            return RunEnd(cleared=False, others=_replies.workers(others), ending=_replies.ending(text))
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        _, cleared, ticker, text, *others = reply
        return RunEnd(
            cleared=True,
            others=_replies.workers(others),
            run_id=int(cleared),
            ticker=ticker.decode(),
            ending=_replies.ending(text),
        )

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
            FellBack: It has less than is known.
        """
        prices = Prices(tick, price_lookup)
        kept = checked_holdings(holdings, self._max_holdings)
        text, total = holdings_text(kept), canonical_text(total_value(kept, prices.find(kept)))
        expected = "" if expected_version is None else expected_version
        times = (tick.tick_id, prices.as_of, checked_time(at))
        args = (expected, text, total, *times, self._ttl, self.worker, incarnation, known.text)
        reply = await self._edit("set_holdings", session_id, *args, known=known)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        _, version, current, targets, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=text,
            version=version,
            total=total,
            valued=prices.valued,
            current=current,
            targets=targets,
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
        """Add shares, negative to sell, to one line and value the holdings at ``tick``; a line of zero goes.

        The other lines may have no price at the tick: ``last_known`` says what they are valued at instead.

        Raises:
            OutcomeUnknown: The reply was lost, and the trade may have been made.
            VersionConflict: The holdings are not at ``expected_version``.
            MissingPrices: The traded name has no price and its line would stay, or another name that is held
                has none, not even a last known one.
            TooManyHoldings: One line more than allowed.
            ValueOverflow: The value is 1e22 or more.
            SessionMissing: There is no such session.
            FellBack: It has less than is known.
        """
        prices = Prices(tick, price_lookup, last_known)
        checked_time(at)
        offer = prices.offer(1)
        trade = (checked_ticker(ticker), canonical_text(checked_shares(shares)), self._max_holdings)
        expected = "" if expected_version is None else expected_version
        rest = (tick.tick_id, prices.as_of, at, self._ttl, self.worker, expected, incarnation, known.text)
        reply = await self._edit("trade", session_id, *trade, prices_text(offer), *rest, known=known)
        if reply[0] == b"missing_prices":
            missing = [name.decode() for name in reply[1:]]
            found = prices.value(missing, traded=ticker)
            if len(found) < len(missing):
                raise MissingPrices([name for name in missing if name not in found])
            text = prices_text({**offer, **found})
            reply = await self._edit("trade", session_id, *trade, text, *rest, known=known)
        if reply[0] == b"too_many_holdings":
            raise TooManyHoldings(self._max_holdings)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        _, holdings, version, total, current, targets, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=holdings,
            version=version,
            total=total,
            valued=prices.valued,
            current=current,
            targets=targets,
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
        """Keep where the owner wants to be, as shares of 1; the holdings and their value stay as they are.

        Raises:
            OutcomeUnknown: The reply was lost, and the change may have been made.
            VersionConflict: The portfolio is not at ``expected_version``.
            SessionMissing: There is no such session.
            FellBack: It has less than is known.
        """
        text = targets_text(targets)
        expected = "" if expected_version is None else expected_version
        args = (expected, text, checked_time(at), self._ttl, self.worker, incarnation, known.text)
        reply = await self._edit("set_targets", session_id, *args, known=known)
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        _, holdings, version, total, valued, current, *others = reply
        return _replies.portfolio(
            session_id,
            holdings=holdings,
            version=version,
            total=total,
            valued=valued,
            current=current,
            targets=text.encode(),
            others=others,
        )

    async def revalue(
        self, session_ids: Sequence[str], *, tick: Tick, price_lookup: PriceLookup | None = None
    ) -> list[Revaluation]:
        """Bring the totals of some sessions to ``tick``; one outcome each, in their order.

        An older tick changes nothing. Does not count as the clients' activity.
        """
        revaluer = Revaluer(self._client, Prices(tick, price_lookup))
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
        return await Sweep(self._client, Prices(tick, price_lookup), lost).run()

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

    async def _edit(
        self, name: str, session_id: str, *args: str | bytes | float, known: Known
    ) -> list[bytes]:
        """Run a script that must not run twice."""
        try:
            return await self._run(name, session_id, *args, known=known)
        except StoreUnavailable as failure:
            if failure.sent:
                raise OutcomeUnknown(session_id) from failure
            raise

    async def _run(
        self,
        name: str,
        session_id: str,
        *args: str | bytes | float,
        known: Known = NOTHING,
        idempotent: bool = False,
    ) -> list[bytes]:
        with translated():
            reply: list[bytes] = await self._client.run_script(
                script(name), [key_of(session_id)], args, idempotent=idempotent
            )
        if reply[0] == b"behind":
            raise FellBack(session_id, known)
        return reply
