"""The protocol as an AsyncAPI 3.0 document, made of the models that parse and write it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from portfolio_trio import __version__
from portfolio_trio.protocol.closes import CLOSES
from portfolio_trio.protocol.codes import ERRORS
from portfolio_trio.protocol.examples import MESSAGES, REQUESTS
from portfolio_trio.protocol.messages import (
    SUBPROTOCOL,
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    Analyze,
    Authenticate,
    Cancel,
    Error,
    GetPortfolio,
    GetResults,
    Message,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
    Results,
    SetHoldings,
    Trade,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from portfolio_trio.protocol.messages import Request

# JSON, which has no shape of its own.
Json = dict[str, Any]

# What answers a request, besides an error.
ANSWERS: Final[Mapping[type[Request], tuple[type[Message], ...]]] = {
    Analyze: (
        AnalysisStarted,
        AnalysisResult,
        MetricFailure,
        AnalysisCompleted,
        AnalysisCancelled,
        AnalysisFailed,
    ),
    Cancel: (AnalysisCancelled,),
    GetPortfolio: (Portfolio,),
    SetHoldings: (Portfolio,),
    Trade: (Portfolio,),
    GetResults: (Results,),
    Authenticate: (Portfolio,),
}

# What comes without being asked for by this socket.
EVENTS: Final[tuple[type[Message], ...]] = (
    Portfolio,
    PortfolioUpdate,
    AnalysisStarted,
    AnalysisResult,
    MetricFailure,
    AnalysisCompleted,
    AnalysisCancelled,
    AnalysisFailed,
    Error,
)

_SCHEMAS: Final = "#/components/schemas"
_CHANNEL: Final = "#/channels/session"

_DESCRIPTION: Final = f"""\
JSON text frames, one message each. A client that offers the subprotocol `{SUBPROTOCOL}` first gets the state
of the session (`portfolio`), then every event of it, whichever socket caused it. A client that offers none
gets only answers to what it sends, with `metric_error` and what ends an analysis early as `error`. Any
request may carry an `id`; its answers echo it. Asking for an analysis cancels the one that runs: the newest
wins. Fields without a value are left out."""


def document(
    *,
    host: str = "127.0.0.1:8000",
    secure: bool = False,
    details: Mapping[str, type[BaseModel] | None] | None = None,
) -> Json:
    """The AsyncAPI 3.0 document of ``/ws/{session_id}``, seen from the server: it receives and sends.

    Args:
        host: Where the server is, with its port.
        secure: Whether it speaks TLS.
        details: The model of each metric's ``detail``, by metric, to describe them too.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "portfolio-trio",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"server": {"host": host, "protocol": "wss" if secure else "ws"}},
        "channels": {"session": _channel()},
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas(details or {})},
        "x-subprotocol": SUBPROTOCOL,
        "x-error-codes": [{"code": code.value, **meaning._asdict()} for code, meaning in ERRORS.items()],
        "x-close-codes": [{"code": code.value, **meaning._asdict()} for code, meaning in CLOSES.items()],
    }


def name_of(message: Request | Message | type[Request | Message]) -> str:
    """What a message is called on the wire: its ``action`` or ``type``."""
    kind = message if isinstance(message, type) else type(message)
    fields = kind.model_fields
    (name,) = fields["action" if "action" in fields else "type"].annotation.__args__  # type: ignore[union-attr]
    return str(name)


def _channel() -> Json:
    names = [name_of(message) for message in (*REQUESTS, *MESSAGES)]
    token = {"type": "string", "description": "where the server asks for tokens"}
    return {
        "address": "/ws/{session_id}",
        "title": "One session",
        "parameters": {
            "session_id": {
                "description": "1 to 128 letters, digits, dots, dashes, underscores or tildes",
                "examples": ["my-session"],
            }
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {"token": token}},
                "headers": {
                    "type": "object",
                    "properties": {
                        "Authorization": {**token, "examples": ["Bearer <token>"]},
                        "Sec-WebSocket-Protocol": {"type": "string", "const": SUBPROTOCOL},
                    },
                },
                "bindingVersion": "0.1.0",
            }
        },
    }


def _operations() -> Json:
    operations = {
        name_of(request): {
            "action": "receive",
            "channel": {"$ref": _CHANNEL},
            "summary": _summary(request),
            "messages": _in_channel([request]),
            "reply": {"channel": {"$ref": _CHANNEL}, "messages": _in_channel([*answers, Error])},
        }
        for request, answers in ANSWERS.items()
    }
    events = {
        "action": "send",
        "channel": {"$ref": _CHANNEL},
        "summary": "What happens in the session: the state first, then events, whichever socket caused them.",
        "messages": _in_channel(EVENTS),
    }
    return {**operations, "events": events}


def _in_channel(kinds: Iterable[type[Request | Message]]) -> list[Json]:
    return [{"$ref": f"{_CHANNEL}/messages/{name_of(kind)}"} for kind in kinds]


def _messages() -> Json:
    return {
        name_of(example): {
            "name": name_of(example),
            "summary": _summary(type(example)),
            "correlationId": {
                "location": "$message.payload#/id",
                "description": "an answer echoes the id of its request",
            },
            "payload": {"$ref": f"{_SCHEMAS}/{type(example).__name__}"},
            "examples": [{"payload": frame_of(example)}],
        }
        for example in (*REQUESTS, *MESSAGES)
    }


def frame_of(message: Request | Message) -> Json:
    """What is on the wire, as JSON."""
    text = message.to_json() if isinstance(message, Message) else message.model_dump_json(exclude_none=True)
    frame: Json = json.loads(text)
    return frame


def _summary(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


# --- schemas -------------------------------------------------------------------------------------------


def _schemas(details: Mapping[str, type[BaseModel] | None]) -> Json:
    """Schemas of what may be sent to the server, and of what it sends."""
    known = {metric: kind for metric, kind in details.items() if kind is not None}
    template = f"{_SCHEMAS}/{{model}}"
    _, read = models_json_schema([(type(each), "validation") for each in REQUESTS], ref_template=template)
    kinds = [*map(type, MESSAGES), *known.values()]
    _, written = models_json_schema([(kind, "serialization") for kind in kinds], ref_template=template)
    sent = {name: _without_nulls(schema) for name, schema in written["$defs"].items()}
    # The base of every detail says nothing about any of them.
    sent.pop("BaseModel")
    for message in MESSAGES:
        _require(sent[type(message).__name__], message)
    _describe_details(sent[AnalysisResult.__name__], known)
    schemas: Json = _without_titles({**read["$defs"], **sent})
    return dict(sorted(schemas.items()))


def _without_nulls(schema: Json) -> Json:
    """The schema of a model whose empty fields are left out: what could be null need not be there."""
    properties = schema.get("properties", {})
    required = [name for name in schema.get("required", ()) if not _nullable(properties[name])]
    kept = {name: _without_null(each) if _nullable(each) else each for name, each in properties.items()}
    return {**schema, "properties": kept, "required": required}


def _nullable(schema: Json) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _without_null(schema: Json) -> Json:
    rest = [each for each in schema["anyOf"] if each != {"type": "null"}]
    more = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**rest[0], **more} if len(rest) == 1 else {**more, "anyOf": rest}


def _require(schema: Json, example: Message) -> None:
    """Let the schema require what even the sparsest frame of its type has; null only where that has null."""
    optional = {name: None for name, field in type(example).model_fields.items() if field.default is None}
    sparsest = frame_of(example.model_copy(update=optional))
    schema["required"] = list(sparsest)
    for name, value in sparsest.items():
        property_ = schema["properties"][name]
        property_.pop("default", None)
        if value is None:
            schema["properties"][name] = {"anyOf": [property_, {"type": "null"}]}


def _describe_details(schema: Json, details: Mapping[str, type[BaseModel]]) -> None:
    schema["properties"]["detail"] = {
        "type": "object",
        "description": "what stands beside the value; its fields are the metric's",
    }
    cases = [
        {
            "if": {"properties": {"metric": {"const": metric}}},
            "then": {"properties": {"detail": {"$ref": f"{_SCHEMAS}/{kind.__name__}"}}},
        }
        for metric, kind in details.items()
    ]
    if cases:
        schema["allOf"] = cases


def _without_titles(schema: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """The schema without the titles that only repeat the names of fields."""
    match schema:
        case dict():
            return {
                key: _without_titles(value)
                for key, value in schema.items()
                if not (key == "title" and isinstance(value, str))
            }
        case list():
            return [_without_titles(value) for value in schema]
        case _:
            return schema
