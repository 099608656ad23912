"""Opening what a server stands on: its store, its prices, its metrics."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from portfolio_trio.listening import StartError
from portfolio_trio.local_redis import LocalRedisError, at_hand
from portfolio_trio.market import MarketError, PriceBook, open_price_source
from portfolio_trio.metrics import PluginError, installed_metrics
from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, ScriptsNotFound, StoreError, all_scripts, check_engine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from portfolio_trio.market import PriceSource
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.redis import EmbeddedServer, RedisClient
    from portfolio_trio.settings import Settings


def open_metrics() -> MetricRegistry:
    """The five metrics and those of installed plug-ins.

    Raises:
        StartError: A plug-in cannot be used.
    """
    try:
        return installed_metrics()
    except PluginError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def open_store(
    settings: Settings, worker: str, now: Callable[[], float], embedded: EmbeddedServer | None = None
) -> AsyncGenerator[tuple[RedisClient, PortfolioStore]]:
    """The connection to Redis and the documents there, for the length of the block.

    Args:
        settings: Say where, and how long sessions live.
        worker: The name of this process among those on the same Redis.
        now: Wall clock, seconds since the epoch.
        embedded: What ``embedded://`` stands for; by default a new one.

    Raises:
        StartError: There is no Redis that would do.
    """
    opening = True
    try:
        async with (
            at_hand(settings.redis_url.get_secret_value()) as url,
            open_redis(
                url,
                scripts=all_scripts(),
                reply_timeout=settings.redis_timeout_seconds,
                connect_timeout=settings.redis_timeout_seconds,
                wall_clock=now,
                server=embedded,
            ) as redis,
        ):
            await check_engine(redis)
            opening = False
            yield (
                redis,
                PortfolioStore(
                    redis,
                    ttl_seconds=settings.session_ttl_seconds,
                    max_results=settings.max_results,
                    worker=worker,
                ),
            )
    except (LocalRedisError, RedisError, StoreError, ScriptsNotFound, ValueError) as error:
        if not opening:
            raise
        raise StartError(f"the store cannot be used: {error}") from error


async def open_book(settings: Settings, source: PriceSource | None, now: Callable[[], float]) -> PriceBook:
    """The prices, with a first tick.

    Args:
        settings: Say where they come from, and what has to have a price.
        source: Takes the place of the settings' source.
        now: Wall clock, seconds since the epoch.

    Raises:
        StartError: There are no prices, or not for the default holdings.
    """
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
