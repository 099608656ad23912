"""The common form of every refusal."""

from __future__ import annotations

from typing import Final

from portfolio_trio.protocol.codes import CloseCode

_PASSING: Final = frozenset({429, 503})


class Refused(Exception):  # noqa: N818 - an answer on its way, not a fault of the program
    """A client may not connect.

    Attributes:
        status: The HTTP status of the answer.
        code: For programs, as in the ``code`` of an ``error``.
        detail: One sentence that says what to do. It never repeats what the client sent.
        retry_after: Seconds after which it may work, or None if waiting does not help.
        headers: More headers of the HTTP answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.headers = headers

    @property
    def close_code(self) -> CloseCode:
        """The close code for a WebSocket that was already accepted: 1013 if waiting helps, else 1008."""
        return CloseCode.OVERLOADED if self.status in _PASSING else CloseCode.POLICY

    @property
    def close_reason(self) -> str:
        """The reason in that close frame, for programs and people."""
        return f"{self.code}: {self.detail}"
