"""``GET /session/{session_id}`` and ``.../results``: reading state and results without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portfolio_trio.access import Refused
from portfolio_trio.http import Response
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.protocol.fields import Ticker  # noqa: TC001 - pydantic reads the annotation
from portfolio_trio.protocol.messages import Results
from portfolio_trio.server.session_route import refusal_of
from portfolio_trio.store import SessionMissing, StoreError
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio.access import Gate
    from portfolio_trio.http import Request
    from portfolio_trio.protocol.messages import Message
    from portfolio_trio.session.services import Services


class ResultsQuery(BaseModel):
    """The query of ``.../results``; a token in it is handled elsewhere."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    ticker: Ticker | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class SessionReads:
    """Gives the same answers as a session's sockets, with the same checks of origin and token.

    Does not create sessions. Reading the portfolio counts as activity of the client.
    """

    def __init__(self, services: Services, gate: Gate) -> None:
        self._services = services
        self._gate = gate

    async def portfolio(self, request: Request) -> Response:
        """Answer with ``portfolio``."""
        return await self._answer(request, self._portfolio)

    async def results(self, request: Request) -> Response:
        """Answer with ``results``, of one ``ticker`` if the query has it, at most ``limit``."""
        return await self._answer(request, self._results)

    async def _answer(self, request: Request, read: Callable[[Request], Awaitable[Message]]) -> Response:
        head = request.head
        origin, host = head.header("origin"), head.header("host") or ""
        headers = (*self._gate.origins.cors_headers(origin, host), ("Cache-Control", "no-store"))
        try:
            self._gate.check_origin(origin, host, reads=True)
            if self._gate.tokens is not None:
                self._gate.tokens.check(request.token, request.session_id)
            message = await read(request)
        except Refused as refused:
            return refusal_of(refused, headers)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            said = f"{first['loc'][0]}: {first['msg']}"
            return Response.error(400, "invalid_message", said, headers=headers)
        except SessionMissing:
            said = "There is no such session: POST /session creates one."
            return Response.error(404, "not_found", said, headers=headers)
        except StoreError as failure:
            told = self._services.explain(failure)
            return Response.error(503, told.code, told.detail, retry_after=1, headers=headers)
        return Response(body=message.to_json().encode(), headers=headers)

    async def _portfolio(self, request: Request) -> Message:
        services = self._services
        found = await services.store.get_portfolio(request.session_id, at=rfc3339(services.now()))
        return portfolio_message(found, services.book)

    async def _results(self, request: Request) -> Message:
        services = self._services
        asked = ResultsQuery.model_validate(request.head.query)
        page = await services.store.newest_results(
            request.session_id,
            ticker=asked.ticker,
            limit=asked.limit,
            max_bytes=services.settings.max_queue_bytes // 4,
        )
        return Results(ticker=asked.ticker, results=page.results, more=True if page.more else None)
