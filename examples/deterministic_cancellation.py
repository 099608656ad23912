"""Exactly the same timeline on each run: virtual time, in-memory streams, seeded delays.

Nothing really sleeps: Trio's mock clock jumps ahead when every task waits, so metrics of two to five seconds
take no real time, and a cancellation happens exactly when it is requested.
"""

from __future__ import annotations

import json
import random
from typing import cast

import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import WebSocketConnection, wrap_client_stream

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def virtual_now() -> float:
    """The wall clock of the server, which does not advance while tasks run."""
    return EPOCH + trio.current_time()


async def main() -> None:
    """AAPL is switched to GOOGL at 3 s, GOOGL is cancelled at 5 s, MSFT runs to its end."""
    settings = Settings(metric_delay_seconds=Delay(2, 5))
    async with (
        open_server(settings, now=virtual_now, rng=random.Random(7)) as server,  # noqa: S311 - not a secret
        trio.open_nursery() as nursery,
    ):
        client_end, server_end = memory_stream_pair()
        server.connections.start_soon(server.http_server.serve, server_end)
        # Typed for sockets, but any stream works.
        stream = cast("trio.SocketStream", client_end)
        socket = await wrap_client_stream(
            nursery, stream, "memory", "/ws/example", subprotocols=[SUBPROTOCOL]
        )
        reading = trio.Event()
        nursery.start_soon(_print_timeline, socket, reading)
        for moment, request in (
            (0.0, {"action": "analyze", "ticker": "AAPL"}),
            (3.0, {"action": "analyze", "ticker": "GOOGL"}),
            (5.0, {"action": "cancel"}),
            (6.0, {"action": "analyze", "ticker": "MSFT"}),
        ):
            await trio.sleep_until(moment)
            print(f"{trio.current_time():6.3f} s  -> {json.dumps(request)}")
            await socket.send_message(json.dumps(request))
        await reading.wait()
        nursery.cancel_scope.cancel()


async def _print_timeline(socket: WebSocketConnection, completed: trio.Event) -> None:
    while not completed.is_set():
        message = json.loads(await socket.get_message())
        if message["type"] == "portfolio":
            continue
        words = [str(message[key]) for key in ("ticker", "metric", "reason") if key in message]
        print(f"{trio.current_time():6.3f} s     {message['type']:18} {' '.join(words)}")
        if message["type"] == "analysis_completed":
            completed.set()


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
