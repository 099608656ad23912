"""The top of the house: who owns which nursery, and in which order it ends.

| serve
| └─ open_server          the store's connection, the price book, the market updater, the sockets
|    ├─ market updater    ticks until the end
|    ├─ connections       one child per socket; a child's failure ends that child only
|    └─ listeners         end first, at drain
"""

from __future__ import annotations

import logging
import random
import signal
import time
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from redis.exceptions import RedisError

from portfolio_trio.access import Refused, TlsError, first_message, ssl_context
from portfolio_trio.entrance import open_gate
from portfolio_trio.http import FrontDoor, Response, accept_websocket, serve_listeners
from portfolio_trio.hub import Hub
from portfolio_trio.market import MarketError, PriceBook, open_price_source
from portfolio_trio.market.updater import MarketUpdater
from portfolio_trio.metrics import PluginError, installed_metrics
from portfolio_trio.new_session import SessionRoute, allow_cross_origin
from portfolio_trio.protocol import asyncapi
from portfolio_trio.protocol.codes import CloseCode
from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.redis import open_redis
from portfolio_trio.services import Services
from portfolio_trio.session import Session
from portfolio_trio.store import PortfolioStore, ScriptsNotFound, StoreError, all_scripts, check_engine
from portfolio_trio.ticks import TickFeed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from portfolio_trio.http import Request, Upgrade
    from portfolio_trio.market import PriceSource
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.redis import RedisClient
    from portfolio_trio.settings import Settings

log: Final = logging.getLogger(__name__)

# What all sockets together get to say goodbye once nothing runs any more.
GOODBYE_SECONDS: Final = 8.0
SPARE_CONNECTIONS: Final = 64


class StartError(Exception):
    """The server cannot start; the message is one line that says what to do."""


class Server:
    """One running server without its listeners: serves accepted streams.

    Attributes:
        services: What its sessions share.
        front_door: Takes accepted streams, of sockets or of memory.
        updater: The market.
        connections: The nursery of everything a client causes; a socket's task is its child.
    """

    def __init__(
        self, services: Services, updater: MarketUpdater, redis: RedisClient, connections: trio.Nursery
    ) -> None:
        self.services = services
        self.updater = updater
        self.connections = connections
        self.gate = open_gate(services.settings, services.now)
        self.front_door = FrontDoor(
            routes={
                ("GET", "/health"): _health,
                ("GET", "/ready"): self._ready,
                ("GET", "/asyncapi.json"): self._asyncapi,
                ("POST", "/session"): SessionRoute(services, self.gate),
                ("OPTIONS", "/session"): partial(allow_cross_origin, gate=self.gate),
            },
            websocket=self._welcome,
            header_seconds=services.settings.header_seconds,
        )
        self._redis = redis
        self._sessions: dict[Session, None] = {}
        self._emptied = trio.Event()
        self._draining = False

    async def drain(self) -> None:
        """Let running analyses finish for ``drain_seconds``, then end every socket with 1001."""
        self._draining = True
        sessions = tuple(self._sessions)
        for session in sessions:
            session.drain()
        with trio.move_on_after(self.services.settings.drain_seconds) as limit:
            for session in sessions:
                await session.idle()
        if limit.cancelled_caught:
            log.warning("analyses still ran when the drain was over; they are cancelled")
        with trio.move_on_after(GOODBYE_SECONDS):
            async with trio.open_nursery() as nursery:
                for session in sessions:
                    nursery.start_soon(session.depart)
            if self._sessions:
                await self._emptied.wait()

    async def _welcome(self, upgrade: Upgrade) -> None:
        if self._draining:
            await upgrade.reject(503, "draining", "The server is going away; connect again.", retry_after=1)
            return
        with ExitStack() as places:
            late = self.gate.asks_for_token(upgrade)
            try:
                places.enter_context(self.gate.server(upgrade))
                if not late:
                    places.enter_context(self.gate.session(upgrade.session_id, upgrade.token))
            except Refused as refused:
                await upgrade.reject(
                    refused.status,
                    refused.code,
                    refused.detail,
                    retry_after=refused.retry_after,
                    headers=refused.headers,
                )
                return
            await self._accept(upgrade, places, late=late)

    async def _accept(self, upgrade: Upgrade, places: ExitStack, *, late: bool) -> None:
        settings = self.services.settings
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in upgrade.subprotocols else None
        async with accept_websocket(
            upgrade, subprotocol=subprotocol, max_message_bytes=settings.max_message_bytes
        ) as transport:
            first = None
            if late:
                try:
                    first = await first_message(transport, timeout=settings.auth_seconds)
                    token = first.token.get_secret_value()
                    places.enter_context(self.gate.session(upgrade.session_id, token))
                except Refused as refused:
                    await transport.close(refused.close_code, refused.close_reason)
                    return
                if self._draining:
                    await transport.close(CloseCode.GOING_AWAY, "the server is going away")
                    return
            session = Session(self.services, upgrade.session_id, transport, first=first)
            self._sessions[session] = None
            try:
                await session.run()
            finally:
                self._leave(session)

    def _leave(self, session: Session) -> None:
        del self._sessions[session]
        if self._draining and not self._sessions:
            self._emptied.set()

    async def _asyncapi(self, request: Request) -> Response:
        """The protocol as an AsyncAPI document, with the details of the metrics that are installed here."""
        details = {name: metric.detail for name, metric in self.services.metrics.items()}
        host = request.head.header("host") or "localhost"
        secure = self.services.settings.tls_certificate is not None
        return Response.json(asyncapi.document(host=host, secure=secure, details=details))

    async def _ready(self, _request: Request) -> Response:
        """200 while the store can be reached and prices are fresh, else 503; the body says which it is."""
        tick = self.services.book.current
        ready = self._redis.ready and not tick.stale and not self._draining
        return Response.json(
            {
                "status": "ready" if ready else "not ready",
                "store": "reachable" if self._redis.ready else "away",
                "tick_id": tick.tick_id,
                "as_of": tick.as_of,
                "stale": tick.stale,
                "draining": self._draining,
            },
            status=200 if ready else 503,
        )


async def _health(_request: Request) -> Response:
    return Response.json({"status": "ok"})


@asynccontextmanager
async def open_server(
    settings: Settings,
    *,
    metrics: MetricRegistry | None = None,
    source: PriceSource | None = None,
    now: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AsyncGenerator[Server]:
    """A server for the length of the block: store, prices and market are up when it begins.

    Args:
        settings: Every knob.
        metrics: What a run computes; by default the five and those of installed plug-ins.
        source: Prices; by default those of ``settings.prices``.
        now: Wall clock, seconds since the epoch.
        rng: Draws artificial delays.

    Raises:
        StartError: The store or the prices cannot be used; nothing has been started.
    """
    async with _open_store(settings, now) as (redis, store):
        book = await _open_book(settings, source, now)
        hub = Hub()
        services = Services(
            settings=settings,
            store=store,
            book=book,
            metrics=_installed_metrics() if metrics is None else metrics,
            hub=hub,
            now=now,
            rng=rng or random.Random(),  # noqa: S311 - spreads delays; no secret hangs on it
        )
        updater = MarketUpdater(
            book,
            store,
            TickFeed(hub, store),
            interval=settings.market_update_interval_seconds,
            failures=(StoreError,),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(updater.run)
            async with trio.open_nursery() as connections:
                yield Server(services, updater, redis, connections)
                connections.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


def _installed_metrics() -> MetricRegistry:
    try:
        return installed_metrics()
    except PluginError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def _open_store(
    settings: Settings, now: Callable[[], float]
) -> AsyncGenerator[tuple[RedisClient, PortfolioStore]]:
    opening = True
    try:
        async with open_redis(
            settings.redis_url.get_secret_value(),
            scripts=all_scripts(),
            reply_timeout=settings.redis_timeout_seconds,
            connect_timeout=settings.redis_timeout_seconds,
            wall_clock=now,
        ) as redis:
            await check_engine(redis)
            opening = False
            yield (
                redis,
                PortfolioStore(
                    redis, ttl_seconds=settings.session_ttl_seconds, max_results=settings.max_results
                ),
            )
    except (RedisError, StoreError, ScriptsNotFound, ValueError) as error:
        if not opening:
            raise
        raise StartError(f"the store cannot be used: {error}") from error


async def _open_book(settings: Settings, source: PriceSource | None, now: Callable[[], float]) -> PriceBook:
    try:
        book = PriceBook(
            source or open_price_source(settings.prices, live_prices=settings.live_prices), now=now
        )
        await book.open()
    except MarketError as error:
        raise StartError(f"there are no prices: {error}") from error
    priced = book.prices_for(settings.default_holdings)
    unpriced = [ticker for ticker in settings.default_holdings if ticker not in priced]
    if unpriced:
        raise StartError(
            f"PORTFOLIO_DEFAULT_HOLDINGS: {', '.join(unpriced)} has no price in {settings.prices}; "
            "choose names that the price source has"
        )
    return book


async def serve(
    settings: Settings,
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends it at once.

    Reports its address (host, port) when it accepts connections.

    Raises:
        StartError: It cannot start.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_server(settings) as server, trio.open_nursery() as nursery:
            accepting = trio.CancelScope()
            address = await nursery.start(partial(listen, server, accepting))
            task_status.started(address)
            await anext(signals)
            log.info("draining: a second signal ends at once")
            accepting.cancel()
            nursery.start_soon(_drain_then_end, server, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _drain_then_end(server: Server, end: trio.CancelScope) -> None:
    await server.drain()
    end.cancel()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return ssl_context(settings.tls_certificate, settings.tls_key)
    except TlsError as error:
        raise StartError(str(error)) from error


async def listen(
    server: Server,
    accepting: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections for a server until ``accepting`` is cancelled; report (host, port).

    Raises:
        StartError: The address cannot be listened on.
    """
    settings = server.services.settings
    tls = _tls(settings)
    try:
        listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as error:
        raise StartError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another with --port"
        ) from error
    host, port = listeners[0].socket.getsockname()[:2]
    task_status.started((str(host), int(port)))
    with accepting:
        await serve_listeners(
            [
                each if tls is None else trio.SSLListener(each, tls, https_compatible=True)
                for each in listeners
            ],
            server.front_door.serve,
            handler_nursery=server.connections,
            # Room for /health, and for telling who is too many.
            max_connections=settings.max_connections + SPARE_CONNECTIONS,
        )
