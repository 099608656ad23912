"""One accepted connection: read the head, then answer it or hand it over."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import h11
import trio

from portfolio_trio.escaping import echo
from portfolio_trio.http._head import Head, HeadReader
from portfolio_trio.http._pending import Pending, Visit
from portfolio_trio.http._response import HttpError, Response, refuse
from portfolio_trio.http._upgrade import (
    SESSION_ID,
    Upgrade,
    peer_of,
    read_upgrade,
    send_response,
    token_of,
    upgrade_required,
)
from portfolio_trio.http.websocket import Disconnected

logger = logging.getLogger(__name__)
access_log = logging.getLogger("portfolio_trio.access_log")

_WEBSOCKETS = "/ws/"
_SESSIONS = "/session/"
SESSION_PLACE = "{session_id}"
"""Placeholder for any session id in the path of a route; only after `/session/`."""

_BODY_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Request:
    """A plain HTTP request: its head, its whole body, and the client's address (None if not TCP).

    `session_id` is the session id in the path if the route has a placeholder for it, else empty.
    """

    head: Head
    body: bytes = field(default=b"", repr=False)
    peer: str | None = None
    session_id: str = ""

    @property
    def token(self) -> str | None:
        """The token in the Authorization header, else in the query."""
        return token_of(self.head)


Route = Callable[[Request], Awaitable[Response]]
Routes = Mapping[tuple[str, str], Route]


class HttpServer:
    """Serves HTTP and WebSocket upgrades on accepted streams.

    Args:
        routes: The plain routes, by method and path, in which `SESSION_PLACE` stands for any session id. A
            GET route also answers HEAD.
        websocket: Handles the upgrades of `/ws/{session_id}`: rejects or accepts, and returns when the
            WebSocket is over.
        header_seconds: How long a client may take to send its head; then 408, or a silent close if it has not
            sent a byte.
        body_seconds: How long it may take to send a body; then 408.
        route_seconds: How long a route may take; then 503.
        send_seconds: How long sending an answer may take; then the connection is closed.
        linger_seconds: How long a connection waits, after its answer, for the client to close.
        keep_seconds: How long a connection that is kept after an answer waits for the next head.
        max_requests: How many requests a connection may send; the answer to the last one closes it.
        max_header_bytes: A larger head gets 431.
        max_body_bytes: A larger body gets 413.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        websocket: Callable[[Upgrade], Awaitable[None]],
        header_seconds: float = 10.0,
        body_seconds: float = 10.0,
        route_seconds: float = 30.0,
        send_seconds: float = 10.0,
        linger_seconds: float = 2.0,
        keep_seconds: float = 5.0,
        max_requests: int = 64,
        max_header_bytes: int = 16_384,
        max_body_bytes: int = 65_536,
    ) -> None:
        self._routes = routes
        self._websocket = websocket
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
        self._route_seconds = route_seconds
        self._send_seconds = send_seconds
        self._linger_seconds = linger_seconds
        self._keep_seconds = keep_seconds
        self._max_requests = max_requests
        self._kept: dict[trio.CancelScope, HeadReader] = {}
        self._closing = False
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes

    def close_kept(self) -> None:
        """Close the connections that wait for another request, and keep none from now on."""
        self._closing = True
        for scope, reader in self._kept.items():
            # What has begun to arrive is still answered.
            if not reader.received:
                scope.cancel()

    async def serve(self, stream: trio.abc.Stream, visit: Visit | None = None) -> None:
        """Serve one connection to its end and close it.

        Its visit, if it has one, is told when the request has arrived and when it is answered. Failures are
        logged and contained; only cancellation (and other BaseExceptions) propagates.
        """
        # A WebSocket lives in this function and in as few others as possible: each has a frame in memory.
        upgrade = None
        try:
            with visit or Pending().enter(stream) as entered:
                upgrade = await self._answer_unless_upgrade(stream, entered)
            if upgrade is not None:
                try:
                    await self._websocket(upgrade)
                except* Disconnected:
                    pass
                except* Exception:
                    logger.exception(
                        "A session failed; its connection was closed.",
                        extra={"event": "socket_failed", "session": upgrade.session_id},
                    )
                if not upgrade.answered:
                    await upgrade.reject(500, "internal_error", "The server failed.")
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("The peer left before it was answered.", extra={"event": "client_left"})
        except* Exception:
            logger.exception(
                "Answering a connection failed; it was closed.", extra={"event": "answer_failed"}
            )
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer_unless_upgrade(self, stream: trio.abc.Stream, visit: Visit) -> Upgrade | None:
        """Answer one request after another while the connection is kept; return an upgrade unanswered."""
        behind = b""
        for left in reversed(range(self._max_requests)):
            reader = HeadReader(stream, max_bytes=self._max_header_bytes, behind=behind)
            head, keep = None, False
            try:
                head = await self._read_head(reader, kept=left < self._max_requests - 1)
                if head is None:
                    return None
                if (upgrade := self._find_upgrade(head, stream)) is not None:
                    upgrade.visit = visit
                    visit.asked()
                    return upgrade
                response = await self._respond(head, reader.connection, stream, visit)
                keep = response.keeps and head.allows_another and left > 0 and not self._closing
            except HttpError as refusal:
                response = refusal.response
            if head is not None:
                _log_answer(head, response, stream)
            if not keep:
                await send_response(
                    stream,
                    response,
                    send_seconds=self._send_seconds,
                    linger_seconds=self._linger_seconds,
                    head_only=reader.wants_head_only,
                    visit=visit,
                )
                return None
            if not await self._send(stream, response, head_only=reader.wants_head_only):
                return None
            visit.answered()
            behind, _ = reader.connection.trailing_data
        return None

    async def _send(self, stream: trio.abc.Stream, response: Response, *, head_only: bool) -> bool:
        """Send an answer after which the connection is kept; whether all of it was accepted in time."""
        with trio.move_on_after(self._send_seconds):
            await stream.send_all(response.encode(head_only=head_only, keep=True))
            return True
        return False

    async def _read_head(self, reader: HeadReader, *, kept: bool) -> Head | None:
        """Read one head; None if the client has none, or none yet on a kept connection that shall close."""
        if kept and self._closing and not reader.received:
            return None
        seconds = self._keep_seconds if kept else self._header_seconds
        with trio.move_on_after(seconds) as scope:
            if kept:
                self._kept[scope] = reader
            try:
                return await reader.read()
            finally:
                self._kept.pop(scope, None)
        if not reader.received:
            return None
        raise refuse(408, "timeout", f"The request's head did not arrive within {seconds:g} s.")

    def _find_upgrade(self, head: Head, stream: trio.abc.Stream) -> Upgrade | None:
        if not head.path.startswith(_WEBSOCKETS):
            if head.is_upgrade:
                raise refuse(404, "not_found", "There is no WebSocket here; connect to /ws/{session_id}.")
            return None
        session_id = head.path.removeprefix(_WEBSOCKETS)
        if not SESSION_ID.fullmatch(session_id):
            raise refuse(404, "not_found", "A session id is 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -")
        if head.method != "GET":
            raise _wrong_method({"GET"})
        if not head.is_upgrade:
            raise upgrade_required()
        upgrade = read_upgrade(head, session_id, stream)
        upgrade.linger_seconds = self._linger_seconds
        return upgrade

    async def _respond(
        self, head: Head, connection: h11.Connection, stream: trio.abc.Stream, visit: Visit
    ) -> Response:
        route, session_id = self._find_route(head)
        self._check_announced_size(head)
        body = await self._read_body(connection, stream)
        visit.asked()
        with trio.move_on_after(self._route_seconds):
            try:
                return await route(Request(head=head, body=body, peer=peer_of(stream), session_id=session_id))
            except Exception:
                logger.exception(
                    "A route failed; the client was answered 500.",
                    extra={"event": "route_failed", "method": head.method, "path": head.path},
                )
                return Response.error(500, "internal_error", "The server failed.")
        return Response.error(503, "unavailable", "The server is too slow at the moment.", retry_after=1)

    def _find_route(self, head: Head) -> tuple[Route, str]:
        """The route of a path, and the session id in the path."""
        method = "GET" if head.method == "HEAD" else head.method
        path, session_id = _place_of(head.path)
        if (route := self._routes.get((method, path))) is not None:
            return route, session_id
        allowed = {method for method, known in self._routes if known == path}
        if allowed:
            raise _wrong_method(allowed)
        raise refuse(404, "not_found", "There is nothing at this path.")

    def _check_announced_size(self, head: Head) -> None:
        """Refuse before the client is told to continue. h11 has checked that the header is a number."""
        self._check_size(int(head.header("content-length") or 0))

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise refuse(413, "too_large", f"A body is limited to {self._max_body_bytes} bytes.")

    async def _read_body(self, connection: h11.Connection, stream: trio.abc.Stream) -> bytes:
        with trio.move_on_after(self._body_seconds):
            try:
                return await self._collect_body(connection, stream)
            except h11.RemoteProtocolError as error:
                raise refuse(
                    error.error_status_hint, "bad_request", f"The body is invalid: {echo(str(error))}."
                ) from None
        raise refuse(408, "timeout", f"The request's body did not arrive within {self._body_seconds:g} s.")

    async def _collect_body(self, connection: h11.Connection, stream: trio.abc.Stream) -> bytes:
        body = bytearray()
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                return bytes(body)
            if isinstance(event, h11.Data):
                body += event.data
                self._check_size(len(body))
                continue
            if connection.they_are_waiting_for_100_continue:
                go_on = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                await stream.send_all(go_on or b"")
            connection.receive_data(bytes(await stream.receive_some(_BODY_CHUNK)))


def _place_of(path: str) -> tuple[str, str]:
    """A path with the placeholder, and the session id it contained."""
    session_id, slash, rest = path.removeprefix(_SESSIONS).partition("/")
    if not path.startswith(_SESSIONS) or not SESSION_ID.fullmatch(session_id):
        return path, ""
    return f"{_SESSIONS}{SESSION_PLACE}{slash}{rest}", session_id


def _log_answer(head: Head, response: Response, stream: trio.abc.Stream) -> None:
    # Without the query, which may contain a token.
    access_log.debug(
        "answered",
        extra={
            "event": "answered",
            "method": head.method,
            "path": head.path,
            "status": response.status,
            "bytes": len(response.body),
            "peer": peer_of(stream),
        },
    )


def _wrong_method(allowed: set[str]) -> HttpError:
    names = sorted(allowed | {"HEAD"} if "GET" in allowed else allowed)
    return refuse(405, "method_not_allowed", f"Use {' or '.join(names)} here.", {"Allow": ", ".join(names)})
