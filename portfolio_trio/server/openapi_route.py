"""``GET /openapi.json``: the HTTP routes as an OpenAPI 3.1 document, with the protocol's messages."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from portfolio_trio import __version__
from portfolio_trio.http import Response
from portfolio_trio.protocol.schemas import REF, Json
from portfolio_trio.server.asyncapi_route import document_of
from portfolio_trio.server.session_route import NewSession

if TYPE_CHECKING:
    from portfolio_trio.http import Request
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.session.services import Services

_SESSION_ID: Final = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,128}$"},
}
_TICKER: Final = {
    "name": "ticker",
    "in": "query",
    "schema": {"type": "string"},
    "description": "only its results",
}
_LIMIT: Final = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    "description": "maximum number of results; the newest",
}
# For servers that require tokens; `{}` means no token, for the others.
_TOKENS: Final[list[Json]] = [{"bearer": []}, {"query": []}, {}]


class OpenApiRoute:
    """Answers with the document, which is made at the first request."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._text: bytes | None = None

    async def __call__(self, _request: Request) -> Response:
        """Answer with the document."""
        if self._text is None:
            content = document(self._services.metrics)
            self._text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        return Response(body=self._text)


def document(metrics: MetricRegistry) -> Json:
    """The OpenAPI 3.1 document of a server with these metrics."""
    schemas = document_of(metrics)["components"]["schemas"] | _own_schemas()
    paths = _paths()
    used = {name: schemas[name] for name in sorted(_reached(paths, schemas))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "portfolio-trio",
            "version": __version__,
            "description": "The HTTP routes, on the same port as the WebSockets, which /asyncapi.json "
            "describes.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": used,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }


def _paths() -> Json:
    plain = {"type": "object"}
    new = {"requestBody": {"required": False, "content": _json(_ref("NewSession"))}}
    return {
        "/health": {"get": _operation("health", "The process is alive.", {200: plain})},
        "/ready": {
            "get": _operation(
                "ready", "Whether the server is ready for clients.", {200: _ref("Ready"), 503: _ref("Ready")}
            )
        },
        "/asyncapi.json": {"get": _operation("asyncapi", "The WebSocket protocol.", {200: plain})},
        "/openapi.json": {"get": _operation("openapi", "This document.", {200: plain})},
        "/session": {
            "post": _operation(
                "newSession",
                "A new session, or a fresh token for one that the client can already open.",
                {200: _ref("Session"), 201: _ref("Session"), **_errors(400, 401, 403, 422, 429, 503)},
            )
            | new
        },
        "/session/{session_id}": {
            "parameters": [_SESSION_ID],
            "get": _operation(
                "getPortfolio",
                "The state of a session. Counts as activity of its client.",
                {200: _ref("Portfolio"), **_errors(401, 403, 404, 503)},
            )
            | {"security": _TOKENS},
        },
        "/session/{session_id}/results": {
            "parameters": [_SESSION_ID],
            "get": _operation(
                "getResults",
                "Recorded results, newest last.",
                {200: _ref("Results"), **_errors(400, 401, 403, 404, 503)},
            )
            | {"parameters": [_TICKER, _LIMIT], "security": _TOKENS},
        },
    }


def _own_schemas() -> Json:
    text = {"type": "string"}
    session = {
        "session_id": text,
        "token": {**text, "description": "if the server requires tokens"},
        "holdings": {"type": "object", "additionalProperties": {"type": "number"}},
        "metrics": {"type": "array", "items": _ref("MetricName")},
    }
    ready = {
        "status": {"type": "string", "enum": ["ready", "not ready"]},
        "reasons": {"type": "array", "items": text},
        "store": {"type": "string", "enum": ["reachable", "away"]},
        "tick_id": {"type": "integer"},
        "as_of": text,
        "last_bar": {"type": ["string", "null"]},
        "stale": {"type": "boolean"},
        "draining": {"type": "boolean"},
    }
    refused = {"type": {"const": "error"}, "code": text, "detail": text, "retryable": {"type": "boolean"}}
    return {
        "NewSession": NewSession.model_json_schema(),
        "Session": _object(session, but=("token",)),
        "Ready": _object(ready),
        "Refusal": _object(refused),
    }


def _object(fields: Json, but: tuple[str, ...] = ()) -> Json:
    return {"type": "object", "properties": fields, "required": [name for name in fields if name not in but]}


def _operation(name: str, summary: str, answers: dict[int, Json]) -> Json:
    said = {
        str(status): {"description": _meaning(status), "content": _json(schema)}
        for status, schema in answers.items()
    }
    return {"operationId": name, "summary": summary, "responses": said}


def _meaning(status: int) -> str:
    return HTTPStatus(status).phrase


def _errors(*statuses: int) -> dict[int, Json]:
    return dict.fromkeys(statuses, _ref("Refusal"))


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"{REF}/{name}"}


def _reached(place: Any, schemas: Json) -> set[str]:  # noqa: ANN401 - JSON of any shape
    """The names of the schemas that are referred to, directly or through others."""
    found: set[str] = set()
    waiting = [place]
    while waiting:
        for name in re.findall(rf'"{REF}/(\w+)"', json.dumps(waiting.pop())):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found
