"""What the server sends: answers and events, as models that serialise themselves."""

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
# Whatever an error is about, its detail is no longer than this.
MAX_DETAIL = 1_000


def joined(first: str, second: str) -> str:
    """One JSON object with the members of two: texts of objects with a member each and no name in common."""
    return f"{first[:-1]},{second[1:]}"


class Message(BaseModel):
    """Anything the server sends; fields without a value are left out."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    id: RequestId | None = None

    def to_json(self) -> str:
        """The text of the frame."""
        return self.model_dump_json(exclude_none=True)

    def echo(self, request_id: str | int | None) -> Self:
        """The same message as the answer to a request with this id."""
        return self if request_id is None else self.model_copy(update={"id": request_id})


class Receipt(BaseModel):
    """What the metrics of a run saw; with the closed bars it is all that recomputing them takes."""

    model_config = ConfigDict(frozen=True)

    holdings: dict[str, float]
    prices: dict[str, float]
    last_bar: Annotated[str | None, Field(description="date of the newest close of what is held")] = None
    cash: Annotated[
        tuple[str, ...] | None, Field(description="those of the holdings that cost 1 for ever")
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
        description="present where prices or bars are older than they should be: the source failed, and they "
        "are those of as_of, or nobody has written them for too long, or a name's price is its last close",
    )
    method: str
    detail: SerializeAsAny[BaseModel] | None = None
    receipt: Receipt | None = None

    @cached_property
    def _record(self) -> str:
        return self.model_dump_json(exclude_none=True, exclude={"type", "id", "receipt"})

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; with its own text, unless nothing but the envelope differs."""
        copied = super().model_copy(update=update, deep=deep)
        if set(update or ()) - {"id"}:
            copied.__dict__.pop("_record", None)
        return copied

    def to_record(self, *, receipt: bool = True) -> str:
        """The text that the session document keeps: the message without its envelope.

        Args:
            receipt: With its receipt, if it has one; the document keeps it with the first result of a run.
        """
        if self.receipt is None or not receipt:
            return self._record
        return joined(self._record, f'{{"receipt":{self.receipt.text}}}')

    @override
    def to_json(self) -> str:
        """The text of the frame: the envelope round the record, which is serialised once."""
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
    """One metric of one run that could not be computed; it takes the place of the metric's result."""

    type: Literal["metric_error"] = "metric_error"
    ticker: str
    metric: str
    code: str
    detail: str
    tickers: tuple[str, ...] | None = None
    run_id: int

    def as_error(self) -> Error:
        """The same for clients that know no ``metric_error``."""
        # A metric of a plug-in may have codes of its own.
        retryable = self.code in ERRORS and ERRORS[ErrorCode(self.code)].retryable
        return Error(**self.model_dump(exclude={"type"}), retryable=retryable)


Unpriced = Annotated[
    dict[str, str | None],
    Field(
        description="names held that have no price now, with the date of their last close, null where they "
        "have none; they are valued at their last known price"
    ),
]


StalePrices = Annotated[
    dict[str, str],
    Field(
        description="names held whose price is their last close, with its date, as the live prices leave "
        "them out"
    ),
]


Outside = Annotated[
    dict[str, float],
    Field(
        description="drift, share of gross value less target weight, of each name beyond the band; empty "
        "without target weights"
    ),
]


class Valued(BaseModel):
    """Which tick a portfolio was valued at; after an edit it may be older than that of an update seen before.

    `version` says which portfolio is newer; the tick of `portfolio_update` never falls.
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
    holdings: dict[str, float]
    version: int
    total_value: float
    valued: Valued
    values: dict[str, float] | None = Field(
        None,
        description="value of each holding at the tick of `valued`, as in `portfolio_update`; left out where "
        "the server knows the prices of another tick only",
    )
    last_bar: str | None = Field(None, description="date of the newest close of what is held")
    stale: bool = Field(default=False, description="the value is not what the market says now")
    unpriced: Unpriced = Field(default_factory=dict)
    stale_prices: StalePrices = Field(default_factory=dict)
    targets: Annotated[
        Targets | None, Field(description="where the owner wants to be; null where that was never said")
    ] = None
    outside: Outside = Field(default_factory=dict)
    current_analysis: Running | None = None

    @property
    def running(self) -> int | None:
        """The run that goes on; one on older holdings is over, though it may still stand there."""
        current = self.current_analysis
        return None if current is None or current.version < self.version else current.run_id

    @override
    def to_json(self) -> str:
        """The text of the frame; that nothing runs is said, not left out."""
        absent = {name for name in ("id", "values") if getattr(self, name) is None}
        return self.model_dump_json(exclude=absent or None)


class Results(Message):
    """Recorded results, newest last, exactly as they were sent."""

    type: Literal["results"] = "results"
    ticker: str | None = None
    results: tuple[dict[str, Any], ...]
    more: Literal[True] | None = Field(
        None,
        description="present where older ones were left out: beyond the limit, or because an answer takes no "
        "more than a quarter of what may wait for one socket (262,144 bytes by default)",
    )


class AnalysisStarted(Message):
    """A run has its snapshot and computes."""

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
        None, description="present where another run follows after the next tick or change"
    )


class AnalysisCancelled(Message):
    """A run ended before it was complete, or there was none to cancel (then without ticker)."""

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
    """The portfolio at a new tick; a latest value: a slow client skips to the newest."""

    type: Literal["portfolio_update"] = "portfolio_update"
    total_value: float
    values: dict[str, float]
    tick_id: int
    as_of: str
    last_bar: str | None = Field(None, description="date of the newest close of what is held")
    stale: bool = Field(
        description="the value is not what the market says now: a name has no price or that of its last "
        "close, or prices or bars are older than they should be"
    )
    unpriced: Unpriced = Field(default_factory=dict)
    stale_prices: StalePrices = Field(default_factory=dict)
    outside: Outside = Field(default_factory=dict)

    @override
    def to_json(self) -> str:
        """The text of the frame; a name without any close stands there as null."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)
