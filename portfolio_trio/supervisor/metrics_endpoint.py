"""``GET /metrics``, on a separate address, without access control."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.http import HttpServer, Response, serve_listeners
from portfolio_trio.supervisor.listeners import StartError, address_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio.http import Request, Upgrade

log: Final = logging.getLogger(__name__)

# A Prometheus scrapes every few seconds, and important systems have two of them.
MAX_CONNECTIONS: Final = 16
# The content type of Prometheus' text format, as in its library.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(
    address: tuple[str, int],
    scrape: Callable[[], Awaitable[bytes]],
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer Prometheus until cancelled; reports (host, port) when ready.

    Args:
        address: Host and port to listen on.
        scrape: Makes the body of an answer.
        task_status: Receives the address, with the port the system chose.

    Raises:
        StartError: It is not possible to listen on the address.
    """

    async def answer(_request: Request) -> Response:
        return Response(body=await scrape(), content_type=CONTENT_TYPE)

    host, port = address
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host} port {port} for metrics: {error.strerror}; choose another address with "
            "--metrics-address"
        ) from error
    server = HttpServer(routes={("GET", "/metrics"): answer}, websocket=_no_socket)
    async with trio.open_nursery() as nursery:
        shown, port = address_of(listeners)
        name = f"[{shown}]" if ":" in shown else shown
        log.info(
            "metrics are served",
            extra={"event": "metrics_served", "url": f"http://{name}:{port}/metrics"},
        )
        task_status.started((shown, port))
        await serve_listeners(
            listeners, server.serve, handler_nursery=nursery, max_connections=MAX_CONNECTIONS
        )


async def _no_socket(upgrade: Upgrade) -> None:
    await upgrade.reject(404, "not_found", "There is no WebSocket here.")
