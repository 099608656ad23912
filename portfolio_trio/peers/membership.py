"""One worker among others: it sends heartbeats, and leads the market while it holds the lease.

| Membership.run
| ├─ heartbeat  keeps this worker alive; renews or takes the lease
| ├─ lead       the market updater, in a scope whose deadline is the end of the lease
| ├─ follow     adopts each tick that another worker has published
| └─ listen     receives ticks, sweeps and batches
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.log_throttle import Lasting, Seldom
from portfolio_trio.market import Tick
from portfolio_trio.redis import Missed
from portfolio_trio.store import (
    SWEPT,
    TICKS,
    NotUpdater,
    OtherSource,
    StoreError,
    StoreUnavailable,
    TickStale,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portfolio_trio.faults import Faults
    from portfolio_trio.market import PriceBook
    from portfolio_trio.market.updater import Audience, MarketUpdater
    from portfolio_trio.peers.tick_exchange import Exchange
    from portfolio_trio.redis import Message
    from portfolio_trio.store import Heartbeat, Workers

log: Final = logging.getLogger(__name__)

WORKER_TTL_SECONDS: Final = 10.0
"""Seconds that a worker without heartbeats counts as alive."""

RETIRE_SECONDS: Final = 2.0
# A lease, or a worker's time to live, in heartbeats.
HEARTBEATS_PER_TTL: Final = 4
# The fraction of a lease that is left unused, for clocks that run at different speeds.
MARGIN: Final = 0.1
SHORTEST_LEASE: Final = 1.0


def lease_seconds(interval: float) -> float:
    """How long a lease lasts without a heartbeat, if a tick is due every ``interval`` seconds.

    Half of the interval, so that another worker takes over before the second tick would be missed; within
    bounds that heartbeats can meet.
    """
    return min(WORKER_TTL_SECONDS, max(interval / 2, SHORTEST_LEASE))


class Listener(Protocol):
    """The listener to messages of the other workers."""

    def receive(self, text: bytes) -> None:
        """A batch has arrived."""

    def miss(self) -> None:
        """Batches may have been lost, or this worker may have been considered lost."""

    def on_workers_lost(self, lost: Iterable[str]) -> None:
        """Workers are lost."""


class Membership:
    """Keeps this worker alive for the others, and leads while it holds the lease.

    Args:
        workers: The other workers.
        book: The prices; written by the updater while this worker leads, and from here while it follows.
        updater: Ticks and sweeps while this worker leads.
        exchange: Receives the lost workers.
        audience: Notified of ticks that others publish.
        listener: Receives messages of the other workers.
        interval: Seconds between ticks.
        faults: Contains errors of one message, one heartbeat or one tick.
    """

    def __init__(
        self,
        workers: Workers,
        book: PriceBook,
        updater: MarketUpdater,
        *,
        exchange: Exchange,
        audience: Audience,
        listener: Listener,
        interval: float,
        faults: Faults,
    ) -> None:
        self._workers = workers
        self._book = book
        self._updater = updater
        self._exchange = exchange
        self._audience = audience
        self._listener = listener
        self._interval = interval
        self._faults = faults
        self._lease: trio.CancelScope | None = None
        self._lease_until = 0.0
        self._elected = trio.Event()
        self._heartbeat_scope = trio.CancelScope()
        self._lost_at: dict[str, float] = {}
        self._hinted = trio.Event()
        self._swept = b""
        self._store_log = Lasting(log, clock=trio.current_time)
        self._source_log = Lasting(log, clock=trio.current_time)
        self._tick_log = Seldom(log, clock=trio.current_time)

    @property
    def leads(self) -> bool:
        """Whether this worker updates the market."""
        return self._lease is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a member until cancelled, after `join`; started when it is subscribed to the others.

        Raises:
            StoreError: It is not possible to subscribe.
        """
        async with self._workers.listen() as heard, trio.open_nursery() as nursery:
            nursery.start_soon(self._heartbeat_forever)
            nursery.start_soon(self._lead_when_elected)
            nursery.start_soon(self._follow)
            # Read what was published between joining and listening.
            self._hinted.set()
            task_status.started()
            async for message in heard:
                # An error of one message must not affect the next; the documents have its content as well.
                with self._faults.contained("a message", instead=self._listener.miss):
                    self._hear(message)

    def _hear(self, message: Message | Missed) -> None:
        if isinstance(message, Missed):
            self._listener.miss()
            self._hinted.set()
        elif message.channel == TICKS.encode():
            self._hinted.set()
        elif message.channel == SWEPT.encode():
            self._swept = message.data
            self._hinted.set()
        else:
            self._listener.receive(message.data)

    async def join(self) -> None:
        """Become a member: adopt the newest shared tick.

        Raises:
            StoreError: The store could not be used, or the other workers have other prices.
        """
        while True:
            asked = trio.current_time()
            heartbeat = await self._workers.heartbeat()
            self._take(heartbeat, asked)
            if (heartbeat.leads and await self._share()) or await self._adopt():
                return
            # Another worker leads and has not published yet; if it died, its lease will end.
            await trio.sleep(self._heartbeat_seconds)

    async def retire(self) -> None:
        """Give up the lease, and let others clean up after this worker; bounded by `RETIRE_SECONDS`."""
        # Another heartbeat would make it alive again.
        self._heartbeat_scope.cancel()
        with trio.move_on_after(RETIRE_SECONDS, shield=True):
            try:
                await self._workers.retire()
            except StoreError as error:
                # The others will notice by themselves.
                log.info(
                    "the other workers could not be told that this one ends; they will notice by themselves",
                    extra={"event": "retire_untold", "error": str(error)},
                )

    # --- heartbeats ---

    @property
    def _heartbeat_seconds(self) -> float:
        return min(self._workers.ttl, self._workers.lease) / HEARTBEATS_PER_TTL

    async def _heartbeat_forever(self) -> None:
        with self._heartbeat_scope:
            while True:
                await trio.sleep(self._heartbeat_seconds)
                # An error of one heartbeat must not stop the next, without which this worker counts as lost.
                with self._faults.contained("a heartbeat"):
                    await self._heartbeat()

    async def _heartbeat(self) -> None:
        asked = trio.current_time()
        try:
            heartbeat = await self._workers.heartbeat()
        except StoreError as error:
            self._complain(error)
            return
        self._store_log.ends("the store is back", extra={"event": "store_back"})
        self._source_log.ends("the other workers have the same prices again", extra={"event": "same_prices"})
        self._take(heartbeat, asked)
        self._listener.on_workers_lost(heartbeat.lost)
        if not heartbeat.known:
            log.warning(
                "the other workers considered this one lost; it reads every document again",
                extra={"event": "worker_given_up"},
            )
            self._listener.miss()
        if heartbeat.tick_id is not None and heartbeat.tick_id > self._book.current.tick_id:
            self._hinted.set()

    def _take(self, heartbeat: Heartbeat, asked: float) -> None:
        self._count(heartbeat.lost)
        if heartbeat.leads:
            # Taken before the call: the server's lease began later, and so ends later.
            self._lease_until = asked + self._workers.lease * (1 - MARGIN)
            if self._lease is not None:
                self._lease.deadline = self._lease_until
            else:
                self._elected.set()
        elif self._lease is not None:
            self._lease.cancel()

    def _complain(self, error: StoreError) -> None:
        if isinstance(error, OtherSource):
            # This answer shows that the store is reachable.
            self._store_log.ends("the store is back", extra={"event": "store_back"})
            self._source_log.begins(
                "the other workers use other prices: start all of them with the same ones",
                extra={"event": "other_prices", "error": str(error)},
                level=logging.ERROR,
            )
        else:
            self._store_log.begins(
                "the store cannot be reached; requests that need it get an error until it is back",
                extra={"event": "store_lost", "error": str(error)},
            )

    def _count(self, lost: Sequence[str]) -> None:
        """Have lost workers cleaned up and forgotten once every live worker knows about them."""
        now = trio.current_time()
        self._lost_at = {name: self._lost_at.get(name, now) for name in lost}
        # Within that time every worker sends a heartbeat, or is considered lost and reads every document
        # again.
        heard = now - self._workers.ttl
        self._exchange.lost = [name for name, lost_at in self._lost_at.items() if lost_at <= heard]

    # --- leading ---

    async def _lead_when_elected(self) -> None:
        while True:
            await self._elected.wait()
            self._elected = trio.Event()
            if self._lease_until <= trio.current_time():
                # The answer with the lease came so late that the lease is over; the next heartbeat may renew
                # it.
                continue
            log.info("this worker now updates the market", extra={"event": "leader_began"})
            # An error in one term must not prevent the next: while the lease is held, a heartbeat starts
            # another.
            with (
                self._faults.contained("the lead"),
                trio.CancelScope(deadline=self._lease_until) as self._lease,
            ):
                await self._updater.run(self._exchange.ticked_at + self._interval)
            self._lease = None
            log.warning(
                "the lease of the market is over; another worker may update the market",
                extra={"event": "leader_ended"},
            )

    async def _share(self) -> bool:
        """Share this worker's first tick; False if it may not, or there is a newer one."""
        try:
            await self._book.share(self._exchange.publish)
        except (NotUpdater, TickStale):
            return False
        return True

    # --- following ---

    async def _follow(self) -> None:
        while True:
            await self._hinted.wait()
            self._hinted = trio.Event()
            # An error of one tick must not affect the next.
            with self._faults.contained("a followed tick"):
                await self._take_newest()

    async def _take_newest(self) -> None:
        try:
            await self._adopt()
            if self._swept == b"%d" % self._book.current.tick_id:
                self._swept = b""
                await self._audience.swept(self._book.current)
        except StoreUnavailable:
            # The client reconnects by itself; then a heartbeat shows the newest tick.
            return
        except StoreError as error:
            self._tick_log.warning(
                "the newest tick cannot be used; waiting for the next one",
                extra={"event": "tick_unreadable", "error": str(error)},
            )

    async def _adopt(self) -> bool:
        """Adopt the newest shared tick; returns whether there is one."""
        shared = await self._workers.read_tick()
        if shared is None:
            return False
        tick = Tick(
            shared.tick_id,
            shared.as_of,
            shared.prices,
            shared.stale,
            why=shared.why,
            last_known=shared.last_known,
            stale_prices=shared.stale_prices,
        )
        if await self._book.adopt(tick, unpriced=shared.unpriced):
            self._exchange.ticked_at = trio.current_time()
            await self._audience.ticked(self._book.current)
        return True
