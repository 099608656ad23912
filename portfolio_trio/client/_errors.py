"""The client's exceptions; none of trio-websocket get through."""

# The names state the condition, as trio.Cancelled does; an "Error" suffix adds nothing.
# ruff: noqa: N818

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from portfolio_trio.protocol.messages import AnalysisFailed, Error

ABNORMAL: Final = 1006

# Ends of a run that the user did not cause and after which asking again may work.
_PASSING: Final = frozenset({"disconnected", "draining", "portfolio_changed"})


class ClientError(Exception):
    """Base class of the client's own exceptions.

    Attributes:
        retryable: The same request may succeed later, without any other action.
    """

    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, or why there was none.

    Attributes:
        detail: A one-line description.
        code: The close code, 1006 if there was none; None if no WebSocket was opened at all.
        status: The HTTP status of the answer to the upgrade, if it was refused.
        retryable: Whether reconnecting can help.
        retry_after: Seconds to wait, as requested by the server.
    """

    detail: str
    code: int | None = None
    status: int | None = None
    retryable: bool = True
    retry_after: float = 0.0


class Disconnected(ClientError):
    """There is no connection, or it was lost.

    If it is retryable, the client is already reconnecting: a new request waits for the new connection.
    Otherwise the client has given up.

    Attributes:
        ending: How the connection ended.
        sent: Whether the request may have reached the server, and may have been carried out.
    """

    def __init__(self, ending: Ending, *, sent: bool = False) -> None:
        super().__init__(ending.detail)
        self.ending = ending
        self.sent = sent
        self.retryable = ending.retryable


class ConnectFailed(Disconnected):
    """The first connection could not be opened; nothing was started."""


class RequestTimedOut(ClientError):
    """The server did not answer in time.

    Attributes:
        sent: Whether the request may have reached the server, and may have been carried out.
    """

    retryable = True

    def __init__(self, action: str, seconds: float, *, sent: bool) -> None:
        super().__init__(f"{action} was not answered within {seconds:g} s")
        self.sent = sent


class RequestFailed(ClientError):
    """The server answered with an error.

    Attributes:
        code: One of the table in ``portfolio_trio.protocol.codes``.
        detail: One line that says what is wrong.
        tickers: The names concerned, if any.
    """

    def __init__(self, code: str, detail: str, *, retryable: bool, tickers: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.tickers = tickers

    @classmethod
    def of(cls, answer: Error | AnalysisFailed) -> Self:
        """The exception for an answer."""
        tickers = getattr(answer, "tickers", None) or ()
        return cls(answer.code, answer.detail, retryable=answer.retryable, tickers=tickers)


class RunFailed(RequestFailed):
    """The analysis could not be started, or not completed."""


class RunCancelled(ClientError):
    """The analysis ended before it was complete; no more messages of it will arrive.

    Attributes:
        reason: ``switched`` (this client asked for another), ``superseded`` (another client of the session
            did), ``cancelled``, ``draining`` or ``disconnected``.
    """

    def __init__(self, ticker: str, reason: str) -> None:
        super().__init__(f"the analysis of {ticker} was cancelled: {reason}")
        self.ticker = ticker
        self.reason = reason
        self.retryable = reason in _PASSING
