"""The server's messages: answers and events, as models that serialise themselves."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny
from typing_extensions import override

from portfolio_trio.escaping import echo
from portfolio_trio.protocol.codes import ERRORS, ErrorCode
from portfolio_trio.protocol.fields import RequestId  # noqa: TC001 - pydantic needs it
from portfolio_trio.targets import Targets  # noqa: TC001 - pydantic needs it

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

SUBPROTOCOL = "portfolio.v1"
# The maximum length of an error's detail.
MAX_DETAIL = 1_000


def joined(first: str, second: str) -> str:
    """Merge the texts of two JSON objects; each has at least one member, and they have no name in common."""
    return f"{first[:-1]},{second[1:]}"


class Message(BaseModel):
    """Any message of the server; fields without a value are left out."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    id: RequestId | None = None

    def to_json(self) -> str:
        """The text of the frame."""
        return self.model_dump_json(exclude_none=True)

    def echo(self, request_id: str | int | None) -> Self:
        """The same message as the answer to a request with this id."""
        return self if request_id is None else self.model_copy(update={"id": request_id})


class Receipt(BaseModel):
    """The inputs of a run's metrics; with the closed bars, everything needed to recompute them."""

    model_config = ConfigDict(frozen=True)

    holdings: dict[str, float]
    prices: dict[str, float]
    last_bar: Annotated[str | None, Field(description="date of the newest close of any holding")] = None
    cash: Annotated[
        tuple[str, ...] | None, Field(description="the holdings that are cash, which always costs 1")
    ] = None
    targets: Targets | None = None

    @cached_property
    def text(self) -> str:
        """The receipt as JSON, serialised once for all results of its run."""
        return self.model_dump_json(exclude_none=True)


class AnalysisResult(Message):
    """One metric of one run."""

    type: Literal["analysis_result"] = "analysis_result"
    ticker: str
    metric: str
    value: Annotated[float, Field(allow_inf_nan=False)]
    timestamp: str
    run_id: int
    snapshot: str
    tick_id: int
    as_of: str
    last_bar: str | None = Field(None, description="date of the newest closed bar it was computed from")
    stale: Literal[True] | None = Field(
        None,
        description="present if prices or bars are older than they should be: the source failed, and they "
        "are those of as_of, or its files are too old, or a name's price is its last close",
    )
    method: str
    detail: SerializeAsAny[BaseModel] | None = None
    receipt: Receipt | None = None

    @cached_property
    def _record(self) -> str:
        return self.model_dump_json(exclude_none=True, exclude={"type", "id", "receipt"})

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; its text is made again unless only the envelope differs."""
        copied = super().model_copy(update=update, deep=deep)
        if set(update or ()) - {"id"}:
            copied.__dict__.pop("_record", None)
        return copied

    def to_record(self, *, receipt: bool = True) -> str:
        """The text that the session document keeps: the message without its envelope.

        Args:
            receipt: Include its receipt, if it has one; the document keeps it with the first result of a run.
        """
        if self.receipt is None or not receipt:
            return self._record
        return joined(self._record, f'{{"receipt":{self.receipt.text}}}')

    @override
    def to_json(self) -> str:
        """The text of the frame: the envelope around the record, which is serialised once."""
        envelope = {"type": self.type} if self.id is None else {"id": self.id, "type": self.type}
        return joined(pydantic_core.to_json(envelope).decode(), self.to_record())


class Error(Message):
    """A request that failed, or something the client should know."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    retryable: bool
    ticker: str | None = None
    metric: str | None = None
    tickers: tuple[str, ...] | None = None
    run_id: int | None = None

    @classmethod
    def of(cls, code: ErrorCode, detail: str, *, id: str | int | None = None, **more: Any) -> Error:  # noqa: A002, ANN401
        """An error whose ``retryable`` comes from the table of codes."""
        return cls(
            code=code, detail=echo(detail, MAX_DETAIL), retryable=ERRORS[code].retryable, id=id, **more
        )


class MetricFailure(Message):
    """One metric of one run that could not be computed; sent instead of the metric's result."""

    type: Literal["metric_error"] = "metric_error"
    ticker: str
    metric: str
    code: str
    detail: str
    tickers: tuple[str, ...] | None = None
    run_id: int

    def as_error(self) -> Error:
        """The same for clients without ``metric_error``."""
        # A metric of a plug-in may have other codes.
        retryable = self.code in ERRORS and ERRORS[ErrorCode(self.code)].retryable
        return Error(**self.model_dump(exclude={"type"}), retryable=retryable)


Unpriced = Annotated[
    dict[str, str | None],
    Field(
        description="held names that have no price now, with the date of their last close, null if they "
        "have none; they are valued at their last known price"
    ),
]


StalePrices = Annotated[
    dict[str, str],
    Field(
        description="held names that count at their last close, with its date, because they are missing in "
        "the live prices"
    ),
]


Outside = Annotated[
    dict[str, float],
    Field(
        description="drift (share of gross value less target weight) of each name outside the band; empty "
        "without target weights"
    ),
]


class Valued(BaseModel):
    """The tick a portfolio was valued at; after an edit it may be older than that of an earlier update.

    `version` says which portfolio is newer; the tick of `portfolio_update` never decreases.
    """

    model_config = ConfigDict(frozen=True)

    tick_id: int
    as_of: str


class Running(BaseModel):
    """The analysis that is running."""

    model_config = ConfigDict(frozen=True)

    ticker: str
    started_at: str
    run_id: int
    version: int
    tick_id: int


class Portfolio(Message):
    """The state of a session."""

    type: Literal["portfolio"] = "portfolio"
    session_id: str
    incarnation: str | None = Field(
        None,
        description="identifies the document of the session: with another one, the session expired or was "
        "lost and was created again, and its versions and run ids began anew; documents of earlier releases "
        "have none",
    )
    holdings: dict[str, float]
    version: int
    total_value: float
    valued: Valued
    values: dict[str, float] | None = Field(
        None,
        description="value of each holding at the tick of `valued`, as in `portfolio_update`; left out if "
        "the server only knows the prices of another tick",
    )
    last_bar: str | None = Field(None, description="date of the newest close of any holding")
    stale: bool = Field(default=False, description="the value is not current")
    unpriced: Unpriced = Field(default_factory=dict)
    stale_prices: StalePrices = Field(default_factory=dict)
    targets: Annotated[
        Targets | None, Field(description="the owner's targets; null if none were ever set")
    ] = None
    outside: Outside = Field(default_factory=dict)
    current_analysis: Running | None = None

    @property
    def running(self) -> int | None:
        """The run in progress; one on older holdings is over, even if it is still listed."""
        current = self.current_analysis
        return None if current is None or current.version < self.version else current.run_id

    @override
    def to_json(self) -> str:
        """The text of the frame; ``current_analysis`` is null rather than left out if nothing runs."""
        absent = {name for name in ("id", "incarnation", "values") if getattr(self, name) is None}
        return self.model_dump_json(exclude=absent or None)


class Results(Message):
    """Recorded results, newest last, exactly as they were sent."""

    type: Literal["results"] = "results"
    ticker: str | None = None
    results: tuple[dict[str, Any], ...]
    more: Literal[True] | None = Field(
        None,
        description="present if older ones were left out: beyond the limit, or because an answer has at "
        "most a quarter of the bytes that may wait for one socket (262,144 by default)",
    )


class AnalysisStarted(Message):
    """A run has its snapshot and is computing."""

    type: Literal["analysis_started"] = "analysis_started"
    ticker: str
    run_id: int
    metrics: tuple[str, ...]
    snapshot: str
    version: int
    tick_id: int
    as_of: str


class AnalysisCompleted(Message):
    """A run has sent a result or an error for each of its metrics."""

    type: Literal["analysis_completed"] = "analysis_completed"
    ticker: str
    run_id: int
    results: int
    errors: int
    following: Literal[True] | None = Field(
        None, description="present if another run follows after the next tick or change"
    )


class AnalysisCancelled(Message):
    """A run ended before it was complete, or there was none to cancel (then there is no ticker)."""

    type: Literal["analysis_cancelled"] = "analysis_cancelled"
    ticker: str | None = None
    run_id: int | None = None
    reason: str
    cancelled_in_us: (
        Annotated[int, Field(description="microseconds from the request to the end of the run")] | None
    ) = None


class AnalysisFailed(Message):
    """A run ended with an error."""

    type: Literal["analysis_failed"] = "analysis_failed"
    ticker: str
    run_id: int | None = None
    code: str
    detail: str
    retryable: bool


class PortfolioUpdate(Message):
    """The portfolio at a new tick; only the latest counts: a slow client skips to the newest."""

    type: Literal["portfolio_update"] = "portfolio_update"
    total_value: float
    values: dict[str, float]
    tick_id: int
    as_of: str
    last_bar: str | None = Field(None, description="date of the newest close of any holding")
    stale: bool = Field(
        description="the value is not current: a name has no price or that of its last "
        "close, or prices or bars are older than they should be"
    )
    unpriced: Unpriced = Field(default_factory=dict)
    stale_prices: StalePrices = Field(default_factory=dict)
    outside: Outside = Field(default_factory=dict)

    @override
    def to_json(self) -> str:
        """The text of the frame; the date of a name without any close is null."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)
