"""Before a trade: its effect on the risk, and the size of the position that hedges best."""

from __future__ import annotations

from functools import partial

import trio

from portfolio_trio.client import connect
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings


async def main() -> None:
    """Start a server on a free port and connect to it."""
    settings = Settings(port=0)
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        await show(f"ws://{host}:{port}/ws/example")
        nursery.cancel_scope.cancel()


async def show(url: str) -> None:
    """Sell some, buy some, and compare before and after."""
    async with connect(url) as portfolio:
        tried = await portfolio.what_if({"AAPL": -50, "TSLA": 20})
        before, after = tried.before.volatility or 0.0, tried.after.volatility or 0.0
        print(f"volatility {before:.2%} before, {after:.2%} after")
        for line in tried.holdings:
            before, after = line.before.risk or 0.0, line.after.risk or 0.0
            print(f"  {line.ticker:6} {before:7.2%} of the risk, then {after:7.2%}")
        print(f"cash {tried.cash:+,.2f}; nothing was recorded: version {portfolio.state.version}")
        hedge = (await portfolio.what_if({"MSFT": 1})).best_hedge
        if hedge is not None:
            print(f"the least risk: {hedge.shares:,.2f} shares of {hedge.ticker}")


if __name__ == "__main__":
    trio.run(main)
