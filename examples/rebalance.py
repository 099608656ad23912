"""From drift to trades: set targets, compute the plan that reaches them, and carry it out."""

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
    """Set targets, request a plan, carry it out."""
    async with connect(url) as portfolio:
        state = await portfolio.set_targets(weights={"AAPL": 40, "GOOGL": 40, "TSLA": 20}, band=0.02)
        print(
            f"outside the band: {', '.join(f'{name} {drift:+.1%}' for name, drift in state.outside.items())}"
        )
        plan = await portfolio.plan("weights", cash=1_000, whole_shares=True)
        for line in plan.lines:
            print(f"  {line.ticker:6} {line.shares:+8,.0f} shares, {line.value:+12,.2f}")
            # Each trade states the version it is meant for, so none is made twice.
            state = await portfolio.trade(line.ticker, line.shares)
        print(f"cash left {plan.cash_left:,.2f}; outside the band: {dict(state.outside) or 'nothing'}")


if __name__ == "__main__":
    trio.run(main)
