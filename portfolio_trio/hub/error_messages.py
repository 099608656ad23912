"""From the typed errors of the layers below to error messages for clients."""

from __future__ import annotations

from portfolio_trio.hub.unpriced import UnpricedError
from portfolio_trio.market import MarketFullError
from portfolio_trio.metrics import AnalysisError
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import Error
from portfolio_trio.store import (
    MissingPrices,
    NothingTraded,
    OutcomeUnknown,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    StoreError,
    StoreFull,
    TooManyHoldings,
    ValueOverflow,
    VersionConflict,
    WrongType,
)


class NoNewSession(StoreError):  # noqa: N818 - named as the store's other errors are
    """There is no such session, and this client may not create one now."""

    retryable = True


_STORE_CODES: tuple[tuple[type[StoreError], ErrorCode], ...] = (
    (MissingPrices, ErrorCode.BAD_PRICE),
    (NoNewSession, ErrorCode.RATE_LIMITED),
    (NothingTraded, ErrorCode.INVALID_MESSAGE),
    (OutcomeUnknown, ErrorCode.OUTCOME_UNKNOWN),
    (PortfolioChanged, ErrorCode.PORTFOLIO_CHANGED),
    (RunNotCurrent, ErrorCode.SUPERSEDED),
    (RunSuperseded, ErrorCode.SUPERSEDED),
    (SessionMissing, ErrorCode.SESSION_EXPIRED),
    (StoreFull, ErrorCode.STORE_FULL),
    (TooManyHoldings, ErrorCode.TOO_MANY_HOLDINGS),
    (ResultsOutOfStep, ErrorCode.INTERNAL),
    (ValueOverflow, ErrorCode.VALUE_OVERFLOW),
    (VersionConflict, ErrorCode.VERSION_CONFLICT),
    (WrongType, ErrorCode.SESSION_BROKEN),
)


def explain(
    failure: AnalysisError | MarketFullError | StoreError,
    *,
    request_id: str | int | None = None,
    ticker: str | None = None,
    run_id: int | None = None,
) -> Error:
    """The ``error`` message for a failed request.

    A store error that is not in the table means that the store cannot be reached: it may work later.
    """
    if isinstance(failure, AnalysisError):
        code, detail, tickers = ErrorCode(failure.code), failure.reason, failure.tickers
    elif isinstance(failure, MarketFullError):
        code, detail, tickers = ErrorCode.MARKET_FULL, str(failure), ()
    else:
        code = next((code for kind, code in _STORE_CODES if isinstance(failure, kind)), ErrorCode.UNAVAILABLE)
        detail = failure.told
        tickers = failure.tickers if isinstance(failure, MissingPrices) else ()
    error = Error.of(
        code, detail, id=request_id, ticker=ticker, tickers=tuple(tickers) or None, run_id=run_id
    )
    if isinstance(failure, UnpricedError):
        return error.model_copy(update={"retryable": failure.retryable})
    return error
