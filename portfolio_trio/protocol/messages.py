"""What goes over the wire: requests, answers and events, as models that parse and serialise themselves."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, SecretStr, SerializeAsAny, TypeAdapter, ValidationError
from typing_extensions import override

from portfolio_trio.escaping import echo
from portfolio_trio.protocol.codes import ERRORS, ErrorCode
from portfolio_trio.protocol.fields import (
    MAX_HOLDINGS,
    TOO_MANY_HOLDINGS,
    Holdings,
    RequestId,
    Shares,
    Ticker,
)
from portfolio_trio.protocol.repeats import repeated_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

SUBPROTOCOL = "portfolio.v1"
# Whatever an error is about, its detail is no longer than this.
MAX_DETAIL = 1_000
# The names of the largest request that can be carried out, and of some that is not understood.
_MANY_FIELDS = 32
_MANY_NAMES = MAX_HOLDINGS + _MANY_FIELDS


# --- what a client sends -------------------------------------------------------------------------------


Version = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    id: RequestId | None = None


class Analyze(_Request):
    """Start the analysis of one ticker; a running one is cancelled first."""

    action: Literal["analyze"]
    ticker: Ticker
    receipt: bool = Field(
        default=False,
        strict=True,
        description="let each result carry the holdings and prices it was computed from",
    )


class Cancel(_Request):
    """Cancel the running analysis, if there is one."""

    action: Literal["cancel"]
    of: RequestId | None = Field(
        None, description="if given: only the analysis that this socket asked for with this id"
    )


class GetPortfolio(_Request):
    """Ask for holdings, version and value."""

    action: Literal["get_portfolio"]


class SetHoldings(_Request):
    """Replace the holdings as a whole."""

    action: Literal["set_holdings"]
    holdings: Holdings
    version: Version | None = Field(
        None, description="if given: refuse the change unless the portfolio still has this version"
    )


class Trade(_Request):
    """Add to one holding; negative shares sell. A holding that comes to zero is removed."""

    action: Literal["trade"]
    ticker: Ticker
    shares: Shares
    version: Version | None = Field(
        None,
        description="if given: refuse the trade unless the portfolio still has this version, so that a trade "
        "sent twice is made once",
    )


class Authenticate(_Request):
    """Open the session with a token; the first message of a client that has sent none in its handshake."""

    action: Literal["authenticate"]
    token: Annotated[SecretStr, Field(max_length=2_048)]


class GetResults(_Request):
    """Ask for recorded results, newest last."""

    action: Literal["get_results"]
    ticker: Ticker | None = None
    limit: Annotated[int, Field(ge=1, le=1000, strict=True)] = 100


Request = Analyze | Cancel | GetPortfolio | SetHoldings | Trade | GetResults | Authenticate
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="action")])


class RequestError(Exception):
    """A frame that is no valid request; ``answer`` is what the client is told."""

    def __init__(self, answer: Error) -> None:
        super().__init__(answer.detail)
        self.answer = answer


def parse_request(frame: str | bytes) -> Request:
    """Read one WebSocket frame.

    Raises:
        RequestError: The frame is binary, no JSON, no known action or lacks what the action needs.
    """
    if isinstance(frame, bytes):
        raise RequestError(_invalid("binary frames are not understood; send JSON as text"))
    _refuse_floods(frame)
    try:
        request = _REQUEST.validate_json(frame)
    except ValidationError as error:
        raise RequestError(_explain(frame, error)) from None
    names = len(request.model_fields_set)
    if isinstance(request, SetHoldings):
        names += len(request.holdings)
    twice = repeated_name(frame, names)
    if twice is not None:
        raise RequestError(_invalid(f"{json.dumps(echo(twice))} stands twice", request.id))
    return request


def _refuse_floods(frame: str) -> None:
    """Stop at the first thing that is wrong with a flood of names, of which the models would name each.

    Raises:
        RequestError: The frame has more names than any request, or one of them twice.
    """
    if frame.count(":") <= _MANY_NAMES:
        return
    try:
        document: object = pydantic_core.from_json(frame)
    except ValueError:
        # What is wrong is said by whoever reads it next.
        return
    if not isinstance(document, dict):
        return
    request_id = _id_of(document)
    holdings = document.get("holdings")
    held = len(holdings) if isinstance(holdings, dict) else 0
    if held > MAX_HOLDINGS:
        detail = f"Too many holdings: {held} holdings; at most {MAX_HOLDINGS} are allowed"
        raise RequestError(Error.of(ErrorCode.TOO_MANY_HOLDINGS, detail, id=request_id))
    if len(document) > _MANY_FIELDS:
        known = {name for kind in get_args(Request) for name in kind.model_fields}
        stranger = next(name for name in document if name not in known)
        raise RequestError(_invalid(f"unknown field {json.dumps(echo(stranger))}", request_id))
    twice = repeated_name(frame, len(document) + held)
    if twice is not None:
        raise RequestError(_invalid(f"{json.dumps(echo(twice))} stands twice", request_id))


def _invalid(reason: str, request_id: str | int | None = None) -> Error:
    return Error.of(ErrorCode.INVALID_MESSAGE, f"Invalid message: {reason}", id=request_id)


def _explain(frame: str, error: ValidationError) -> Error:
    """Turn the first thing that is wrong with a frame into the answer to it."""
    found = error.errors(include_url=False, include_input=False)
    # A misspelt field is also one that is missing; its name says more.
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    if first["type"] == "json_invalid":
        return _invalid(f"not JSON: {first['ctx']['error']}")
    request_id = read_id(frame)
    if first["type"] == "union_tag_invalid":
        return Error.of(
            ErrorCode.UNKNOWN_ACTION, f"Unknown action: {echo(first['ctx']['tag'])}", id=request_id
        )
    if first["type"] == "union_tag_not_found":
        return _invalid('field "action" is missing', request_id)
    if first["type"] == TOO_MANY_HOLDINGS:
        return Error.of(ErrorCode.TOO_MANY_HOLDINGS, f"Too many holdings: {first['msg']}", id=request_id)
    if first["type"] == "extra_forbidden":
        return _invalid(f"unknown field {json.dumps(echo(str(first['loc'][-1])))}", request_id)
    place = ".".join(str(part) for part in first["loc"][1:])
    return _invalid(f"{echo(place)}: {first['msg']}" if place else first["msg"], request_id)


def read_id(frame: str | bytes) -> str | int | None:
    """The id of a request that is not carried out, so that its error can be told from others."""
    try:
        return _id_of(pydantic_core.from_json(frame))
    except ValueError:
        return None


def _id_of(document: object) -> str | int | None:
    try:
        return _Request.model_validate({"id": document["id"]}).id if isinstance(document, dict) else None
    except (ValueError, KeyError):
        return None


# --- what the server sends -----------------------------------------------------------------------------


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
        "are those of as_of, or nobody has written them for too long",
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
        return f'{self._record[:-1]},"receipt":{self.receipt.text}}}'

    @override
    def to_json(self) -> str:
        """The text of the frame: the envelope round the record, which is serialised once."""
        request_id = "" if self.id is None else f'"id":{json.dumps(self.id)},'
        return f'{{{request_id}"type":"{self.type}",{self.to_record()[1:]}'


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
    last_bar: str | None = Field(None, description="date of the newest close of what is held")
    stale: bool = Field(default=False, description="the value is not what the market says now")
    unpriced: Unpriced = Field(default_factory=dict)
    current_analysis: Running | None = None

    @property
    def running(self) -> int | None:
        """The run that goes on; one on older holdings is over, though it may still stand there."""
        current = self.current_analysis
        return None if current is None or current.version < self.version else current.run_id

    @override
    def to_json(self) -> str:
        """The text of the frame; that nothing runs is said, not left out."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)


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
        description="the value is not what the market says now: a name has no price, or prices or bars are "
        "older than they should be"
    )
    unpriced: Unpriced = Field(default_factory=dict)

    @override
    def to_json(self) -> str:
        """The text of the frame; a name without any close stands there as null."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)
