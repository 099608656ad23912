"""What passes between the updater of the market and the other workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from portfolio_trio.store import SharedTick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.market import PriceBook, Tick
    from portfolio_trio.store import Workers


class Exchange:
    """The market updater's way to the other workers.

    Args:
        workers: The other workers.
        book: Knows which names have no price.
    """

    def __init__(self, workers: Workers, book: PriceBook) -> None:
        self._workers = workers
        self._book = book
        self.lost: Sequence[str] = ()
        """Lost workers that may stand in documents; every living worker knows that they are lost."""
        self.ticked_at = 0.0
        """When the newest tick was given to all, by Trio's clock."""

    async def publish(self, tick: Tick) -> None:
        """Give a tick to all workers.

        Raises:
            StoreError: It is not theirs, above all because the lease is over.
        """
        await self._workers.publish_tick(
            SharedTick(
                tick.tick_id,
                tick.as_of,
                tick.stale,
                prices=dict(tick.prices),
                unpriced=tuple(self._book.unpriced),
                why=tick.why,
                last_known=dict(tick.last_known),
                stale_prices=dict(tick.stale_prices),
            )
        )
        self.ticked_at = trio.current_time()

    async def swept(self, tick: Tick, lost: Sequence[str]) -> None:
        """Say that every session is valued at the tick, and that no document names lost workers any more.

        Raises:
            StoreError: It could not be said.
        """
        await self._workers.announce_sweep(tick.tick_id)
        if lost:
            await self._workers.forget(lost)
