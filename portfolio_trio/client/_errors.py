"""What the client raises; nothing of trio-websocket leaks past these."""

# The names say what is the case, as trio.Cancelled does; an "Error" at the end of each adds nothing.
# ruff: noqa: N818

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from portfolio_trio.protocol.messages import AnalysisFailed, Error

ABNORMAL: Final = 1006

# Ends of a run that the user did not bring about and that asking again may mend.
_PASSING: Final = frozenset({"disconnected", "draining", "portfolio_changed"})


class ClientError(Exception):
    """Base of everything the client raises by itself.

    Attributes:
        retryable: The same request may succeed later, without anything else being done.
    """

    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, or why there was none.

    Attributes:
        detail: One line that says it.
        code: The close code, 1006 where there was none; None where no WebSocket was opened at all.
        status: What HTTP answered to the upgrade, if it was refused.
        retryable: Whether connecting again can help.
        retry_after: Seconds that the server asked to wait.
    """

    detail: str
    code: int | None = None
    status: int | None = None
    retryable: bool = True
    retry_after: float = 0.0


class Disconnected(ClientError):
    """There is no connection, or no longer.

    A retryable one is being mended already: a new request waits for the new connection. Otherwise the client
    has given up.

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
    """The first connection could not be opened; nothing has been started."""


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
        tickers: The names it is about, if it is about some.
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
    """The analysis could not be carried out, or not to its end."""


class RunCancelled(ClientError):
    """The analysis was ended before it was complete; nothing of it arrives any more.

    Attributes:
        reason: ``switched`` (this client asked for another), ``superseded`` (another client of the session
            did), ``cancelled``, ``draining`` or ``disconnected``.
    """

    def __init__(self, ticker: str, reason: str) -> None:
        super().__init__(f"the analysis of {ticker} was cancelled: {reason}")
        self.ticker = ticker
        self.reason = reason
        self.retryable = reason in _PASSING
