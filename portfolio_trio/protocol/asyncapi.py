"""The protocol as an AsyncAPI 3.0 document, made from the models that parse and write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portfolio_trio import __version__
from portfolio_trio.protocol.closes import CLOSES
from portfolio_trio.protocol.codes import ERRORS
from portfolio_trio.protocol.decisions import History, Plan, Risk, WhatIf
from portfolio_trio.protocol.examples import MESSAGES, REQUESTS
from portfolio_trio.protocol.messages import (
    SUBPROTOCOL,
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    Error,
    Message,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
    Results,
)
from portfolio_trio.protocol.requests import (
    Analyze,
    AskWhatIf,
    Authenticate,
    Cancel,
    GetHistory,
    GetPortfolio,
    GetResults,
    GetRisk,
    MakePlan,
    SetHoldings,
    SetTargets,
    Trade,
)
from portfolio_trio.protocol.schemas import REF, frame_of, schema_name, schemas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from portfolio_trio.protocol.requests import Request
    from portfolio_trio.protocol.schemas import Json

# The answers to each request, in addition to an error.
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
    GetRisk: (Risk,),
    AskWhatIf: (WhatIf,),
    SetTargets: (Portfolio,),
    MakePlan: (Plan,),
    GetHistory: (History,),
}

# Requests that have the same name as their answer.
_NAMESAKES: Final[frozenset[type[object]]] = frozenset({AskWhatIf, MakePlan})

# Messages that are not answers to this socket.
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

_CHANNEL: Final = "#/channels/session"

_DESCRIPTION: Final = f"""\
JSON text frames, one message each. A client that offers the subprotocol `{SUBPROTOCOL}` first gets the state
of the session (`portfolio`), then every event of the session, whichever socket caused it. Any other client
gets only answers to its own requests; `metric_error` and an early end of an analysis come as `error`. Any
request may have an `id`; its answers echo it. Asking for an analysis cancels the running one: the newest
wins. Fields without a value are left out."""


def document(
    *,
    host: str = "127.0.0.1:8000",
    secure: bool = False,
    details: Mapping[str, type[BaseModel] | None] | None = None,
    more_codes: bool = False,
) -> Json:
    """The AsyncAPI 3.0 document of ``/ws/{session_id}``, seen from the server: it receives and sends.

    Args:
        host: The server's host and port.
        secure: Whether it speaks TLS.
        details: The model of each metric's ``detail``, by metric, to describe it as well.
        more_codes: Whether metrics may have other error codes, as those of plug-ins may.
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
        "components": {"messages": _messages(), "schemas": schemas(details or {}, more_codes=more_codes)},
        "x-subprotocol": SUBPROTOCOL,
        "x-error-codes": [{"code": code.value, **meaning._asdict()} for code, meaning in ERRORS.items()],
        "x-close-codes": [{"code": code.value, **meaning._asdict()} for code, meaning in CLOSES.items()],
    }


def name_of(message: Request | Message | type[Request | Message]) -> str:
    """The name of a message in the document: its ``action`` or ``type``.

    A request with the same name as its answer gets the suffix ``_request``.
    """
    kind = message if isinstance(message, type) else type(message)
    fields = kind.model_fields
    (name,) = fields["action" if "action" in fields else "type"].annotation.__args__  # type: ignore[union-attr]
    return f"{name}_request" if kind in _NAMESAKES else str(name)


def _channel() -> Json:
    names = [name_of(message) for message in (*REQUESTS, *MESSAGES)]
    token = {"type": "string", "description": "if the server requires tokens"}
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
            "payload": {"$ref": f"{REF}/{schema_name(type(example))}"},
            "examples": [{"payload": frame_of(example)}],
        }
        for example in (*REQUESTS, *MESSAGES)
    }


def _summary(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]
