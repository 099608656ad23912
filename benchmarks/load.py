"""Drive any server with the plain protocol and print one JSON line of figures.

    python benchmarks/load.py ws://127.0.0.1:8000/ws/{session} --mode analyze --clients 16 --seconds 5

analyze: each client asks, waits for its five results, asks again, for as long as ``--seconds``. Each holds a
         portfolio of its own, so that nothing computed for one serves another.
switch:  each client asks, waits for the first result, thinks for a random time up to twice ``--think`` and
         asks for another ticker; what then still comes of the old one once the new one has begun is counted.
visit:   each client asks at random moments, ``--think`` apart in the mean, whether or not the server is
         quick: half of the time for the portfolio, half for an analysis.
idle:    opens ``--clients`` connections, ``--at-once`` at a time, and holds them ``--seconds``.
grow:    one client with an old session and new ones in turns, of ``--count`` analyses each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import uvloop
from _clients import GET_PORTFOLIO, Analyst, Caller, Clock, Solo, Switcher, Visitor
from _portfolios import portfolio_of
from _sockets import Socket, new_session

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a run may take beyond its time until its last answers are in; then what is missing is lost.
GRACE_SECONDS = 10.0
CONNECT_AT_ONCE = 64
RESTED_COUNT = 50


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which a share of them lies, in the milliseconds of a report; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share) - 1)] * 1000, 3)


def summary(values: Sequence[float], name: str) -> dict[str, float | None]:
    """Median and 99th percentile in milliseconds."""
    return {f"{name}_p50_ms": quantile(values, 0.5), f"{name}_p99_ms": quantile(values, 0.99)}


def cpu_seconds(pid: int | None) -> float:
    """CPU a process has used; 0 where none was named."""
    if pid is None:
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def connect_all(sockets: Sequence[Socket], url: str, at_once: int = CONNECT_AT_ONCE) -> float:
    """Connect a number at a time; return how long it took."""
    turn = asyncio.Semaphore(at_once)

    async def connect(number: int, socket: Socket) -> None:
        async with turn:
            await socket.connect(url.replace("{session}", new_session(number)))

    began = time.perf_counter()
    await asyncio.gather(*(connect(number, socket) for number, socket in enumerate(sockets)))
    return time.perf_counter() - began


async def cpu_while(clock: Clock, pid: int | None) -> tuple[float, float]:
    """CPU seconds the server and this driver used while the clock ran."""
    await asyncio.sleep(clock.begin - time.perf_counter())
    server, own = cpu_seconds(pid), time.process_time()
    await asyncio.sleep(clock.end - time.perf_counter())
    return cpu_seconds(pid) - server, time.process_time() - own


async def analyze(options: argparse.Namespace) -> dict[str, Any]:
    """Closed loop of analyses."""
    clock = Clock()
    clients = [Analyst(clock, number) for number in range(options.clients)]
    await connect_all(clients, options.url)
    if options.portfolios == "own":
        for number, client in enumerate(clients):
            await client.hold(portfolio_of(number, options.names))
    clock.start(options.warm_up, options.seconds)
    for client in clients:
        client.ask()
    server_cpu, own_cpu = await cpu_while(clock, options.pid)
    await asyncio.wait([client.done for client in clients], timeout=GRACE_SECONDS)
    lasts = [value for client in clients for value in client.lasts]
    firsts = [value for client in clients for value in client.firsts]
    for client in clients:
        client.close()
    return {
        "per_s": round(len(lasts) / options.seconds, 1),
        "analyses": len(lasts),
        **summary(firsts, "first"),
        **summary(lasts, "last"),
        "lost": sum(client.missing for client in clients),
        "errors": sum(client.errors for client in clients),
        "server_cpu_us": round(server_cpu / max(1, len(lasts)) * 1e6, 1),
        "server_busy": round(server_cpu / options.seconds, 3),
        "driver_busy": round(own_cpu / options.seconds, 3),
    }


async def round_trips(url: str, count: int, rest: float = 0.0) -> list[float]:
    """How long ``get_portfolio`` takes, one at a time, at once or each after a rest of so many seconds."""
    caller = Caller()
    await caller.connect(url.replace("{session}", new_session(0)))
    taken = []
    for _ in range(count):
        if rest:
            await asyncio.sleep(rest)
        began = time.perf_counter()
        await caller.ask(GET_PORTFOLIO)
        taken.append(time.perf_counter() - began)
    caller.close()
    return taken[count // 10 :]


async def switch(options: argparse.Namespace) -> dict[str, Any]:
    """Switches with metrics outstanding, and idle round trips before and after them."""
    clock = Clock()
    # As long as the server rests between two switches.
    rest = options.think / options.clients
    clients = [Switcher(clock, number, options.think) for number in range(options.clients)]
    await connect_all(clients, options.url)
    idle = await round_trips(options.url, options.count)
    rested = await round_trips(options.url, RESTED_COUNT, rest)
    clock.start(options.warm_up, options.seconds)
    loop = asyncio.get_running_loop()
    for place, client in enumerate(clients):
        # Spread over the warm-up, so that the clients do not move as one.
        loop.call_later(options.warm_up * place / len(clients), client.ask)
    server_cpu, _ = await cpu_while(clock, options.pid)
    await asyncio.wait([client.done for client in clients], timeout=GRACE_SECONDS)
    idle += await round_trips(options.url, options.count)
    rested += await round_trips(options.url, RESTED_COUNT, rest)
    latencies = [value for client in clients for value in client.latencies]
    for client in clients:
        client.close()
    return {
        "per_s": round(len(latencies) / options.seconds, 1),
        "switches": len(latencies),
        **summary(latencies, "switch"),
        **summary(idle, "idle"),
        **summary(rested, "rested"),
        "stale": sum(client.stale for client in clients),
        "server_busy": round(server_cpu / options.seconds, 3),
    }


async def visit(options: argparse.Namespace) -> dict[str, Any]:
    """An open loop of portfolios and analyses at a modest rate."""
    clock = Clock()
    clients = [Visitor(clock, number, options.think) for number in range(options.clients)]
    await connect_all(clients, options.url)
    clock.start(options.warm_up, options.seconds)
    for client in clients:
        client.come()
    server_cpu, own_cpu = await cpu_while(clock, options.pid)
    await asyncio.wait([client.done for client in clients], timeout=GRACE_SECONDS)
    portfolios = [value for client in clients for value in client.portfolios]
    analyses = [value for client in clients for value in client.analyses]
    lost, errors = (sum(client.missing for client in clients), sum(client.errors for client in clients))
    for client in clients:
        client.close()
    return {
        "per_s": round((len(portfolios) + len(analyses)) / options.seconds, 1),
        **summary(portfolios, "portfolio"),
        **summary(analyses, "analysis"),
        "lost": lost,
        "errors": errors,
        "server_busy": round(server_cpu / options.seconds, 3),
        "driver_busy": round(own_cpu / options.seconds, 3),
    }


async def idle(options: argparse.Namespace) -> dict[str, Any]:
    """Connections that do nothing."""
    process = psutil.Process(options.pid)
    before = process.memory_info().rss
    cpu = cpu_seconds(options.pid)
    sockets = [Socket() for _ in range(options.clients)]
    took = await connect_all(sockets, options.url, options.at_once)
    # The sessions open behind the handshake; this round trip stands behind all of them.
    await round_trips(options.url, 10)
    accept_cpu = cpu_seconds(options.pid) - cpu
    cpu = cpu_seconds(options.pid)
    await asyncio.sleep(options.seconds)
    idle_cpu = cpu_seconds(options.pid) - cpu
    held = process.memory_info().rss - before
    alive = sum(not socket.closed for socket in sockets)
    pinged = sum(socket.pings > 0 for socket in sockets)
    for socket in sockets:
        socket.close()
    return {
        "connections": alive,
        "pinged": pinged,
        "accept_s": round(took, 3),
        "accepted_per_s": round(len(sockets) / took, 1),
        "accept_cpu_us": round(accept_cpu / len(sockets) * 1e6, 1),
        "bytes_per_connection": round(held / len(sockets)),
        "idle_cpu_percent": round(100 * idle_cpu / options.seconds, 3),
    }


async def grow(options: argparse.Namespace) -> dict[str, Any]:
    """The first analyses of new sessions against the next ones of an old session, in turns."""
    clock = Clock()
    clock.begin = 0.0
    old = Solo(clock)
    await old.connect(options.url.replace("{session}", new_session(0)))
    # A new session has its first analyses behind it before it is timed, as caches of the server fill then.
    began = await old.analyze(options.count)
    await old.analyze(max(0, options.analyses - options.count * (options.rounds + 1)))
    pairs = []
    for number in range(options.rounds):
        new = Solo(clock)
        await new.connect(options.url.replace("{session}", new_session(number + 1)))
        first = statistics.median(await new.analyze(options.count))
        last = statistics.median(await old.analyze(options.count))
        pairs.append((first, last))
        new.close()
    old.close()
    return {
        "analyses": options.analyses,
        "pairs_ms": [[round(value * 1000, 4) for value in pair] for pair in pairs],
        "ratios": [round(last / first, 4) for first, last in pairs],
        "began_p50_ms": quantile(began, 0.5),
    }


MODES = {"analyze": analyze, "switch": switch, "visit": visit, "idle": idle, "grow": grow}


def main() -> None:
    """Drive and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="with {session} where the session id goes")
    parser.add_argument("--mode", choices=MODES, default="analyze")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument(
        "--portfolios",
        choices=("own", "common"),
        default="own",
        help="analyze: each client holds 3 to 30 of 60 names of its own, or all hold what a new session does",
    )
    parser.add_argument("--names", type=int, help="analyze: so many of 600 names for each client instead")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds that do not count")
    parser.add_argument(
        "--think", type=float, default=1.0, help="switch, visit: mean seconds between requests"
    )
    parser.add_argument("--at-once", type=int, default=CONNECT_AT_ONCE, help="idle: handshakes under way")
    parser.add_argument(
        "--count", type=int, default=100, help="switch, grow: requests that are timed together"
    )
    parser.add_argument("--analyses", type=int, default=10_000, help="grow: analyses of the old session")
    parser.add_argument("--rounds", type=int, default=5, help="grow: pairs of new and old")
    parser.add_argument("--pid", type=int, help="of the server, to read its CPU and memory")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    json.dump(uvloop.run(MODES[options.mode](options)), sys.stdout)


if __name__ == "__main__":
    main()
