"""The server with a new tick for each analysis, or with none.

The tick is one of two that are ready, under a new number: an analysis costs what the first one after a tick
does, without what a tick costs all sessions together.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

import trio
from _portfolios import WIDE_MARKET

from portfolio_trio.cli.worker import settle
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings

if TYPE_CHECKING:
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.services import Services
    from portfolio_trio.session.snapshot import Snapshot
    from portfolio_trio.store import Head


async def tick_with_each(services: Services) -> None:
    """From now on the market makes a tick before each snapshot."""
    book, take = services.book, services.snapshots.take
    columns, ready = book._columns, []  # noqa: SLF001 - a tick without the work that all sessions share
    for _ in range(2):
        tick = await book.advance()
        _ = book.column_prices
        ready.append((tick, columns._ordered))  # noqa: SLF001
    ticks = cycle(ready)

    def take_at_new_tick(request: Analyze, head: Head, run_id: int) -> Snapshot:
        tick, columns._ordered = next(ticks)  # noqa: SLF001
        book._tick = replace(tick, tick_id=book.current.tick_id + 1)  # noqa: SLF001
        return take(request, head, run_id)

    services.snapshots.take = take_at_new_tick  # type: ignore[method-assign] # for this process


async def main(port: int, redis_url: str, *, ticking: bool) -> None:
    """Serve until the process ends."""
    flags = ["--port", str(port), "--redis-url", redis_url, "--market-update-interval-seconds", "3600"]
    async with (
        open_server(Settings.read(flags), metrics=BUILT_IN) as server,
        trio.open_nursery() as nursery,
    ):
        server.services.book.keep(WIDE_MARKET)
        server.services.book.prices_for(WIDE_MARKET)
        if ticking:
            await tick_with_each(server.services)
        await nursery.start(partial(listen, server, trio.CancelScope()))
        settle()
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--ticking", action="store_true", help="a tick for each analysis")
    words = parser.parse_args()
    trio.run(partial(main, words.port, words.redis_url, ticking=words.ticking))
