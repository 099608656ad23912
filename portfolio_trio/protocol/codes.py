"""The table of error codes, and the close codes."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class ErrorCode(StrEnum):
    """The codes of ``error`` and ``metric_error``."""

    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_ACTION = "unknown_action"
    TOO_MANY_HOLDINGS = "too_many_holdings"
    UNKNOWN_TICKER = "unknown_ticker"
    EMPTY_PORTFOLIO = "empty_portfolio"
    NOT_HELD = "not_held"
    BAD_PRICE = "bad_price"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    PORTFOLIO_CHANGED = "portfolio_changed"
    VERSION_CONFLICT = "version_conflict"
    SESSION_EXPIRED = "session_expired"
    SESSION_BROKEN = "session_broken"
    RATE_LIMITED = "rate_limited"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    STORE_FULL = "store_full"
    MARKET_FULL = "market_full"
    VALUE_OVERFLOW = "value_overflow"
    INTERNAL = "internal"
    NO_OTHER_HOLDINGS = "no_other_holdings"
    INSUFFICIENT_HISTORY = "insufficient_history"
    ZERO_VARIANCE = "zero_variance"
    ZERO_PORTFOLIO_VARIANCE = "zero_portfolio_variance"
    METRIC_FAILED = "metric_failed"
    NOT_LONG_ONLY = "not_long_only"
    VALUE_TOO_LOW = "value_too_low"
    NO_PLAN = "no_plan"


class ErrorMeaning(NamedTuple):
    """The meaning of a code, and whether the same request may succeed later without a change."""

    retryable: bool
    meaning: str


ERRORS: Mapping[ErrorCode, ErrorMeaning] = {
    ErrorCode.INVALID_MESSAGE: ErrorMeaning(retryable=False, meaning="The frame is not a valid request."),
    ErrorCode.UNKNOWN_ACTION: ErrorMeaning(retryable=False, meaning="The action does not exist."),
    ErrorCode.TOO_MANY_HOLDINGS: ErrorMeaning(retryable=False, meaning="Too many lines for one portfolio."),
    ErrorCode.UNKNOWN_TICKER: ErrorMeaning(retryable=False, meaning="No price source knows the ticker."),
    ErrorCode.EMPTY_PORTFOLIO: ErrorMeaning(retryable=False, meaning="The portfolio holds no shares."),
    ErrorCode.NOT_HELD: ErrorMeaning(retryable=False, meaning="The portfolio does not hold the ticker."),
    ErrorCode.BAD_PRICE: ErrorMeaning(
        retryable=True,
        meaning="A holding has no usable live price; not retryable if its history has ended: sell it.",
    ),
    ErrorCode.CANCELLED: ErrorMeaning(
        retryable=False, meaning="Another client of the session cancelled the analysis."
    ),
    ErrorCode.SUPERSEDED: ErrorMeaning(
        retryable=False, meaning="A newer analysis, or a newer what-if of the same id, replaced it."
    ),
    ErrorCode.PORTFOLIO_CHANGED: ErrorMeaning(
        retryable=True, meaning="The portfolio kept changing during the analysis."
    ),
    ErrorCode.VERSION_CONFLICT: ErrorMeaning(
        retryable=True, meaning="The portfolio no longer has the expected version."
    ),
    ErrorCode.SESSION_EXPIRED: ErrorMeaning(
        retryable=True, meaning="The session expired; a new one with the default holdings replaced it."
    ),
    ErrorCode.SESSION_BROKEN: ErrorMeaning(
        retryable=False,
        meaning="The session's document in the store holds what no server writes; it is left unchanged.",
    ),
    ErrorCode.RATE_LIMITED: ErrorMeaning(retryable=True, meaning="Too many requests on this socket."),
    ErrorCode.DRAINING: ErrorMeaning(retryable=True, meaning="The server is going away; connect again."),
    ErrorCode.UNAVAILABLE: ErrorMeaning(retryable=True, meaning="The store cannot be reached at the moment."),
    ErrorCode.OUTCOME_UNKNOWN: ErrorMeaning(
        retryable=False,
        meaning="The reply to a change was lost, so it may have been made: read the portfolio first.",
    ),
    ErrorCode.STORE_FULL: ErrorMeaning(retryable=True, meaning="The store's memory is full."),
    ErrorCode.MARKET_FULL: ErrorMeaning(
        retryable=True,
        meaning="The session, or all of its address, added as many names to the market as they may for now.",
    ),
    ErrorCode.VALUE_OVERFLOW: ErrorMeaning(
        retryable=False, meaning="The portfolio's value is too large: hold fewer shares."
    ),
    ErrorCode.INTERNAL: ErrorMeaning(retryable=True, meaning="The server failed; its log has the cause."),
    ErrorCode.NO_OTHER_HOLDINGS: ErrorMeaning(
        retryable=False, meaning="The metric compares with the rest of the portfolio, but there is none."
    ),
    ErrorCode.INSUFFICIENT_HISTORY: ErrorMeaning(retryable=False, meaning="Too few closed bars."),
    ErrorCode.ZERO_VARIANCE: ErrorMeaning(retryable=False, meaning="The returns do not vary."),
    ErrorCode.ZERO_PORTFOLIO_VARIANCE: ErrorMeaning(
        retryable=False, meaning="The portfolio's returns do not vary."
    ),
    ErrorCode.METRIC_FAILED: ErrorMeaning(
        retryable=False, meaning="The metric raised, or did not return a finite number."
    ),
    ErrorCode.NOT_LONG_ONLY: ErrorMeaning(
        retryable=False, meaning="A plan that only buys needs a portfolio without short positions."
    ),
    ErrorCode.VALUE_TOO_LOW: ErrorMeaning(
        retryable=False, meaning="The plan withdraws the whole value, or more."
    ),
    ErrorCode.NO_PLAN: ErrorMeaning(
        retryable=False,
        meaning="No sizes were found at which these positions meet their budgets: some hedge each other.",
    ),
}


class CloseCode(IntEnum):
    """Why the server closes a socket."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_UTF8 = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    OVERLOADED = 1013
