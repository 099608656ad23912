"""The HTTP routes on the server's port, by method and path."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from portfolio_trio.http import SESSION_PLACE, Response
from portfolio_trio.server.asyncapi_route import AsyncApiRoute
from portfolio_trio.server.openapi_route import OpenApiRoute
from portfolio_trio.server.page_route import page_routes
from portfolio_trio.server.reads import SessionReads
from portfolio_trio.server.session_route import SessionRoute, allow_cross_origin
from portfolio_trio.web import open_page

if TYPE_CHECKING:
    from portfolio_trio.access import Gate
    from portfolio_trio.http import Request, Route, Routes
    from portfolio_trio.session.services import Services

SESSION = "/session"
ONE_SESSION = f"{SESSION}/{SESSION_PLACE}"
RESULTS = f"{ONE_SESSION}/results"


def routes(services: Services, gate: Gate, ready: Route) -> Routes:
    """Every route of a server.

    Args:
        services: The services that its sessions share.
        gate: Access control.
        ready: Answers ``GET /ready``.
    """
    reads = SessionReads(services, gate)
    return {
        ("GET", "/health"): _public(_health, gate),
        ("GET", "/ready"): _public(ready, gate),
        ("GET", "/asyncapi.json"): _public(AsyncApiRoute(services), gate),
        ("GET", "/openapi.json"): _public(OpenApiRoute(services), gate),
        ("POST", SESSION): SessionRoute(services, gate),
        ("OPTIONS", SESSION): partial(allow_cross_origin, gate=gate, method="POST"),
        ("GET", ONE_SESSION): reads.portfolio,
        ("OPTIONS", ONE_SESSION): partial(allow_cross_origin, gate=gate, method="GET"),
        ("GET", RESULTS): reads.results,
        ("OPTIONS", RESULTS): partial(allow_cross_origin, gate=gate, method="GET"),
        **(page_routes(open_page(), gate.origins) if services.settings.dashboard else {}),
    }


async def _health(_request: Request) -> Response:
    return Response.json({"status": "ok"})


def _public(route: Route, gate: Gate) -> Route:
    """The same route, readable by permitted pages from other hosts."""

    async def answer(request: Request) -> Response:
        response = await route(request)
        cors = gate.origins.cors_headers(request.head.header("origin"), request.head.header("host") or "")
        return replace(response, headers=(*response.headers, *cors))

    return answer
