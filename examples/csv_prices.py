"""Real daily closes from a file, and live prices from another that is replaced while the server runs."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings

CLOSES = Path(__file__).parent / "data" / "closes.csv"


def write_live_prices(path: Path, prices: dict[str, float]) -> None:
    """Replace the file atomically, so that nobody ever reads half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(prices))
    fresh.replace(path)


async def main(live: Path) -> None:
    """Analyse AAPL at one set of live prices, let the market move, and analyse it again."""
    write_live_prices(live, {"AAPL": 126.5, "MSFT": 235.0, "JPM": 131.0, "XOM": 107.5, "WMT": 141.0})
    settings = Settings(
        port=0,
        prices=f"csv:{CLOSES}",
        live_prices=str(live),
        default_holdings={"AAPL": 40, "MSFT": 20, "JPM": 25, "XOM": -30},
    )
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        async with open_websocket_url(f"ws://{host}:{port}/ws/example") as socket:
            await show(socket, metrics=len(server.services.metrics))
            write_live_prices(live, {"AAPL": 130.0, "MSFT": 236.0, "JPM": 130.0, "XOM": 109.0, "WMT": 141.0})
            # What the market updater does every 30 seconds.
            await server.updater.tick()
            await show(socket, metrics=0)
        nursery.cancel_scope.cancel()


async def show(socket: WebSocketConnection, *, metrics: int) -> None:
    """Print the portfolio, and if ``metrics`` is not 0 the analysis of AAPL."""
    await socket.send_message(json.dumps({"action": "get_portfolio"}))
    portfolio = json.loads(await socket.get_message())
    print(
        f"{portfolio['holdings']} worth {portfolio['total_value']:,.2f} as of {portfolio['valued']['as_of']}"
    )
    if metrics:
        await socket.send_message(json.dumps({"action": "analyze", "ticker": "AAPL"}))
    for _ in range(metrics):
        message = json.loads(await socket.get_message())
        print(f"  {message['ticker']} {message['metric']:17} {message['value']:10.6f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder) / "live.json")
