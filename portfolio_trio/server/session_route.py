"""``POST /session``: a new session, or a fresh token for one that the client can already open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from portfolio_trio.access import Refused, counted_as, new_session_id
from portfolio_trio.escaping import echo
from portfolio_trio.http import Response
from portfolio_trio.hub.unpriced import refusal
from portfolio_trio.market import MarketFullError
from portfolio_trio.protocol.fields import Holdings  # noqa: TC001 - pydantic reads the annotation
from portfolio_trio.protocol.repeats import repeated_name
from portfolio_trio.store import MissingPrices, StoreError, TooManyHoldings

if TYPE_CHECKING:
    from portfolio_trio.access import Gate
    from portfolio_trio.http import Request
    from portfolio_trio.session.services import Services


BODY: Final = 'send a JSON object such as {"holdings": {"AAPL": 100}}, or no body'


class NewSession(BaseModel):
    """The body, which is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    holdings: Holdings | None = Field(
        None, description="holdings of a new session; by default the server's default holdings"
    )
    session_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}\z")] | None = Field(
        None,
        description="use this session instead of a new one; if the server requires tokens, give its token",
    )
    token: SecretStr | None = None


def _read(body: bytes) -> NewSession:
    """Read the body.

    Raises:
        ValidationError: It is not a valid body.
        Refused: A name in it occurs twice.
    """
    ask = NewSession.model_validate_json(body)
    twice = repeated_name(body, len(ask.model_fields_set) + len(ask.holdings or ()))
    if twice is not None:
        raise Refused(400, "invalid_message", f"{json.dumps(twice[:80])} occurs twice")
    return ask


class SessionRoute:
    """Answers ``POST /session``."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._services = services
        self._gate = gate

    async def __call__(self, request: Request) -> Response:
        """Answer with session id, token if tokens are required, holdings and the names of the metrics."""
        origin, host = request.head.header("origin"), request.head.header("host") or ""
        headers = self._gate.origins.cors_headers(origin, host)
        try:
            self._gate.check_origin(origin, host)
            ask = _read(request.body or b"{}")
            self._check(ask, request.peer)
            return await self._open(ask, request.peer, headers)
        except Refused as refused:
            return refusal_of(refused, headers)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            said = f"{echo(place)}: {first['msg']}" if place else f"{first['msg']}; {BODY}"
            return Response.error(400, "invalid_message", said, headers=headers)
        except MissingPrices as failure:
            told = refusal(self._services.book, failure.tickers)
            return Response.error(422, told.code, told.detail, headers=headers)
        except TooManyHoldings as failure:
            told = self._services.explain(failure)
            return Response.error(422, told.code, told.detail, headers=headers)
        except (MarketFullError, StoreError) as failure:
            told = self._services.explain(failure)
            return Response.error(503, told.code, told.detail, retry_after=1, headers=headers)

    def _check(self, ask: NewSession, peer: str | None) -> None:
        tokens = self._gate.tokens
        if tokens is not None and ask.session_id is not None:
            tokens.check(None if ask.token is None else ask.token.get_secret_value(), ask.session_id)
        self._gate.new_sessions.check(peer)

    async def _open(
        self, ask: NewSession, peer: str | None, headers: tuple[tuple[str, str], ...]
    ) -> Response:
        tokens = self._gate.tokens
        opened = await self._services.open_session(
            ask.session_id or new_session_id(), holdings=ask.holdings, address=counted_as(peer)
        )
        body: dict[str, object] = {"session_id": opened.session_id}
        if tokens is not None:
            body["token"] = tokens.issue(opened.session_id)
        body |= {"holdings": dict(opened.holdings), "metrics": list(self._services.metrics)}
        return Response.json(
            body, status=200 if ask.session_id else 201, headers=(*headers, ("Cache-Control", "no-store"))
        )


def refusal_of(refused: Refused, headers: tuple[tuple[str, str], ...]) -> Response:
    """The answer to a refused client."""
    return Response.error(
        refused.status,
        refused.code,
        refused.detail,
        retry_after=refused.retry_after,
        headers=(*headers, *refused.headers),
    )


async def allow_cross_origin(request: Request, gate: Gate, method: str) -> Response:
    """``OPTIONS``, which browsers send before a JSON body or a token to another origin."""
    origin, host = request.head.header("origin"), request.head.header("host") or ""
    allowed = (
        ("Access-Control-Allow-Methods", method),
        ("Access-Control-Allow-Headers", "authorization, content-type"),
    )
    return Response(headers=(*gate.origins.cors_headers(origin, host), *allowed))
