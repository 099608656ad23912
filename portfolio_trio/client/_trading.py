"""A trade that is made only once, even if its answer is lost."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.canonical import canonical_shares
from portfolio_trio.client._errors import ClientError, Disconnected, RequestFailed, RequestTimedOut
from portfolio_trio.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from portfolio_trio.protocol.messages import Portfolio

# How many times others may edit the portfolio, or the answer may be lost, before giving up the trade.
TRIES: Final = 5
# Seconds after which the portfolio is read again while the server's store is down.
READ_AGAIN_AFTER: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Trading:
    """One trade, for a given version of the portfolio, so that it cannot be made twice.

    Args:
        ticker: The line.
        shares: The shares to add.
        known: The portfolio, as known to the client.
        version: The required version; None for the current one.
        send: Requests the trade for a version.
        read: Requests the portfolio.
    """

    def __init__(
        self,
        ticker: str,
        shares: float,
        *,
        known: Portfolio,
        version: int | None,
        send: Callable[[int], Awaitable[Portfolio]],
        read: Callable[[], Awaitable[Portfolio]],
    ) -> None:
        self._ticker, self._shares = ticker.upper(), shares
        self._known, self._pinned = known, version
        self._version = known.version if version is None else version
        self._send, self._read = send, read
        self._doubt: ClientError | None = None

    async def make(self) -> Portfolio:
        """Make the trade, and return the resulting portfolio.

        Raises:
            RequestFailed: It was refused, and not made; with ``outcome_unknown`` it may have been made.
            Disconnected, RequestTimedOut: As for any request; with ``sent`` it may have been made.
        """
        for _ in range(TRIES):
            try:
                return await self._send(self._version)
            except (RequestFailed, Disconnected, RequestTimedOut) as failure:
                made = await self._look(failure)
                if made is not None:
                    return made
        raise self._doubt or RequestFailed(
            ErrorCode.VERSION_CONFLICT,
            f"the portfolio changed {TRIES} times during the trade",
            retryable=True,
        )

    async def _look(self, failure: ClientError) -> Portfolio | None:
        """After a failure: the portfolio, if the trade was made; None if it must be sent again."""
        if _may_have_run(failure):
            self._doubt = failure
        elif not _is_conflict(failure) or (self._pinned is not None and self._doubt is None):
            raise failure
        try:
            now = await self._read_patiently()
        except ClientError as unread:
            raise (self._doubt or unread) from unread
        if self._doubt is None:
            self._known, self._version = now, now.version
        elif now.version != self._version:
            return self._decide(now)
        return None

    async def _read_patiently(self) -> Portfolio:
        """Get the portfolio; the server may be cut off from its store for a moment."""
        for seconds in READ_AGAIN_AFTER:
            try:
                return await self._read()
            except RequestFailed as failure:
                if failure.code != ErrorCode.UNAVAILABLE:
                    raise
                await trio.sleep(seconds)
        return await self._read()

    def _decide(self, now: Portfolio) -> Portfolio:
        """Whether this trade changed the portfolio it was meant for."""
        if now.version == self._version + 1 and self._known.version == self._version:
            held = dict(self._known.holdings)
            before = held.get(self._ticker, 0.0)
            held[self._ticker] = canonical_shares(before + self._shares, before, self._shares)
            if _same(held, now.holdings):
                return now
        raise RequestFailed(
            ErrorCode.OUTCOME_UNKNOWN,
            f"the answer to the trade of {self._ticker} was lost, and the portfolio has changed since "
            f"(version {self._version} to {now.version}): check whether it was made before repeating it",
            retryable=False,
        ) from self._doubt


def _may_have_run(failure: ClientError) -> bool:
    if isinstance(failure, RequestFailed):
        return failure.code == ErrorCode.OUTCOME_UNKNOWN
    return isinstance(failure, Disconnected | RequestTimedOut) and failure.sent and failure.retryable


def _is_conflict(failure: ClientError) -> bool:
    return isinstance(failure, RequestFailed) and failure.code == ErrorCode.VERSION_CONFLICT


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return all(
        isclose(one.get(name, 0.0), other.get(name, 0.0), rel_tol=1e-12, abs_tol=1e-9)
        for name in {*one, *other}
    )
