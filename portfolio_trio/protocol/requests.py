"""What a client may send, and how a frame becomes a request or the error that answers it."""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from portfolio_trio.escaping import echo
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.fields import (
    MAX_HOLDINGS,
    TOO_MANY_HOLDINGS,
    Holdings,
    RequestId,
    Shares,
    Ticker,
)
from portfolio_trio.protocol.messages import Error
from portfolio_trio.protocol.repeats import repeated_name

# The names of the largest request that can be carried out, and of some that is not understood.
_MANY_FIELDS = 32
_MANY_NAMES = MAX_HOLDINGS + _MANY_FIELDS

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
