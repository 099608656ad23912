"""Errors for clients about names that have no price: whether waiting helps, and what to do if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portfolio_trio.metrics import AnalysisError
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import Error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.market import PriceBook

_NAMED: Final = 10


class UnpricedError(AnalysisError):
    """Held names have no price; the same request may work later unless one of them has ended.

    Attributes:
        retryable: All of them still have closes: the next tick may have their prices.
    """

    def __init__(self, error: Error) -> None:
        super().__init__("bad_price", error.detail, error.tickers or ())
        self.retryable = error.retryable


def refusal(
    book: PriceBook, tickers: Sequence[str], request_id: str | int | None = None, *, held: bool = False
) -> Error:
    """The ``error`` for a request that needs prices of names without one.

    Args:
        book: The prices.
        tickers: The names.
        request_id: What the error echoes.
        held: The names are held, and were not in the request.
    """
    strangers = [ticker for ticker in tickers if ticker not in book.bars.column]
    if strangers and not held:
        detail = f"no price source knows {_listed(strangers)}"
        return Error.of(ErrorCode.UNKNOWN_TICKER, detail, id=request_id, tickers=tuple(strangers))
    ended = [ticker for ticker in tickers if book.last_closes.has_ended(ticker)]
    if ended:
        detail = "; ".join(f"sell or remove {ticker}: {_history(book, ticker)}" for ticker in ended[:_NAMED])
    else:
        detail = f"no price for {_listed(tickers)} at this tick; ask again after the next one"
    error = Error.of(ErrorCode.BAD_PRICE, detail, id=request_id, tickers=tuple(tickers))
    return error.model_copy(update={"retryable": not ended})


def _history(book: PriceBook, ticker: str) -> str:
    day = book.last_closes.date_of(ticker)
    if day is not None:
        return f"its last close is of {day}"
    return "it has no close" if ticker in book.bars.column else "no price source knows it"


def explained(book: PriceBook, failure: AnalysisError) -> AnalysisError:
    """The failure of an analysis; if a held name has no price, an error that says what to do."""
    priced = book.prices_for(failure.tickers)
    unpriced = [ticker for ticker in failure.tickers if ticker not in priced]
    if failure.code != "bad_price" or not unpriced:
        return failure
    return UnpricedError(refusal(book, unpriced, held=True))


def _listed(tickers: Sequence[str]) -> str:
    return ", ".join(tickers[:_NAMED])
