"""The top of the program: which part owns which nursery, and in which order they end.

| open_server      the store's connection, the price book, the other workers, the sockets
| ├─ membership    this worker among the others; updates the market while it leads
| ├─ publisher, peer subscriber
| │                the messages between workers
| ├─ keepalive     pings all sockets
| └─ connections   one child per socket; a child's failure ends that child only
"""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio import __version__
from portfolio_trio.access import OriginRefused, RateLimit, Refused, counted_as, first_message
from portfolio_trio.escaping import echo
from portfolio_trio.http import HttpServer, accept_websocket
from portfolio_trio.log_throttle import Seldom
from portfolio_trio.protocol.codes import CloseCode
from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.server.assembly import assemble
from portfolio_trio.server.entrance import open_gate
from portfolio_trio.server.readings import take_readings
from portfolio_trio.server.ready_route import ReadyRoute
from portfolio_trio.server.routes import routes
from portfolio_trio.server.startup import open_book, open_metrics, open_store, open_workers, settle_holdings
from portfolio_trio.session.connection import Session
from portfolio_trio.store import StoreError
from portfolio_trio.supervisor.listeners import StartError
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from portfolio_trio.access import Slots
    from portfolio_trio.http import Upgrade, WebSocketTransport
    from portfolio_trio.market import PriceSource
    from portfolio_trio.market.updater import MarketUpdater
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.peers.membership import Membership
    from portfolio_trio.protocol.requests import Authenticate
    from portfolio_trio.redis import EmbeddedServer, RedisClient, ServerFacts
    from portfolio_trio.session.services import Services
    from portfolio_trio.settings import Settings
    from portfolio_trio.telemetry import Readings, Telemetry

log: Final = logging.getLogger(__name__)
access_log: Final = logging.getLogger("portfolio_trio.access_log")

# Seconds between log lines about refused clients, which keep retrying.
REFUSED_LOG_SECONDS: Final = 10.0
# Seconds for all sockets together to close, once nothing is running.
GOODBYE_SECONDS: Final = 8.0
# Seconds for the ends of runs on other workers, cancelled at the same time, to arrive.
PEERS_SECONDS: Final = 3.0
# Seconds to close a socket that came too late.
CLOSE_SECONDS: Final = 2.0

# A client needs few control frames and fragments, but they are cheap to send: if sockets could send as many
# of them as requests, they could keep the process busy permanently.
FRAMES_PER_REQUEST: Final = 0.1


class Server:
    """One running server without its listeners: serves accepted streams.

    Attributes:
        services: The services that its sessions share.
        engine: The Redis it uses, as found at the start.
        http_server: Serves accepted streams, of sockets or in memory.
        updater: Updates the market while this worker leads.
        membership: This worker's membership among those on the same store.
        connections: The nursery of everything caused by clients; the task of each socket is its child.
    """

    def __init__(
        self,
        services: Services,
        updater: MarketUpdater,
        membership: Membership,
        redis: RedisClient,
        connections: trio.Nursery,
        *,
        engine: ServerFacts,
    ) -> None:
        self.services = services
        self.engine = engine
        self.updater = updater
        self.membership = membership
        self.connections = connections
        self.gate = open_gate(services.settings, services.now)
        self.http_server = HttpServer(
            routes=routes(services, self.gate, ReadyRoute(services, redis, lambda: self._leaving)),
            websocket=self._welcome,
            header_seconds=services.settings.header_seconds,
        )
        self._redis = redis
        self._refused_log = Seldom(log, seconds=REFUSED_LOG_SECONDS, clock=trio.current_time)
        self._sessions: dict[Session, None] = {}
        # Every admitted upgrade, from before its 101 to its close, by its slots; with the scope of its wait
        # for a token, if it waits for one.
        self._sockets: dict[Slots, trio.CancelScope | None] = {}
        self._emptied = trio.Event()
        # From the notice on no new client is admitted; the drain ends the existing ones.
        self._leaving = False
        self._draining = False

    def readings(self) -> Readings:
        """The current readings."""
        return take_readings(self.services, self.updater, self.membership, self._redis, len(self._sessions))

    async def give_notice(self) -> None:
        """For ``drain_notice_seconds``, be not ready and refuse new sockets while the port stays open.

        A load balancer sees this and sends clients elsewhere. Analyses on open sockets continue.
        """
        self._leaving = True
        seconds = self.services.settings.drain_notice_seconds
        if seconds:
            log.info(
                "no longer ready; the port stays open for some seconds",
                extra={"event": "drain_notice", "seconds": seconds},
            )
            await trio.sleep(seconds)

    async def drain(self) -> None:
        """Let running analyses finish for ``drain_seconds``, then close every socket with 1001.

        From the start on no new session is opened, so the existing ones are all there are.
        """
        self._leaving = self._draining = True
        self.http_server.close_kept()
        for waiting in self._sockets.values():
            if waiting is not None:
                waiting.cancel()
        sessions = tuple(self._sessions)
        for session in sessions:
            session.drain()
        with trio.move_on_after(self.services.settings.drain_seconds) as limit:
            await self._each(sessions, Session.idle)
        if limit.cancelled_caught:
            log.warning(
                "analyses still running at the end of the drain were cancelled",
                extra={"event": "drain_over", "seconds": self.services.settings.drain_seconds},
            )
            await self._halt(sessions)
        with trio.move_on_after(GOODBYE_SECONDS):
            await self._each(sessions, Session.close_going_away)
            if self._sockets:
                await self._emptied.wait()

    async def _halt(self, sessions: Sequence[Session]) -> None:
        """Cancel all runs; workers that drain together inform each other's subscribers."""
        with trio.move_on_after(PEERS_SECONDS):
            await self._each(sessions, Session.halt)
            await self._each(sessions, Session.idle)

    async def _each(self, sessions: Sequence[Session], act: Callable[[Session], Awaitable[None]]) -> None:
        """Do the same for all of them concurrently."""

        async def carry_out(session: Session) -> None:
            # An error of one socket must not end the drain of all.
            with self.services.faults.contained("the drain", instead=session.fail):
                await act(session)

        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(carry_out, session)

    async def _welcome(self, upgrade: Upgrade) -> None:
        """Serve one upgrade to its end.

        Its socket lives in this function and in as few others as possible: each has a frame in memory.
        """
        slots = await self._admit(upgrade)
        if slots is None:
            return
        settings = self.services.settings
        frames = RateLimit(
            settings.requests_per_second * FRAMES_PER_REQUEST, settings.request_burst, trio.current_time
        )
        self._sockets[slots] = None
        try:
            async with accept_websocket(
                upgrade,
                subprotocol=SUBPROTOCOL if SUBPROTOCOL in upgrade.subprotocols else None,
                max_message_bytes=settings.max_message_bytes,
                grant_frame=frames.grant,
            ) as transport:
                began, session = self._opened(transport), None
                try:
                    session = await self._open_session(transport, upgrade, slots)
                    if session is not None:
                        # No checkpoint from here to its first wait, so that every listed connection can be
                        # drained.
                        self._sessions[session] = None
                        await session.run()
                finally:
                    if session is not None:
                        del self._sessions[session]
                    self._closed(transport, upgrade, began)
                self._leave(slots)
        finally:
            self._leave(slots)
            slots.leave()

    async def _admit(self, upgrade: Upgrade) -> Slots | None:
        """The slots of a client that may connect; None if it was refused."""
        if self._leaving:
            self.services.telemetry.connection_refused("draining")
            await upgrade.reject(503, "draining", "The server is going away; connect again.", retry_after=1)
            return None
        try:
            slots = self.gate.admit(upgrade)
        except Refused as refused:
            self.services.telemetry.connection_refused(refused.code)
            if not isinstance(refused, OriginRefused):
                # For a page the gate has already logged it, and how to permit it.
                self._refused_log.warning(
                    "a connection was refused",
                    extra={
                        "event": "connection_refused",
                        "code": refused.code,
                        "status": refused.status,
                        "reason": refused.detail,
                    },
                    alike=refused.code,
                )
            await upgrade.reject(
                refused.status,
                refused.code,
                refused.detail,
                retry_after=refused.retry_after,
                headers=refused.headers,
            )
            return None
        if upgrade.subprotocols and SUBPROTOCOL not in upgrade.subprotocols:
            offered = echo(", ".join(upgrade.subprotocols))
            log.debug(
                "unknown subprotocol; the client gets answers but no events",
                extra={"event": "subprotocol_unknown", "offered": offered},
            )
        return slots

    def _opened(self, transport: WebSocketTransport) -> float:
        self.services.telemetry.connection_opened("answers" if transport.subprotocol is None else "events")
        return trio.current_time()

    def _closed(self, transport: WebSocketTransport, upgrade: Upgrade, began: float) -> None:
        self.services.telemetry.connection_closed(transport.close_code)
        access_log.debug(
            "a socket closed",
            extra={
                "event": "socket_closed",
                "session": upgrade.session_id,
                "code": int(transport.close_code),
                "peer": upgrade.peer,
                "seconds": round(trio.current_time() - began, 3),
            },
        )

    async def _open_session(
        self, transport: WebSocketTransport, upgrade: Upgrade, slots: Slots
    ) -> Session | None:
        """The session of a socket; None if its client has no token, or the server is going away."""
        first = None
        if self.gate.asks_for_token(upgrade) and not self._draining:
            with trio.CancelScope() as waiting:
                self._sockets[slots] = waiting
                first = await self._authenticate(transport, upgrade.session_id, slots)
            self._sockets[slots] = None
            if first is None and not self._draining:
                return None
        if self._draining:
            # The drain began while its 101 or its token was in flight, and does not know it.
            await transport.close(CloseCode.GOING_AWAY, self.services.goodbye(), timeout=CLOSE_SECONDS)
            return None
        count_new = partial(self.gate.new_by_socket.check, upgrade.peer)
        return Session(
            self.services,
            upgrade.session_id,
            transport,
            count_new=count_new,
            address=counted_as(upgrade.peer),
            first=first,
        )

    async def _authenticate(
        self, transport: WebSocketTransport, session_id: str, slots: Slots
    ) -> Authenticate | None:
        """Receive the first message, which must open the session; else close the socket and return None."""
        try:
            first = await first_message(transport, timeout=self.services.settings.auth_seconds)
            self.gate.join(slots, session_id, first.token.get_secret_value())
        except Refused as refused:
            await transport.close(refused.close_code, refused.close_reason)
            return None
        return first

    def _leave(self, slots: Slots) -> None:
        """Record that a socket has closed; no effect the second time."""
        self._sockets.pop(slots, None)
        if self._draining and not self._sockets:
            self._emptied.set()


@asynccontextmanager
async def open_server(
    settings: Settings,
    *,
    metrics: MetricRegistry | None = None,
    source: PriceSource | None = None,
    now: Callable[[], float] = time.time,
    rng: random.Random | None = None,
    embedded: EmbeddedServer | None = None,
    telemetry: Telemetry = OFF,
) -> AsyncGenerator[Server]:
    """Run a server for the length of the block: store, prices and market are up when it begins.

    Args:
        settings: Every setting.
        metrics: The metrics of a run; by default the five and those of installed plug-ins.
        source: The price source; by default that of ``settings.prices``.
        now: Wall clock, seconds since the epoch.
        rng: Source of artificial delays.
        embedded: The engine for ``embedded://``, so that several servers can share it; by default a new one.
        telemetry: Counts events.

    Raises:
        StartError: The store or the prices cannot be used; nothing was started.
    """
    worker = secrets.token_hex(6)
    async with open_store(settings, worker, now, embedded, telemetry) as (engine, redis, store):
        book = await open_book(settings, source, now)
        settings = settle_holdings(settings, book)
        workers = open_workers(settings, redis, worker, book.market_name, telemetry)
        metrics = open_metrics() if metrics is None else metrics
        parts = assemble(
            settings, store, book, workers, metrics=metrics, now=now, rng=rng, telemetry=telemetry
        )
        services = parts.services
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parts.publisher.run)
            nursery.start_soon(services.keep_alive.run)
            await nursery.start(services.peer_subscriber.run)
            await _enter(parts.membership, nursery)
            async with trio.open_nursery() as connections:
                server = Server(services, parts.updater, parts.membership, redis, connections, engine=engine)
                telemetry.described(version=__version__, engine=engine.name, redis=engine.version or "")
                telemetry.watched(server.readings)
                yield server
                connections.cancel_scope.cancel()
            await parts.membership.retire()
            nursery.cancel_scope.cancel()


async def _enter(membership: Membership, nursery: trio.Nursery) -> None:
    try:
        await membership.join()
        await nursery.start(membership.run)
    except StoreError as error:
        raise StartError(f"the store cannot be used: {error}") from error
