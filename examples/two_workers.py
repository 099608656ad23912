"""Two servers on one store: an analysis requested on the second cancels the one running on the first.

Here they live in one program and share an embedded Redis; with ``--redis-url`` they can be processes on any
number of machines, and their clients see the same.
"""

from __future__ import annotations

import json
from functools import partial

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.redis import EmbeddedServer
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings


async def main() -> None:
    """Start AAPL on the first server and MSFT on the second; the socket of the first sees both."""
    settings = Settings(port=0, metric_delay_seconds=Delay(0.5, 1))
    shared = EmbeddedServer()
    async with (
        open_server(settings, embedded=shared) as one,
        open_server(settings, embedded=shared) as two,
        trio.open_nursery() as nursery,
    ):
        addresses = [await nursery.start(partial(listen, each, trio.CancelScope())) for each in (one, two)]
        first, second = (f"ws://{host}:{port}/ws/example" for host, port in addresses)
        async with (
            open_websocket_url(first, subprotocols=[SUBPROTOCOL]) as here,
            open_websocket_url(second, subprotocols=[SUBPROTOCOL]) as there,
        ):
            await ask(here, "AAPL")
            await show(here, until="analysis_started")
            await ask(there, "MSFT")
            await show(here, until="analysis_completed")
        nursery.cancel_scope.cancel()


async def ask(socket: WebSocketConnection, ticker: str) -> None:
    """Ask for an analysis."""
    print(f"-> analyze {ticker}")
    await socket.send_message(json.dumps({"action": "analyze", "ticker": ticker}))


async def show(socket: WebSocketConnection, *, until: str) -> None:
    """Print what a socket of the first server receives."""
    while True:
        message = json.loads(await socket.get_message())
        what = " ".join(
            str(message[name]) for name in ("run_id", "ticker", "metric", "reason") if name in message
        )
        print(f"   {message['type']} {what}")
        if message["type"] == until:
            return


if __name__ == "__main__":
    trio.run(main)
