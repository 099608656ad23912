"""The exchange between the market updater and the other workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from portfolio_trio.store import SharedTick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.market import PriceBook, Tick
    from portfolio_trio.store import Workers


class Exchange:
    """The market updater's link to the other workers.

    Args:
        workers: The other workers.
        book: Knows which names have no price.
    """

    def __init__(self, workers: Workers, book: PriceBook) -> None:
        self._workers = workers
        self._book = book
        self.lost: Sequence[str] = ()
        """Lost workers that may be in documents; every live worker knows that they are lost."""
        self.ticked_at = 0.0
        """When the newest tick was shared, by Trio's clock."""

    async def publish(self, tick: Tick) -> None:
        """Share a tick with all workers.

        Raises:
            StoreError: They did not get it, usually because the lease is over.
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
        """Announce that every session is valued at the tick, and that no document lists lost workers.

        Raises:
            StoreError: It could not be announced.
        """
        await self._workers.announce_sweep(tick.tick_id)
        if lost:
            await self._workers.forget(lost)
