"""Server and client in one Trio program over real sockets: what happens to a run when its ticker is switched.

Each metric takes two to five seconds here, so five of them are outstanding when the switch arrives.
"""

from __future__ import annotations

import json
from functools import partial

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings


async def main() -> None:
    """Start AAPL, MSFT and GOOGL one after another, then cancel; each ends before the next begins."""
    settings = Settings(port=0, metric_delay_seconds=Delay(2, 5))
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        url = f"ws://{host}:{port}/ws/example"
        # With the subprotocol the server also reports how each run ends.
        async with open_websocket_url(url, subprotocols=[SUBPROTOCOL]) as socket:
            for ticker in ("AAPL", "MSFT", "GOOGL"):
                await _ask(socket, {"action": "analyze", "ticker": ticker}, until="analysis_started")
            await _ask(socket, {"action": "cancel"}, until="analysis_cancelled")
        nursery.cancel_scope.cancel()


async def _ask(socket: WebSocketConnection, request: dict[str, str], *, until: str) -> None:
    print(f"-> {json.dumps(request)}")
    await socket.send_message(json.dumps(request))
    while True:
        message = json.loads(await socket.get_message())
        match message["type"]:
            case "analysis_started":
                print(f"   run {message['run_id']} of {message['ticker']} started")
            case "analysis_cancelled":
                print(
                    f"   run {message['run_id']} of {message['ticker']} cancelled ({message['reason']}), "
                    f"its five metric tasks ended within {message['cancelled_in_us']} us"
                )
            case other:
                print(f"   {other}")
        if message["type"] == until:
            return


if __name__ == "__main__":
    trio.run(main)
