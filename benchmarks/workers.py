"""The gain from a second worker, and the extra cost of a session on two workers.

    python benchmarks/workers.py [--short] [--json PATH]

CPU of all serving processes for one analysis, since a machine rarely has a core for each of them, one for
Redis and one for the driver. With `--workers 2` the same load is spread over two: the rate that two cores
would give is twice that of one worker, times the ratio. A session on two workers is two servers on one Redis:
who asks is on the first, and somebody who sees the events on the other one, or on the same.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import psutil
import uvloop
from _clients import Analyst, Clock
from _options import Options, run
from _portfolios import portfolio_of
from _processes import free_port, pin, private_redis, server, server_core
from _report import Bar, bars_table, ratios
from _sockets import Socket, new_session

if TYPE_CHECKING:
    from _processes import Server

CLIENTS: Final = 16
EVENTS: Final = "portfolio.v1"
SETTLE_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 10.0


class _Setting:
    """Some servers, the clients that ask them, and those that only see."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.clock = Clock()
        self.clients: list[Analyst] = []
        self.watchers: list[Socket] = []

    async def open(self, watched_on: Server | None) -> None:
        """Connect; each session has its own portfolio."""
        for number in range(CLIENTS):
            client, session = Analyst(self.clock, number), new_session(number)
            self.clients.append(client)
            await client.connect(self.servers[0].url.replace("{session}", session))
            await client.hold(portfolio_of(number))
            if watched_on is not None:
                watcher = Socket()
                await watcher.connect(watched_on.url.replace("{session}", session), EVENTS)
                self.watchers.append(watcher)

    @property
    def cpu_seconds(self) -> float:
        """CPU of every process that serves."""
        processes = []
        for each in self.servers:
            parent = psutil.Process(each.process.pid)
            processes += [parent, *parent.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    async def turn(self, seconds: float) -> float:
        """CPU microseconds of one analysis."""
        loop = asyncio.get_running_loop()
        for client in self.clients:
            client.done, client.lasts = loop.create_future(), []
        self.clock.start(0.0, seconds)
        self.clock.begin = time.perf_counter()
        before = self.cpu_seconds
        for client in self.clients:
            client.ask()
        await asyncio.wait([client.done for client in self.clients], timeout=GRACE_SECONDS)
        return (self.cpu_seconds - before) / sum(len(client.lasts) + 1 for client in self.clients) * 1e6

    def close(self) -> None:
        """Disconnect."""
        for each in (*self.clients, *self.watchers):
            each.close()


def _start(stack: ExitStack, name: str, url: str, *flags: str) -> Server:
    port = free_port()
    words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", url, *flags]
    started = stack.enter_context(server(name, words, port))
    for child in psutil.Process(started.process.pid).children(recursive=True):
        pin(child.pid, server_core())
    return started


async def _measure(
    options: Options, settings: dict[str, _Setting], watched: dict[str, Server]
) -> dict[str, Any]:
    for name, setting in settings.items():
        await setting.open(watched.get(name))
    await asyncio.sleep(SETTLE_SECONDS)
    figures: dict[str, list[float]] = {name: [] for name in settings}
    for turn in range(options.rounds + 1):
        names = list(settings)
        for name in names if turn % 2 else reversed(names):
            taken = await settings[name].turn(options.seconds)
            # The first turn warms up.
            if turn:
                figures[name].append(taken)
    for setting in settings.values():
        setting.close()
    return figures


def measure(options: Options) -> dict[str, Any]:
    """Let all settings take turns; return figures and ratios."""
    with ExitStack() as stack:
        urls = [stack.enter_context(private_redis()).url for _ in range(4)]
        two = _start(stack, "two workers", urls[1], "--workers", "2")
        here = _start(stack, "watched here", urls[2])
        pair = [_start(stack, f"{name} of a pair", urls[3]) for name in ("first", "second")]
        settings = {
            "one worker": _Setting([_start(stack, "one worker", urls[0])]),
            "--workers 2": _Setting([two]),
            "watched on the same worker": _Setting([here]),
            "watched on another worker": _Setting(pair),
        }
        watched = {"watched on the same worker": here, "watched on another worker": pair[1]}
        cpu = uvloop.run(_measure(options, settings, watched))
    same, other = cpu["watched on the same worker"], cpu["watched on another worker"]
    rate = tuple(2 * ratio for ratio in ratios(cpu["one worker"], cpu["--workers 2"]))
    bars = [
        Bar("rate of --workers 2 on two cores / of one worker, by CPU", rate, least=1.7),
        Bar("CPU, watched on the same worker / nobody watches", ratios(same, cpu["one worker"])),
        Bar("CPU of both, watched on another worker / on the same", ratios(other, same)),
    ]
    rows = [{"setting": name, "cpu_us": values} for name, values in cpu.items()]
    return {"rows": rows, "bars": bars}


def show(figures: dict[str, Any]) -> None:
    """Print the medians and the ratios."""
    for row in figures["rows"]:
        print(f"{row['setting']}: {median(row['cpu_us']):.0f} us of CPU an analysis")
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=10, seconds=1.0)
