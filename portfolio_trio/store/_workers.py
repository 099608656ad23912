"""What workers on one Redis know of each other: which are alive, which updates the market, the newest tick.

They use the clock of the Redis server: no worker's own clock decides which workers are alive.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from portfolio_trio.store._calls import Timed, translated
from portfolio_trio.store.errors import NotUpdater, OtherSource, StoreError, TickStale
from portfolio_trio.store.models import Heartbeat, SharedTick
from portfolio_trio.store.scripts import script
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from portfolio_trio.redis import RedisClient, Subscription
    from portfolio_trio.telemetry import Telemetry

# Both in one slot of a cluster, so that one script sees the lease and the tick.
_WORKERS: Final = "portfolio-workers:{market}"
_TICK: Final = "portfolio-tick:{market}"
_INBOX: Final = "portfolio-inbox:"

TICKS: Final = "portfolio-ticks"
"""The channel of ticks: publishes the ``tick_id`` of each new tick."""

SWEPT: Final = "portfolio-swept"
"""The channel of sweeps: publishes a ``tick_id`` when every session is valued at that tick."""

_SHARED: Final = TypeAdapter(SharedTick)


class Workers:
    """The other workers, from the point of view of one. Every method may raise `StoreError`.

    Args:
        client: The way to Redis.
        me: The name of this worker, of letters and digits.
        source: The name of its prices; all workers on one Redis have the same.
        ttl: Seconds for which a worker counts as alive after a heartbeat.
        lease: Seconds for which the updater of the market may continue after a heartbeat.
        telemetry: Counts calls.
    """

    def __init__(
        self,
        client: RedisClient,
        me: str,
        *,
        source: str,
        ttl: float,
        lease: float,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._client = client
        self.me = me
        self._source = source
        self.ttl = ttl
        self.lease = lease
        self._telemetry = telemetry

    async def heartbeat(self) -> Heartbeat:
        """Record that this worker is alive, and renew the lease, or take it if it is free.

        Raises:
            OtherSource: Live workers have other prices.
        """
        args = (self.me, round(self.ttl * 1000), round(self.lease * 1000), self._source)
        reply = await self._run("heartbeat", [_WORKERS, _TICK], *args)
        if reply[0] == b"other_source":
            raise OtherSource(self._source, reply[1].decode())
        _, leads, known, tick_id, *lost = reply
        return Heartbeat(
            leads=leads == b"1",
            known=known == b"1",
            tick_id=int(tick_id) if tick_id else None,
            lost=tuple(name.decode() for name in lost),
        )

    async def publish_tick(self, tick: SharedTick) -> None:
        """Share a tick with all workers.

        Raises:
            NotUpdater: The lease is over.
            TickStale: There is this tick or a newer one.
        """
        text = _SHARED.dump_json(tick)
        reply = await self._run("publish_tick", [_WORKERS, _TICK], self.me, tick.tick_id, text, TICKS)
        if reply[0] == b"not_updater":
            raise NotUpdater
        if reply[0] == b"stale":
            raise TickStale(tick.tick_id, int(reply[1]))

    async def read_tick(self) -> SharedTick | None:
        """Return the newest tick that was shared; None before the first.

        Raises:
            StoreError: The stored value is not a tick.
        """
        with translated():
            text = await self._client.execute_command("HGET", _TICK, "tick")
        try:
            return None if text is None else _SHARED.validate_json(text)
        except ValidationError as error:
            raise StoreError(f"{_TICK} does not hold a tick: delete it") from error

    async def announce_sweep(self, tick_id: int) -> None:
        """Announce that every session is valued at a tick."""
        with translated():
            await self._client.execute_command("PUBLISH", SWEPT, tick_id, keys=[SWEPT])

    async def forget(self, lost: Sequence[str]) -> None:
        """Remove lost workers whose runs and sockets have been cleaned up."""
        with translated():
            await self._client.execute_command("HDEL", _WORKERS, *(f"worker:{name}" for name in lost))

    async def retire(self) -> None:
        """Remove this worker when it ends."""
        await self._run("retire", [_WORKERS], self.me)

    async def send_batch(self, worker: str, batch: str) -> bool:
        """Send a batch to the inbox of another worker. It arrives at most once.

        Returns:
            False if nobody listens. True on a cluster, where no node knows who listens on the others.
        """
        channel = _INBOX + worker
        with translated():
            # Always through the same node of a cluster, so that batches keep their order.
            heard = await self._client.execute_command("PUBLISH", channel, batch, keys=[channel])
        return heard > 0 or not self._client.many_keys

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Subscription]:
        """Listen to ticks, sweeps and this worker's inbox, for the length of the block."""
        async with AsyncExitStack() as stack:
            with translated():
                heard = await stack.enter_async_context(
                    self._client.subscribe(TICKS, SWEPT, _INBOX + self.me)
                )
            yield heard

    async def _run(self, name: str, keys: Sequence[str], *args: str | bytes | float) -> list[bytes]:
        with translated(), Timed(self._telemetry, name):
            reply: list[bytes] = await self._client.run_script(script(name), keys, args, idempotent=True)
        return reply
