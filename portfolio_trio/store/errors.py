"""What the store raises; nothing of redis-py leaks past these."""

# The names state the condition, as trio.Cancelled does; an "Error" suffix adds nothing.
# ruff: noqa: N818

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.store.models import Ending, Known


class StoreError(Exception):
    """The store did not do what it was asked to; the document is unchanged unless a subclass says otherwise.

    Attributes:
        retryable: The same call may work later, without anything else being done.
    """

    retryable: ClassVar[bool] = False
    for_clients: ClassVar[str | None] = "the store cannot serve this at the moment"
    """What clients are told; None means the error's text. Other texts can name hosts, logins and scripts."""

    @property
    def told(self) -> str:
        """What clients are told about it; the error's text is for the log."""
        return str(self) if self.for_clients is None else self.for_clients


class StoreUnavailable(StoreError):
    """Redis did not answer.

    Attributes:
        sent: False when Redis cannot have seen the call. True when the outcome is unknown: it may have
            been carried out.
    """

    retryable = True
    for_clients: ClassVar[str | None] = "the store cannot be reached at the moment; try again soon"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class OutcomeUnknown(StoreUnavailable):
    """The reply to a change of the holdings was lost: it may have been made; do not just repeat it."""

    retryable = False
    # The text is meant for clients and contains nothing internal.
    for_clients = None

    def __init__(self, session_id: str) -> None:
        super().__init__(
            "the reply was lost, so the change may have been made: read the portfolio before repeating it; "
            "a request that states the version it is meant for is never carried out twice",
            sent=True,
        )
        self.session_id = session_id


class StoreFull(StoreError):
    """Redis has reached its ``maxmemory`` and refuses writes: raise it, or let sessions expire sooner."""

    retryable = True
    for_clients = "the store is full; stored data can be read, and a change may work later"


class StoreReadOnly(StoreError):
    """Redis refuses writes, as a replica or because it cannot write its data: the message says what to do."""

    retryable = True
    for_clients = "the store accepts no changes at the moment; try again soon"


class StoreUnsupported(StoreError):
    """This Redis lacks what the store needs; the message says what and what to use instead."""


class SessionMissing(StoreError):
    """There is no such session, or it has expired: open it again."""

    for_clients = None

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} does not exist or has expired; open it again")
        self.session_id = session_id


class WrongType(StoreError):
    """The session's key holds something that the store never writes; it was left unchanged."""

    for_clients = None

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"the key of session {session_id!r} holds something other than a session document as servers "
            "write it; it was left untouched: inspect it, then mend, delete or rename it"
        )
        self.session_id = session_id


class RunSuperseded(StoreError):
    """A newer run is the session's current one; the older one may no longer write.

    Attributes:
        current: run_id of the newer run.
        ended: How the older one ended, if the document says so.
    """

    for_clients = None

    def __init__(self, session_id: str, current: int, ended: Ending | None = None) -> None:
        super().__init__(f"run {current} is now the current one of session {session_id!r}")
        self.session_id = session_id
        self.current = current
        self.ended = ended


class RunNotCurrent(StoreError):
    """No run is current: this one has been finished or cancelled and may no longer write.

    Attributes:
        ended: How it ended, if the document says so.
    """

    for_clients = None

    def __init__(self, session_id: str, ended: Ending | None = None) -> None:
        super().__init__(f"no analysis is running for session {session_id!r}; start one")
        self.session_id = session_id
        self.ended = ended


class PortfolioChanged(StoreError):
    """The holdings have changed since the run started; start it again on the new ones.

    Attributes:
        version: The version held now.
    """

    for_clients = None

    def __init__(self, session_id: str, version: int) -> None:
        super().__init__(f"the holdings of session {session_id!r} are now at version {version}; start again")
        self.session_id = session_id
        self.version = version


class ResultsOutOfStep(StoreError):
    """The caller's count of its run's results differs from the document's.

    Attributes:
        recorded: How many results of the run the document counts.
    """

    for_clients = None

    def __init__(self, session_id: str, recorded: int) -> None:
        super().__init__(
            f"session {session_id!r} has {recorded} stored results of this run, not the stated number"
        )
        self.session_id = session_id
        self.recorded = recorded


class FellBack(StoreError):
    """The document has lower numbers than were known: a replica that lacked the newest writes took over.

    Attributes:
        known: What was known; pass it to `PortfolioStore.lift`.
    """

    retryable = True
    for_clients = "the store has lost its newest changes; read the portfolio, then try again"

    def __init__(self, session_id: str, known: Known) -> None:
        super().__init__(
            f"the document of session {session_id!r} is behind run {known.run_id} or version {known.version}"
        )
        self.session_id = session_id
        self.known = known


class VersionConflict(StoreError):
    """The holdings are not at the version the caller expected; read them again and decide again.

    Attributes:
        version: The version held now.
    """

    for_clients = None

    def __init__(self, session_id: str, version: int) -> None:
        super().__init__(f"the holdings of session {session_id!r} are at version {version}; read them again")
        self.session_id = session_id
        self.version = version


class TooManyHoldings(StoreError):
    """The portfolio would have more lines than allowed.

    Attributes:
        limit: How many are allowed.
    """

    for_clients = None

    def __init__(self, limit: int) -> None:
        super().__init__(f"a portfolio may have at most {limit} holdings; sell one first")
        self.limit = limit


class NothingTraded(StoreError):
    """So few shares would be lost to rounding: a line has at most 15 significant digits and nine decimals.

    Attributes:
        held: The shares of the line, which stay.
    """

    for_clients = None

    def __init__(self, ticker: str, shares: float, held: float) -> None:
        super().__init__(
            f"{shares:.15g} shares of {ticker} are too few to change a holding of {held:.15g}, which has "
            "at most 15 significant digits; trade more at once"
        )
        self.held = held


class MissingPrices(StoreError):
    """Held names have no usable price (finite and positive) at this tick.

    Attributes:
        tickers: Their names.
    """

    for_clients = None

    def __init__(self, tickers: Sequence[str]) -> None:
        super().__init__(f"no price for {', '.join(tickers)} at this tick")
        self.tickers = tuple(tickers)


class ValueOverflow(StoreError):
    """Shares times prices comes to 1e22 or more: hold fewer shares."""

    for_clients = None

    def __init__(self) -> None:
        super().__init__("the portfolio's value is 1e22 or more, which is too much; hold fewer shares")


class OtherSource(StoreError):
    """Other workers on this Redis use other prices."""

    def __init__(self, own: str, other: str) -> None:
        super().__init__(
            f"the servers on this Redis take their prices from {other}, not from {own}: "
            "give all of them the same --prices, or this one its own Redis"
        )


class NotUpdater(StoreError):
    """The lease of the market's updater has expired: another worker may hold it by now."""

    retryable = True

    def __init__(self) -> None:
        super().__init__("another worker updates the market now")


class TickStale(StoreError):
    """There already is a tick as new as this one, or newer."""

    retryable = True

    def __init__(self, tick_id: int, newest: int) -> None:
        super().__init__(f"tick {tick_id} is not newer than tick {newest}")
