"""Opening the parts a server depends on: its store, its prices, its metrics."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from portfolio_trio.local_redis import LocalRedisError, at_hand
from portfolio_trio.market import MarketError, MaxAge, PriceBook, SimulatedSource, open_price_source
from portfolio_trio.metrics import PluginError, installed_metrics
from portfolio_trio.peers.membership import WORKER_TTL_SECONDS, lease_seconds
from portfolio_trio.redis import open_redis
from portfolio_trio.store import (
    PortfolioStore,
    ScriptsNotFound,
    StoreError,
    Workers,
    all_scripts,
    check_engine,
)
from portfolio_trio.supervisor.listeners import StartError
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from portfolio_trio.market import PriceSource
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.redis import EmbeddedServer, RedisClient, ServerFacts
    from portfolio_trio.settings import Settings
    from portfolio_trio.telemetry import Telemetry

log: Final = logging.getLogger(__name__)

# The holdings of a new session if the prices have none of the usual names.
FIRST_NAMES: Final = 3
FIRST_SHARES: Final = 100.0
# The maximum number of holdings in the start-up message.
SHOWN_LINES: Final = 8


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
    settings: Settings,
    worker: str,
    now: Callable[[], float],
    embedded: EmbeddedServer | None = None,
    telemetry: Telemetry = OFF,
) -> AsyncGenerator[tuple[ServerFacts, RedisClient, PortfolioStore]]:
    """The facts of the Redis, the connection to it and its documents, for the length of the block.

    Args:
        settings: Where it is, and how long sessions live.
        worker: The name of this process among those on the same Redis.
        now: Wall clock, seconds since the epoch.
        embedded: The engine for ``embedded://``; by default a new one.
        telemetry: Counts calls and refused writes.

    Raises:
        StartError: There is no usable Redis.
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
            facts = await check_engine(redis)
            opening = False
            yield (
                facts,
                redis,
                PortfolioStore(
                    redis,
                    ttl_seconds=settings.session_ttl_seconds,
                    max_results=settings.max_results,
                    max_results_bytes=settings.max_results_bytes,
                    worker=worker,
                    telemetry=telemetry,
                ),
            )
    except (LocalRedisError, RedisError, StoreError, ScriptsNotFound, ValueError) as error:
        if not opening:
            raise
        raise StartError(f"the store cannot be used: {error}") from error


def open_workers(
    settings: Settings, redis: RedisClient, worker: str, source: str, telemetry: Telemetry
) -> Workers:
    """The other workers on the same Redis, as the worker with this name sees them.

    Args:
        settings: How often the market is updated.
        redis: The connection.
        worker: The name of this process.
        source: The name of its price source: workers with another one must not share a Redis.
        telemetry: Counts calls.
    """
    return Workers(
        redis,
        worker,
        source=source,
        ttl=WORKER_TTL_SECONDS,
        lease=lease_seconds(settings.market_update_interval_seconds),
        telemetry=telemetry,
    )


async def open_book(settings: Settings, source: PriceSource | None, now: Callable[[], float]) -> PriceBook:
    """Open the prices, with a first tick.

    Args:
        settings: Where they come from.
        source: Replaces the source of the settings.
        now: Wall clock, seconds since the epoch.

    Raises:
        StartError: There are no prices.
    """
    try:
        source = source or open_price_source(settings.prices, live_prices=settings.live_prices, now=now)
        book = PriceBook(source, now=now, cash=settings.cash, max_age=_max_age(settings, source))
        await book.open()
    except MarketError as error:
        raise StartError(f"there are no prices: {error}") from error
    return book


def settle_holdings(settings: Settings, book: PriceBook) -> Settings:
    """The settings, with default holdings that have prices; their names stay in the book.

    Holdings that are set stay unchanged. Otherwise they are those of the usual names that the source has, or
    ``FIRST_SHARES`` each of its first ``FIRST_NAMES`` names.

    Raises:
        StartError: A name that was set is unknown to the source, or the source has no price at all.
    """
    wanted = settings.default_holdings
    priced = book.prices_for(wanted)
    strangers = [ticker for ticker in wanted if ticker not in priced and ticker not in book.bars.column]
    if strangers and "default_holdings" in settings.model_fields_set:
        raise StartError(
            f"PORTFOLIO_DEFAULT_HOLDINGS: {', '.join(strangers)} has no price in {settings.prices}; "
            "choose names that the price source has"
        )
    held = {ticker: shares for ticker, shares in wanted.items() if ticker not in strangers}
    if wanted and not held:
        fresh = book.current.prices.keys() - book.current.stale_prices.keys()
        quoted = (ticker for ticker in book.bars.tickers if ticker in fresh)
        held = dict.fromkeys(islice(quoted, FIRST_NAMES), FIRST_SHARES)
        if not held:
            raise StartError(f"there are no prices: no name of {settings.prices} has one")
    book.keep(held)
    for reason in not_fresh(book, held):
        log.warning("not ready: /ready answers 503", extra={"event": "not_ready", "reason": reason})
    return settings.model_copy(update={"default_holdings": held})


def shown_holdings(holdings: Mapping[str, float]) -> str:
    """The holdings of a new session, for the start-up message."""
    lines = [f"{shares:g} {ticker}" for ticker, shares in islice(holdings.items(), SHOWN_LINES)]
    more = len(holdings) - len(lines)
    return ", ".join([*lines, *([f"and {more} more names"] if more else [])]) or "nothing"


def not_fresh(book: PriceBook, default_holdings: Mapping[str, float]) -> tuple[str, ...]:
    """Why the server is not ready, as far as prices are concerned, one sentence each."""
    fresh = book.freshness(default_holdings)
    reasons = [*book.current.why]
    if fresh.unpriced:
        names = _with_closes(fresh.unpriced)
        reasons.append(f"PORTFOLIO_DEFAULT_HOLDINGS: there is no price for {names}")
    if fresh.stale_prices:
        names = _with_closes(fresh.stale_prices)
        reasons.append(f"PORTFOLIO_DEFAULT_HOLDINGS: missing from the live prices: {names}")
    return tuple(reasons)


def _with_closes(names: Mapping[str, str | None]) -> str:
    return ", ".join(f"{ticker} (last close {day or 'none'})" for ticker, day in names.items())


def _max_age(settings: Settings, source: PriceSource) -> MaxAge:
    if isinstance(source, SimulatedSource):
        # Its last bar has a fixed date, so that every process makes up the same history.
        return MaxAge()
    return MaxAge(bar_days=settings.max_bar_age_days, price_seconds=settings.max_price_age_seconds)
