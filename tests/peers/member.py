"""One member in virtual time, with a scripted Redis and audience."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from portfolio_trio.faults import Faults
from portfolio_trio.market import PriceBook, Tick
from portfolio_trio.market.updater import MarketUpdater
from portfolio_trio.peers.membership import MARGIN, WORKER_TTL_SECONDS, Membership
from portfolio_trio.peers.tick_exchange import Exchange
from portfolio_trio.redis import Message, Subscription
from portfolio_trio.store import TICKS, Heartbeat, SharedTick, StoreError
from tests.market.fakes import ScriptedSource
from tests.support.clock import START, virtual_wall_time

INTERVAL = 30.0
LEASE = 8.0
HEARTBEAT = LEASE / 4
# What is left of a lease once it is counted from the asking, with its margin.
USABLE = LEASE * (1 - MARGIN)
START_ID = int(START * 1000)


class FakeWorkers:
    """Redis as seen by this worker: the answers to heartbeats, the shared tick, the calls made."""

    me = "me"
    ttl = WORKER_TTL_SECONDS
    lease = LEASE

    def __init__(self) -> None:
        self.leads = True
        self.known = True
        self.lost: tuple[str, ...] = ()
        self.tick: SharedTick | None = None
        self.heartbeat_error: StoreError | None = None
        self.publish_errors: list[StoreError] = []
        self.read_error: StoreError | None = None
        self.seconds = 0.0
        """How long a heartbeat and a retirement take; infinity: Redis does not answer."""
        self.heartbeats: list[float] = []
        self.published: list[SharedTick] = []
        self.swept: list[int] = []
        self.forgotten: list[str] = []
        self.retired = 0
        self.heard = Subscription(100)

    async def heartbeat(self) -> Heartbeat:
        self.heartbeats.append(trio.current_time())
        await trio.sleep(self.seconds)
        if self.heartbeat_error is not None:
            raise self.heartbeat_error
        return Heartbeat(self.leads, self.known, None if self.tick is None else self.tick.tick_id, self.lost)

    async def publish_tick(self, tick: SharedTick) -> None:
        await trio.lowlevel.checkpoint()
        if self.publish_errors:
            raise self.publish_errors.pop(0)
        self.published.append(tick)
        self.tick = tick
        self.say(TICKS, b"%d" % tick.tick_id)

    async def read_tick(self) -> SharedTick | None:
        await trio.lowlevel.checkpoint()
        if self.read_error is not None:
            raise self.read_error
        return self.tick

    async def announce_sweep(self, tick_id: int) -> None:
        await trio.lowlevel.checkpoint()
        self.swept.append(tick_id)

    async def forget(self, lost: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten += lost
        self.lost = tuple(name for name in self.lost if name not in lost)

    async def retire(self) -> None:
        await trio.sleep(self.seconds)
        if self.heartbeat_error is not None:
            raise self.heartbeat_error
        self.retired += 1

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Subscription]:
        await trio.lowlevel.checkpoint()
        yield self.heard

    def say(self, channel: str, data: bytes) -> None:
        self.heard.put(Message(channel.encode(), data))

    def tick_elsewhere(self, price: float, tick_id: int | None = None) -> SharedTick:
        """Another worker publishes a tick."""
        number = int(virtual_wall_time() * 1000) if tick_id is None else tick_id
        self.tick = SharedTick(number, "then", stale=False, prices={"AAPL": price})
        self.say(TICKS, b"%d" % number)
        return self.tick


@dataclass
class Report:
    reasons = ""

    revalued: int = 1
    errors: int = 0
    unpriced_names: int = 0
    held: frozenset[str] | None = None


@dataclass
class Crowd:
    """The ledger, the audience and the listener, which keep what they are told."""

    sweep_seconds: float = 0.0
    ticked_ids: list[int] = field(default_factory=list)
    swept_ids: list[int] = field(default_factory=list)
    buried: list[tuple[str, ...]] = field(default_factory=list)
    sweeps: list[tuple[str, float]] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    missed: int = 0
    reported_lost: list[str] = field(default_factory=list)

    async def revalue_all(
        self,
        tick: Tick,
        *,
        price_lookup: Callable[[Iterable[str]], Mapping[str, float]],
        lost: Sequence[str],
    ) -> Report:
        assert price_lookup(tick.prices) == tick.prices
        self.buried.append(tuple(lost))
        try:
            await trio.sleep(self.sweep_seconds)
        except trio.Cancelled:
            self.sweeps.append(("cancelled", trio.current_time()))
            raise
        self.sweeps.append(("done", trio.current_time()))
        return Report()

    async def ticked(self, tick: Tick) -> None:
        await trio.lowlevel.checkpoint()
        self.ticked_ids.append(tick.tick_id)

    async def swept(self, tick: Tick) -> None:
        await trio.lowlevel.checkpoint()
        self.swept_ids.append(tick.tick_id)

    def receive(self, text: bytes) -> None:
        self.batches.append(text)

    def miss(self) -> None:
        self.missed += 1

    def on_workers_lost(self, lost: Iterable[str]) -> None:
        self.reported_lost += lost


class Member:
    """A membership and everything around it."""

    def __init__(self) -> None:
        self.workers = FakeWorkers()
        self.source = ScriptedSource(AAPL=1.0, MSFT=2.0)
        self.book = PriceBook(self.source, now=virtual_wall_time)
        self.crowd = Crowd()
        workers: Any = self.workers  # stands for what asks Redis
        self.exchange = Exchange(workers, self.book)
        self.faults = Faults()
        updater = MarketUpdater(
            self.book,
            self.crowd,
            self.exchange,
            self.crowd,
            interval=INTERVAL,
            failures=(StoreError,),
            faults=self.faults,
        )
        self.membership = Membership(
            workers,
            self.book,
            updater,
            exchange=self.exchange,
            audience=self.crowd,
            listener=self.crowd,
            interval=INTERVAL,
            faults=self.faults,
        )

    @property
    def leads(self) -> bool:
        return self.membership.leads

    @property
    def price(self) -> float:
        return self.book.current.prices["AAPL"]

    def moments(self) -> list[float]:
        """When this worker published ticks, the first one included."""
        return [(tick.tick_id - START_ID) / 1000 for tick in self.workers.published]


@asynccontextmanager
async def opened(*, leads: bool = True, lease: float = LEASE) -> AsyncIterator[Member]:
    """A member from its joining to its end; a follower finds a tick of another worker."""
    member = Member()
    member.workers.leads = leads
    member.workers.lease = lease
    await member.book.open()
    if not leads:
        member.workers.tick_elsewhere(5.0, 1)
    await member.membership.join()
    async with trio.open_nursery() as nursery:
        await nursery.start(member.membership.run)
        await wait_all_tasks_blocked()
        yield member
        nursery.cancel_scope.cancel()
