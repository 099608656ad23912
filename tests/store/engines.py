"""A store over one engine, and what the tests of all engines share."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, all_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pydantic import JsonValue

    from portfolio_trio.redis import RedisClient

AT: Final = "2026-11-22T10:00:00.000Z"
LATER: Final = "2026-11-22T10:00:07.500Z"
TTL: Final = 86_400
# Larger than any count, and exact in Lua.
MANY: Final = 2**53
HOLDINGS: Final[Mapping[str, float]] = {"AAPL": 100, "GOOGL": 50, "MSFT": 75}
PRICES: Final[Mapping[str, float]] = {"AAPL": 190.5, "GOOGL": 140.25, "MSFT": 410.0, "TSLA": 250.125}


@dataclass(frozen=True)
class FakeTick:
    tick_id: int
    as_of: str = "2026-11-22T09:59:30.000Z"
    prices: Mapping[str, float] = field(default_factory=lambda: PRICES)


TICK: Final = FakeTick(1)


def result(number: int, run_id: int = 1, ticker: str = "AAPL") -> str:
    head = f'{{"ticker":"{ticker}","metric":"m{number}","value":{number}.5'
    return f'{head},"timestamp":"{AT}","run_id":{run_id}}}'


async def stored_results(
    store: PortfolioStore, session_id: str, *, ticker: str | None = None, limit: int = MANY
) -> list[dict[str, JsonValue]]:
    """The results in a document, oldest first."""
    page = await store.newest_results(session_id, ticker=ticker, limit=limit, max_bytes=MANY)
    return list(page.results)


class Opened:
    """A client and a store over it."""

    def __init__(self, client: RedisClient, store: PortfolioStore) -> None:
        self.client = client
        self.store = store

    async def create(self, session_id: str = "s", holdings: Mapping[str, float] = HOLDINGS) -> None:
        portfolio = await self.store.open_session(session_id, holdings=holdings, tick=TICK, at=AT)
        assert portfolio.created


@dataclass(frozen=True)
class Engine:
    name: str
    url: str

    @asynccontextmanager
    async def opened(
        self,
        *,
        max_results: int = 1000,
        max_results_bytes: int = 1_048_576,
        max_holdings: int = 500,
        wall_clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[Opened]:
        """An empty database."""
        async with open_redis(self.url, scripts=all_scripts(), wall_clock=wall_clock) as client:
            await client.flushdb()
            store = PortfolioStore(
                client,
                ttl_seconds=TTL,
                max_results=max_results,
                max_results_bytes=max_results_bytes,
                max_holdings=max_holdings,
            )
            yield Opened(client, store)
            # Replies to cancelled calls are still on the way; asyncio's Unix sockets do not like to be closed
            # in the middle of one.
            await client.ping()
