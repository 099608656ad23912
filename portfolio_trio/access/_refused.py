"""The one shape of every refusal."""

from __future__ import annotations

from typing import Final

from portfolio_trio.protocol.codes import CloseCode

_PASSING: Final = frozenset({429, 503})


class Refused(Exception):  # noqa: N818 - an answer on its way, not a fault of the program
    """Somebody may not come in.

    Attributes:
        status: The HTTP status that says so.
        code: The word for programs, as in the ``code`` of an ``error``.
        detail: One sentence that says what to do. It never repeats what the client sent.
        retry_after: Seconds after which it may work, or None where waiting does not help.
        headers: Further lines of the HTTP answer.
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
        """What closes a WebSocket that was accepted before: 1013 where waiting helps, else 1008."""
        return CloseCode.OVERLOADED if self.status in _PASSING else CloseCode.POLICY

    @property
    def close_reason(self) -> str:
        """The reason of that close frame, for programs and people."""
        return f"{self.code}: {self.detail}"
