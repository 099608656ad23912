"""The requests of clients, and parsing a frame into a request or the error that answers it."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self, get_args

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from portfolio_trio.escaping import echo
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.fields import (
    MAX_HOLDINGS,
    TOO_MANY_HOLDINGS,
    Budgets,
    Holdings,
    Recorded,
    RequestId,
    Ticker,
    Traded,
    Weights,
)
from portfolio_trio.protocol.messages import Error
from portfolio_trio.protocol.repeats import repeated_name
from portfolio_trio.targets import BAND

# The number of names in the largest valid request, with room for some unknown fields.
_MANY_FIELDS = 32
_MANY_NAMES = MAX_HOLDINGS + _MANY_FIELDS

# Fields whose names are tickers.
_TABLES = ("holdings", "trades", "weights", "budgets")
# Sums of currency up to here are exact to the cent.
MAX_CASH = 1e13

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
        description="include in each result the holdings and prices it was computed from",
    )
    follow: bool = Field(
        default=False,
        strict=True,
        description="run again, as a new run, after every newer tick and every change, until another "
        "`analyze`, a `cancel`, a failure or the end of the connection",
    )


class Cancel(_Request):
    """Cancel the running analysis, if there is one."""

    action: Literal["cancel"]
    of: RequestId | None = Field(
        None, description="if given, cancel only the analysis that this socket requested with this id"
    )


class GetPortfolio(_Request):
    """Get holdings, version and value."""

    action: Literal["get_portfolio"]


class SetHoldings(_Request):
    """Replace all holdings."""

    action: Literal["set_holdings"]
    holdings: Holdings
    version: Version | None = Field(
        None, description="if given, the change is refused unless the portfolio still has this version"
    )


class Trade(_Request):
    """Add to one holding; negative shares sell, 0 or too few to change it are refused; at 0 it is removed."""

    action: Literal["trade"]
    ticker: Ticker
    shares: Traded
    version: Version | None = Field(
        None,
        description="if given, the trade is refused unless the portfolio still has this version, so that one "
        "sent twice is made only once",
    )


class Authenticate(_Request):
    """Open the session with a token; the first message of a client that has sent none in its handshake."""

    action: Literal["authenticate"]
    token: Annotated[SecretStr, Field(max_length=2_048)]


class GetResults(_Request):
    """Get recorded results, newest last."""

    action: Literal["get_results"]
    ticker: Ticker | None = None
    limit: Annotated[int, Field(ge=1, le=1000, strict=True)] = 100


ReceiptWanted = Annotated[
    bool, Field(strict=True, description="include the holdings and prices it was computed from")
]


class GetRisk(_Request):
    """Get the risk of every holding and of the whole portfolio, from one snapshot."""

    action: Literal["get_risk"]
    correlations: Annotated[
        bool, Field(strict=True, description="include the correlations of all pairs, for at most 60 holdings")
    ] = False
    receipt: ReceiptWanted = False


class AskWhatIf(_Request):
    """Compute the effect of trades; nothing is recorded.

    If several requests with the same id are waiting, only the newest is answered; the others are
    `superseded`.
    """

    action: Literal["what_if"]
    trades: Annotated[Holdings, Field(description="shares to buy by ticker; negative numbers sell")]
    receipt: ReceiptWanted = False


class SetTargets(_Request):
    """Set the targets of the portfolio; those left out are removed."""

    action: Literal["set_targets"]
    weights: Weights | None = None
    budgets: Budgets | None = None
    band: Annotated[
        float,
        Field(
            strict=True,
            allow_inf_nan=False,
            ge=0,
            le=1,
            description="tolerated absolute drift of a weight",
        ),
        Recorded,
    ] = BAND
    version: Version | None = Field(
        None, description="if given, the change is refused unless the portfolio still has this version"
    )


class MakePlan(_Request):
    """Compute the trades that together reach the targets; nothing is traded."""

    action: Literal["plan"]
    to: Annotated[Literal["weights", "budgets"], Field(description="which targets to reach")]
    cash: Annotated[
        float,
        Field(
            strict=True,
            allow_inf_nan=False,
            ge=-MAX_CASH,
            le=MAX_CASH,
            description="cash to put in, or to take out if negative, in currency units",
        ),
        Recorded,
    ] = 0.0
    only_buy: Annotated[
        bool,
        Field(
            strict=True,
            description="sell nothing, spend the cash; only for plans to weights of long positions",
        ),
    ] = False
    whole_shares: Annotated[bool, Field(strict=True, description="trade whole shares only")] = False
    receipt: ReceiptWanted = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.only_buy and self.to != "weights":
            raise ValueError("only_buy needs a plan to weights")
        if self.only_buy and self.cash < 0.0:
            raise ValueError("only_buy cannot take cash out")
        return self


class GetHistory(_Request):
    """Compute how today's holdings would have performed."""

    action: Literal["get_history"]
    bars: Annotated[
        int,
        Field(
            ge=1,
            le=2_520,
            strict=True,
            description="how many of the newest days that all holdings have in common",
        ),
    ] = 252
    receipt: ReceiptWanted = False


Request = (
    Analyze
    | Cancel
    | GetPortfolio
    | SetHoldings
    | Trade
    | GetResults
    | Authenticate
    | GetRisk
    | AskWhatIf
    | SetTargets
    | MakePlan
    | GetHistory
)
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="action")])


class RequestError(Exception):
    """A frame that is not a valid request; ``answer`` is the error for the client."""

    def __init__(self, answer: Error) -> None:
        super().__init__(answer.detail)
        self.answer = answer


def parse_request(frame: str | bytes) -> Request:
    """Read one WebSocket frame.

    Raises:
        RequestError: The frame is binary, is not JSON, has no known action or lacks a field that the action
            needs.
    """
    if isinstance(frame, bytes):
        raise RequestError(_invalid("binary frames are not supported; send JSON as text"))
    _refuse_floods(frame)
    try:
        request = _REQUEST.validate_json(frame)
    except ValidationError as error:
        raise RequestError(_explain(frame, error)) from None
    names = len(request.model_fields_set) + sum(len(table) for table in _tables(request.__dict__))
    twice = repeated_name(frame, names)
    if twice is not None:
        raise RequestError(_invalid(f"{json.dumps(echo(twice))} occurs twice", request.id))
    return request


def _refuse_floods(frame: str) -> None:
    """Stop at the first error in a flood of names; the models would report every one.

    Raises:
        RequestError: The frame has more names than any request, or a name twice.
    """
    if frame.count(":") <= _MANY_NAMES:
        return
    try:
        document: object = pydantic_core.from_json(frame)
    except ValueError:
        # The next parser will report the error.
        return
    if not isinstance(document, dict):
        return
    request_id = _id_of(document)
    sizes = [len(table) for table in _tables(document)]
    if max(sizes, default=0) > MAX_HOLDINGS:
        detail = f"Too many holdings: {max(sizes)} holdings; at most {MAX_HOLDINGS} are allowed"
        raise RequestError(Error.of(ErrorCode.TOO_MANY_HOLDINGS, detail, id=request_id))
    if len(document) > _MANY_FIELDS:
        known = {name for kind in get_args(Request) for name in kind.model_fields}
        stranger = next(name for name in document if name not in known)
        raise RequestError(_invalid(f"unknown field {json.dumps(echo(stranger))}", request_id))
    twice = repeated_name(frame, len(document) + sum(sizes))
    if twice is not None:
        raise RequestError(_invalid(f"{json.dumps(echo(twice))} occurs twice", request_id))


def _tables(fields: dict[str, object]) -> list[dict[str, object]]:
    """The entries of fields that are objects by ticker."""
    return [table for name in _TABLES if isinstance(table := fields.get(name), dict)]


def _invalid(reason: str, request_id: str | int | None = None) -> Error:
    return Error.of(ErrorCode.INVALID_MESSAGE, f"Invalid message: {reason}", id=request_id)


def _explain(frame: str, error: ValidationError) -> Error:
    """Turn the first error in a frame into the answer to it."""
    found = error.errors(include_url=False, include_input=False)
    # A misspelt field is also reported as missing; its name is more helpful.
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
    """The id of a refused request, so that its error can be matched to it."""
    try:
        return _id_of(pydantic_core.from_json(frame))
    except ValueError:
        return None


def _id_of(document: object) -> str | int | None:
    try:
        return _Request.model_validate({"id": document["id"]}).id if isinstance(document, dict) else None
    except (ValueError, KeyError):
        return None
