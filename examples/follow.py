"""A live number instead of a single one: a run after each tick, until the block is left."""

from __future__ import annotations

from functools import partial

import trio

from portfolio_trio.client import ReceivedResult, connect
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings

RUNS = 3


async def main() -> None:
    """Start a server on a free port and connect to it."""
    settings = Settings(port=0, market_update_interval_seconds=1.0)
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        await show(f"ws://{host}:{port}/ws/example")
        nursery.cancel_scope.cancel()


async def show(url: str) -> None:
    """Print one of the five numbers of each run."""
    async with connect(url) as portfolio, portfolio.follow("AAPL") as runs:
        async for run in runs:
            risk = run.outcomes["portfolio_risk"]
            said = f"{risk.value:.4f}" if isinstance(risk, ReceivedResult) else risk.detail
            print(f"run {run.started.run_id} as of {run.started.as_of}: risk {said}")
            if run.started.run_id == RUNS:
                break


if __name__ == "__main__":
    trio.run(main)
