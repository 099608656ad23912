"""The errors of an analysis: of the whole request, or of one metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

AnalysisErrorCode: TypeAlias = Literal["empty_portfolio", "not_held", "bad_price"]


class AnalysisError(Exception):
    """No metric at all can be computed for this request.

    Attributes:
        code: ``empty_portfolio`` (no line with shares), ``not_held`` (the ticker has no shares) or
            ``bad_price`` (a held name has no usable live price). They are checked in this order.
        reason: One sentence for the user.
        tickers: The names concerned, sorted; all of them, not only the first.
    """

    code: AnalysisErrorCode
    reason: str
    tickers: tuple[str, ...]

    def __init__(self, code: AnalysisErrorCode, reason: str, tickers: Iterable[str] = ()) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.tickers = tuple(tickers)


class MetricError(Exception):
    """One metric cannot be computed; the others of the run still can.

    Attributes:
        code: ``insufficient_history``, ``no_other_holdings``, ``zero_variance`` or
            ``zero_portfolio_variance`` from the built-in metrics; ``metric_failed`` for one that raises or
            does not return a finite number; any other code a plug-in chooses.
        reason: One sentence for the user.
        tickers: The names that cause it, sorted; empty if no single name does.
        metric: The metric, filled in by `compute`.
    """

    code: str
    reason: str
    tickers: tuple[str, ...]
    metric: str | None

    def __init__(
        self, code: str, reason: str, tickers: Iterable[str] = (), *, metric: str | None = None
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.tickers = tuple(tickers)
        self.metric = metric
