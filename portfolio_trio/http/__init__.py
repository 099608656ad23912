"""The HTTP server: one port for plain HTTP and for WebSockets.

`serve_listeners` accepts connections and `HttpServer.serve` takes each of them: it reads the head with h11
under a deadline, answers plain requests from a table of routes, and passes WebSocket upgrades on
`/ws/{session_id}` to a handler. The handler either refuses (`Upgrade.reject`) or accepts:

    async with accept_websocket(upgrade, subprotocol="portfolio.v1") as transport:
        while True:
            request = await transport.receive()
            await transport.send([answer(request)])

No input from a peer raises out of this package: a bad head gets an HTTP status, a bad frame a close code, and
the handler sees `Disconnected`.

Imports only rooms of the ground floor: it knows nothing about portfolios.
"""

from portfolio_trio.http._head import Head
from portfolio_trio.http._http_server import SESSION_PLACE, HttpServer, Request, Route, Routes
from portfolio_trio.http._listeners import serve_listeners
from portfolio_trio.http._pending import Pending, Visit
from portfolio_trio.http._response import Response
from portfolio_trio.http._upgrade import Upgrade, peer_of
from portfolio_trio.http.websocket import Disconnected, WebSocketTransport, accept_websocket

__all__ = [
    "SESSION_PLACE",
    "Disconnected",
    "Head",
    "HttpServer",
    "Pending",
    "Request",
    "Response",
    "Route",
    "Routes",
    "Upgrade",
    "Visit",
    "WebSocketTransport",
    "accept_websocket",
    "peer_of",
    "serve_listeners",
]
