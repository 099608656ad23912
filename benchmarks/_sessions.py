"""Sessions for market sweeps: their ids and holdings."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.market import Tick
from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, all_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = [f"N{number:02d}" for number in range(30)]
HELD: Final = 10
AS_OF: Final = "2026-11-22T09:30:00.125Z"
_AT_ONCE: Final = 64


def ticks() -> Iterator[Tick]:
    """Ticks one after another, each with its own prices."""
    for number in itertools.count(1_000):
        prices = {name: 100 + 10 * math.sin(number + place) for place, name in enumerate(NAMES)}
        yield Tick(number, AS_OF, prices)


def session_id(number: int) -> str:
    """The name of one."""
    return f"session-{number:06d}"


def holdings(number: int, held: int = HELD) -> dict[str, float]:
    """The holdings of one session: a number of names, starting at a different one for each."""
    return {NAMES[(number + step) % len(NAMES)]: 10.0 + (number + step) % 90 for step in range(held)}


async def fill(url: str, sessions: int, tick: Tick, held: int = HELD) -> None:
    """Create a number of sessions."""
    async with open_redis(url, scripts=all_scripts()) as client:
        store = PortfolioStore(client)
        numbers = iter(range(sessions))

        async def work() -> None:
            for number in numbers:
                await store.open_session(
                    session_id(number), holdings=holdings(number, held), tick=tick, at=AS_OF
                )

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(work)
