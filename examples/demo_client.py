"""The simplest client: analyse AAPL, switch to GOOGL after two results, print what arrives.

Start a server with slow metrics, then this:

    portfolio-trio serve --metric-delay-seconds 0.5,2
    python examples/demo_client.py [ws://127.0.0.1:8000/ws/demo]

Results that were sent before the server read the switch still arrive. Whatever the timing, no result of AAPL
arrives after the first result of GOOGL.
"""

from __future__ import annotations

import json
import sys

import trio
from trio_websocket import HandshakeError, open_websocket_url

METRICS = 5
SWITCH_AFTER = 2


async def main(url: str) -> None:
    """Ask, switch, print; end when all five results of GOOGL have arrived."""
    async with open_websocket_url(url) as socket:
        await socket.send_message(json.dumps({"action": "analyze", "ticker": "AAPL"}))
        seen = {"AAPL": 0, "GOOGL": 0}
        while seen["GOOGL"] < METRICS:
            message = json.loads(await socket.get_message())
            if message["type"] == "error":
                sys.exit(f"the server answered: {message['detail']}")
            ticker = message["ticker"]
            if ticker == "AAPL" and seen["GOOGL"]:
                sys.exit("a result of AAPL arrived after one of GOOGL")
            seen[ticker] += 1
            late = ticker == "AAPL" and seen[ticker] > SWITCH_AFTER
            note = "  (was sent before the switch was read)" if late else ""
            print(f"{ticker:6} {message['metric']:17} {message['value']:10.6f}{note}")
            if ticker == "AAPL" and seen[ticker] == SWITCH_AFTER:
                print("       switching to GOOGL: after its first result nothing of AAPL arrives")
                await socket.send_message(json.dumps({"action": "analyze", "ticker": "GOOGL"}))


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/ws/demo"
    try:
        trio.run(main, address)
    except* (OSError, HandshakeError):
        sys.exit(
            f"no server answers at {address}: start one with "
            "`portfolio-trio serve --metric-delay-seconds 0.5,2`"
        )
