"""A server on real sockets, from start to drain.

| serve
| └─ open_server     the store, the market and the connections
|    └─ listen       ends first, at drain
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.access import TlsError, counted_as, ssl_context
from portfolio_trio.http import Pending, peer_of, serve_listeners
from portfolio_trio.server.engine import announce
from portfolio_trio.server.server import open_server
from portfolio_trio.server.startup import shown_holdings
from portfolio_trio.supervisor.listeners import (
    StartError,
    address_of,
    open_listeners,
    stop_signals,
    stoppable,
)
from portfolio_trio.supervisor.metrics_endpoint import serve_metrics
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from portfolio_trio.server.server import Server
    from portfolio_trio.settings import Settings
    from portfolio_trio.telemetry import Telemetry

log: Final = logging.getLogger(__name__)

SPARE_CONNECTIONS: Final = 64


async def serve(
    settings: Settings,
    *,
    listeners: Sequence[trio.SocketListener] = (),
    announcing: bool = True,
    dismissed: Callable[[], Awaitable[object]] = trio.sleep_forever,
    telemetry: Telemetry = OFF,
    scrape: Callable[[], Awaitable[bytes]] | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends it immediately.

    Reports its address (host, port) when it accepts connections.

    Args:
        settings: Every setting.
        listeners: Sockets that are already listening; by default those of the settings are opened.
        announcing: Whether to log which Redis it uses, once it serves.
        dismissed: Returns when the server should drain, like a first signal.
        telemetry: Counts events.
        scrape: Makes the answers to Prometheus, on the address in the settings.
        task_status: Receives the address.

    Raises:
        StartError: It cannot start.
    """
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with (
            stoppable(signals) as serves,
            open_server(settings, telemetry=telemetry) as server,
            trio.open_nursery() as nursery,
        ):
            accepting = trio.CancelScope()
            address = await nursery.start(partial(listen, server, accepting, listeners=listeners))
            if scrape is not None and settings.metrics_address is not None:
                await nursery.start(serve_metrics, settings.metrics_address, scrape)
            if announcing:
                announce(server.engine)
                held = shown_holdings(server.services.settings.default_holdings)
                log.info(
                    "prices in use",
                    extra={"event": "prices", "source": settings.prices, "new_session_holds": held},
                )
            await serves()
            task_status.started(address)
            await _first_of(partial(anext, signals), dismissed)
            log.info("draining; a second signal ends the server immediately", extra={"event": "draining"})
            nursery.start_soon(_drain_then_end, server, accepting, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(_wait_then_end, wait, nursery.cancel_scope)


async def _wait_then_end(wait: Callable[[], Awaitable[object]], end: trio.CancelScope) -> None:
    await wait()
    end.cancel()


async def _drain_then_end(server: Server, accepting: trio.CancelScope, end: trio.CancelScope) -> None:
    await server.give_notice()
    accepting.cancel()
    await server.drain()
    end.cancel()


async def listen(
    server: Server,
    accepting: trio.CancelScope,
    *,
    listeners: Sequence[trio.SocketListener] = (),
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections for a server until ``accepting`` is cancelled; report (host, port).

    Args:
        server: Serves them.
        accepting: Cancelled to stop accepting and close the listeners; open connections continue.
        listeners: Sockets that are already listening; by default those of the server's settings are opened.
        task_status: Receives the address.

    Raises:
        StartError: It is not possible to listen on the address.
    """
    settings = server.services.settings
    tls = _tls(settings)
    listeners = listeners or await open_listeners(settings)
    task_status.started(address_of(listeners))
    with accepting:
        await serve_listeners(
            [
                each if tls is None else trio.SSLListener(each, tls, https_compatible=True)
                for each in listeners
            ],
            server.http_server.serve,
            handler_nursery=server.connections,
            # Room for /health, and for refusing excess clients.
            max_connections=settings.max_connections + SPARE_CONNECTIONS,
            pending=Pending(
                per_address=settings.max_pending_per_address or None,
                address_of=lambda stream: counted_as(peer_of(stream)),
            ),
        )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return ssl_context(settings.tls_certificate, settings.tls_key)
    except TlsError as error:
        raise StartError(str(error)) from error
