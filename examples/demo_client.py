"""A client of the first protocol: analyse AAPL, switch to GOOGL after two results, print what arrives.

Start a server, then this:

    portfolio-trio serve --metric-delay-seconds 0.5,2
    python examples/demo_client.py [ws://127.0.0.1:8000/ws/demo]
"""

from __future__ import annotations

import json
import sys

import trio
from trio_websocket import HandshakeError, open_websocket_url


async def main(url: str) -> None:
    """Ask, switch, print; end when all five results of GOOGL are there."""
    async with open_websocket_url(url) as socket:
        await socket.send_message(json.dumps({"action": "analyze", "ticker": "AAPL"}))
        seen = {"AAPL": 0, "GOOGL": 0}
        while seen["GOOGL"] < 5:  # noqa: PLR2004 - there are five metrics
            message = json.loads(await socket.get_message())
            if message["type"] == "error":
                sys.exit(f"the server answered: {message['detail']}")
            seen[message["ticker"]] += 1
            print(f"{message['ticker']:6} {message['metric']:17} {message['value']:10.6f}")
            if message["ticker"] == "AAPL" and seen["AAPL"] == 2:  # noqa: PLR2004 - switch in the middle
                print("       switching to GOOGL: nothing of AAPL arrives any more")
                await socket.send_message(json.dumps({"action": "analyze", "ticker": "GOOGL"}))


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/ws/demo"
    try:
        trio.run(main, address)
    except* (OSError, HandshakeError):
        sys.exit(f"no server answers at {address}: start one with `portfolio-trio serve`")
