"""The cost of counting for Prometheus, per analysis.

    python benchmarks/telemetry_cost.py [--short] [--json PATH]

Two servers in this process, with and without it, take turns at the same analyses over streams of memory, with
a real Redis. What one analysis tells the telemetry is also written down and told again many times over: that
says the cost alone, which the turns of a busy machine hide.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from _options import Options, run
from _processes import private_redis
from _report import Bar, bars_table, ratios
from trio.testing import memory_stream_pair
from trio_websocket import WebSocketConnection, wrap_client_stream
from typing_extensions import override

from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings
from portfolio_trio.telemetry import OFF, Telemetry
from portfolio_trio.telemetry.counting import CountedTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable

ANALYSES: Final = 100
TOLD_AGAIN: Final = 5_000
TICKERS: Final = ("AAPL", "GOOGL", "MSFT")

_Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Notes(Telemetry):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []

    @override
    def __getattribute__(self, name: str) -> Any:
        if name == "calls" or not callable(getattr(Telemetry, name, None)) or name.startswith("__"):
            return super().__getattribute__(name)
        return lambda *args, **fields: self.calls.append((name, args, fields))


async def _client(
    stack: AsyncExitStack, nursery: trio.Nursery, url: str, telemetry: Telemetry
) -> WebSocketConnection:
    settings = Settings.read(["--redis-url", url, "--request-burst", "1000000"])
    server = await stack.enter_async_context(open_server(settings, telemetry=telemetry))
    ours, theirs = memory_stream_pair()
    server.connections.start_soon(server.http_server.serve, theirs)
    # Typed for sockets; any stream will do.
    return await wrap_client_stream(nursery, cast("trio.SocketStream", ours), "memory", "/ws/s")


async def _analyse(client: WebSocketConnection, count: int) -> None:
    for number in range(count):
        await client.send_message(json.dumps({"action": "analyze", "ticker": TICKERS[number % len(TICKERS)]}))
        for _ in range(5):
            await client.get_message()


async def _cpu_us(client: WebSocketConnection) -> float:
    began = time.process_time()
    await _analyse(client, ANALYSES)
    return 1e6 * (time.process_time() - began) / ANALYSES


def _told_us(telemetry: Telemetry, calls: list[_Call]) -> float:
    """Microseconds to tell all of it, once."""
    bound: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = [
        (getattr(telemetry, name), args, fields) for name, args, fields in calls
    ]
    began = time.process_time()
    for _ in range(TOLD_AGAIN):
        for method, args, fields in bound:
            method(*args, **fields)
    return 1e6 * (time.process_time() - began) / TOLD_AGAIN


async def _measure(options: Options, urls: tuple[str, str, str]) -> dict[str, Any]:
    notes = Notes()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        without = await _client(stack, nursery, urls[0], OFF)
        with_it = await _client(stack, nursery, urls[1], CountedTelemetry())
        noted = await _client(stack, nursery, urls[2], notes)
        for client in (without, with_it, noted):
            await _analyse(client, 20)
        notes.calls.clear()
        await _analyse(noted, 1)
        calls = list(notes.calls)
        turns: dict[bool, list[float]] = {False: [], True: []}
        for number in range(options.rounds):
            for on in (False, True) if number % 2 else (True, False):
                turns[on].append(await _cpu_us(with_it if on else without))
        nursery.cancel_scope.cancel()
    alone = statistics.median(_told_us(CountedTelemetry(), calls) for _ in range(options.rounds))
    off = statistics.median(_told_us(OFF, calls) for _ in range(options.rounds))
    row = {
        "calls": len(calls),
        "alone_us": alone,
        "off_us": off,
        "analysis_us": statistics.median(turns[False]),
    }
    return {
        "rows": [row],
        "bars": [Bar("CPU of an analysis, with / without", ratios(turns[True], turns[False]), most=1.02)],
    }


def measure(options: Options) -> dict[str, Any]:
    """Let both take turns."""
    with private_redis() as one, private_redis() as two, private_redis() as three:
        return trio.run(_measure, options, (one.url, two.url, three.url))


def show(figures: dict[str, Any]) -> None:
    """Print what was found."""
    (row,) = figures["rows"]
    print(
        f"{row['calls']} calls an analysis: {row['alone_us']:.2f} us; {row['off_us']:.2f} us where it is off;"
    )
    print(f"of {row['analysis_us']:.0f} us, its client included\n")
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=31, seconds=0)
