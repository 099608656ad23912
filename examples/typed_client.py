"""The typed client, with a server in the same program: edit, stream an analysis, switch to another.

Leaving the block of an analysis cancels it: when the next line runs, the server has confirmed that the run
and its metric tasks are over.
"""

from __future__ import annotations

from functools import partial

import trio

from portfolio_trio.client import Outcome, ReceivedResult, connect
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings


async def main() -> None:
    """Sell some AAPL, take two of its results, switch to MSFT, read what the session recorded."""
    settings = Settings(port=0, metric_delay_seconds=Delay(0.2, 1.0))
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        async with connect(f"ws://{host}:{port}/ws/example") as portfolio:
            print(f"worth {portfolio.state.total_value:,.2f}: {portfolio.state.holdings}")
            edited = await portfolio.trade("AAPL", -20)
            print(f"version {edited.version}, worth {edited.total_value:,.2f}")

            async with portfolio.analyze("AAPL") as results:
                for _ in range(2):
                    show(await anext(results))
            print("left AAPL: its run is over, on the server too")

            async with portfolio.analyze("MSFT") as results:
                async for outcome in results:
                    show(outcome)
            recorded = await portfolio.get_results()
            print(f"recorded: {', '.join(f'{each.ticker} {each.metric}' for each in recorded)}")
        nursery.cancel_scope.cancel()


def show(outcome: Outcome) -> None:
    """Print a result, or why there is none."""
    said = f"{outcome.value:10.6f}" if isinstance(outcome, ReceivedResult) else outcome.detail
    print(f"  {outcome.ticker} {outcome.metric:17} {said}")


if __name__ == "__main__":
    trio.run(main)
