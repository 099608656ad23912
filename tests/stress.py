"""Switch tickers many times over real sockets, with metrics of two to five seconds outstanding, and count.

    python -m tests.stress --switches 100000 --clients 32
    python -m tests.stress --aborting 60

Stale messages, runs without an end and tasks that are left must all be 0, and memory flat. With
``--aborting`` clients ask and disconnect silently for a number of seconds, on one, two and three processes,
and no other client may notice. The exit status says whether everything is correct.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings
from tests.support.aborting import SHAPES, abort_often

if TYPE_CHECKING:
    from collections.abc import Sequence

TICKERS = ("AAPL", "GOOGL", "MSFT")
PAGE_KIB = 4
# What memory may grow by from the first tenth of the switches to the last.
FLAT_KIB = 8 * 1024


@dataclass
class Count:
    """What the clients saw."""

    switches: int = 0
    started: int = 0
    ended: int = 0
    stale: int = 0
    slowest_us: int = 0
    memory_kib: list[int] = field(default_factory=list)


async def switch_often(url: str, switches: int, count: Count, draw: random.Random) -> None:
    """One client: ask, wait for the start, now and then for a while longer, ask for another."""
    async with open_websocket_url(url, subprotocols=[SUBPROTOCOL]) as socket:
        current = 0
        for number in range(switches):
            ticker = TICKERS[number % len(TICKERS)]
            await socket.send_message(json.dumps({"action": "analyze", "ticker": ticker, "id": number}))
            current = await _until_started(socket, number, current, count)
            count.switches += 1
            if draw.random() < 0.01:  # one in a hundred stays for a result
                await trio.sleep(draw.uniform(0, 0.01))
        await socket.send_message(json.dumps({"action": "cancel", "id": "last"}))
        while (message := json.loads(await socket.get_message())).get("id") != "last":
            count.stale += message.get("run_id") not in {None, current}
        count.ended += 1


async def _until_started(socket: WebSocketConnection, number: int, current: int, count: Count) -> int:
    while True:
        message = json.loads(await socket.get_message())
        kind, run_id = message["type"], message.get("run_id")
        if kind == "analysis_started":
            count.started += 1
            if message["id"] == number:
                return int(run_id)
        elif kind == "analysis_cancelled":
            count.ended += 1
            count.slowest_us = max(count.slowest_us, message["cancelled_in_us"])
        elif kind == "analysis_completed":
            count.ended += 1
        elif kind in {"analysis_result", "metric_error"} and run_id != current:
            count.stale += 1


def resident_kib() -> int:
    """Memory of this process, clients and server together."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


async def watch_memory(count: Count, total: int) -> None:
    """A sample after each tenth of the switches."""
    for tenth in range(1, 11):
        while count.switches < total * tenth // 10:  # noqa: ASYNC110 - a sample now and then is enough
            await trio.sleep(0.05)
        gc.collect()
        count.memory_kib.append(resident_kib())


async def stress(switches: int, clients: int, redis_url: str) -> tuple[Count, int]:
    """Run it; return what was seen and how many tasks the server had left."""
    count = Count()
    settings = Settings(
        port=0, metric_delay_seconds=Delay(2, 5), redis_url=redis_url, market_update_interval_seconds=1.0
    )
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        idle = _tasks()
        async with trio.open_nursery() as crowd:
            crowd.start_soon(watch_memory, count, switches // clients * clients)
            for number in range(clients):
                url = f"ws://{host}:{port}/ws/stress-{number}"
                crowd.start_soon(
                    switch_often,
                    url,
                    switches // clients,
                    count,
                    random.Random(number),
                )
        with trio.move_on_after(5):
            while _tasks() > idle:  # noqa: ASYNC110 - sockets close when they close
                await trio.sleep(0.01)
        left = _tasks() - idle
        nursery.cancel_scope.cancel()
    return count, left


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def report_aborts(shapes: Sequence[str], seconds: float) -> int:
    """Print the result of each shape; 0 if only the leaving clients noticed anything."""
    clean = True
    for shape in shapes:
        toll = abort_often(shape, seconds)
        print(f"{shape}, {seconds:g} s: {toll}", flush=True)
        if not toll.is_clean:
            print("".join(toll.log[-60:]))
            clean = False
    return 0 if clean else 1


def main() -> int:
    """Print the counts; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--switches", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--redis-url", default="embedded://")
    parser.add_argument(
        "--aborting", type=float, metavar="SECONDS", help="on a Redis with JSON that is on the PATH"
    )
    parser.add_argument("--shape", choices=SHAPES, help="of what serves while clients abort; all by default")
    arguments = parser.parse_args()
    if arguments.aborting is not None:
        return report_aborts([arguments.shape] if arguments.shape else SHAPES, arguments.aborting)
    began = time.perf_counter()
    count, left = trio.run(stress, arguments.switches, arguments.clients, arguments.redis_url)
    took = time.perf_counter() - began
    unended = count.started - count.ended
    # The first tenth fills caches.
    grown = count.memory_kib[-1] - count.memory_kib[0]
    print(
        f"{count.switches} switches by {arguments.clients} clients in {took:.1f} s: "
        f"{count.stale} stale messages, {unended} runs without an end, {left} tasks left, "
        f"slowest cancellation {count.slowest_us} us, "
        f"memory {count.memory_kib[0]} to {count.memory_kib[-1]} KiB"
    )
    return 0 if count.stale == unended == left == 0 and grown <= FLAT_KIB else 1


if __name__ == "__main__":
    sys.exit(main())
