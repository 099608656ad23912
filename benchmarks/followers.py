"""A thousand following sessions during a tick: when all have their newest run, and the effect on others.

    python benchmarks/followers.py [--short] [--rounds N] [--json PATH]

One server, one Redis, a driver in this process. Each of the sessions has one socket and ten holdings. In turn
the market ticks while nobody follows (the sweep), the sockets ask for an analysis each, 16 at a time (what so
many analyses cost), and the market ticks while all of them follow. Four more sockets, of another
process, ask at random moments, each in a session of its own: their latency while runs are made that follow,
against that between ticks.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
from _options import Options, run
from _processes import client_core, free_port, pin, private_redis, server
from _report import Bar, bars_table, table
from _sessions import holdings
from _sockets import Socket, frame
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from _processes import Server

SESSIONS: Final = 1_000
SHORT_SESSIONS: Final = 200
AT_ONCE: Final = 16
VISITORS: Final = 4
THINK: Final = 0.05
PATIENCE: Final = 60.0
NEAR: Final = 0.1
LONGEST_LINE: Final = 2**24


class Follower(Socket):
    """A socket with the subprotocol; tells what it was sent of which tick."""

    def __init__(self, number: int, note: Callable[[str, int], None]) -> None:
        super().__init__()
        self._note = note
        held = holdings(number)
        self.first = json.dumps({"action": "set_holdings", "holdings": held, "id": "held"}).encode()
        self._ticker = next(iter(held))
        self._run = 0
        self.completions = 0
        self.completed = asyncio.Event()

    def analyze(self, *, follow: bool) -> None:
        """Ask for an analysis."""
        request = {"action": "analyze", "ticker": self._ticker, "follow": follow}
        self.send(frame(json.dumps(request).encode()))

    @override
    def on_message(self, payload: bytes) -> None:
        # Results, five of seven messages, are not what is timed.
        if payload.startswith(b'{"type":"analysis_result"') or b'"metric":' in payload[:60]:
            return
        message = orjson.loads(payload)
        match message["type"]:
            case "portfolio" if message.get("id") == "held":
                self._note("ready", 0)
            case "portfolio_update":
                self._note("updated", message["tick_id"])
            case "analysis_started":
                self._run = message["tick_id"]
            case "analysis_completed":
                self.completions += 1
                self.completed.set()
                self._note("completed", self._run)
            case _:
                pass


class Visitor(Socket):
    """Asks for the portfolio at random moments; the time of each counts from when it was due."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._draw = random.Random(number)  # noqa: S311 - spreads load
        self._due: list[float] = []
        self.seen: list[tuple[float, float]] = []

    def come(self) -> None:
        """One request falls due now, the next after a random time."""
        if self.closed:
            return
        self._due.append(time.time())
        self.send(frame(b'{"action":"get_portfolio"}'))
        asyncio.get_running_loop().call_later(self._draw.expovariate(1 / THINK), self.come)

    @override
    def on_message(self, payload: bytes) -> None:
        due = self._due.pop(0)
        self.seen.append((due, time.time() - due))


class Crowd:
    """All sockets of one server."""

    def __init__(self, target: Server, sessions: int, interval: float) -> None:
        self._target = target
        self._interval = interval
        self._told: Counter[tuple[str, int]] = Counter()
        self._moments: dict[tuple[str, int], float] = {}
        self._moved = asyncio.Event()
        self._tick = 0
        self.followers = [Follower(number, self._note) for number in range(sessions)]

    def _note(self, what: str, tick: int) -> None:
        """One socket was told something of a tick; the first and the last of all wake who waits."""
        told = what, tick
        self._told[told] += 1
        if what == "ready" or self._told[told] in {1, len(self.followers)}:
            self._moments[told] = time.time()
            self._moved.set()

    async def open(self) -> None:
        """Connect them, a few at a time, and have each hold something."""
        for start in range(0, len(self.followers), AT_ONCE):
            some = self.followers[start : start + AT_ONCE]
            urls = [self._target.url.replace("{session}", f"f{start + place}") for place in range(len(some))]
            await asyncio.gather(
                *(each.connect(url, "portfolio.v1") for each, url in zip(some, urls, strict=True))
            )
            for each in some:
                each.send(frame(each.first))
            await self._until(lambda: self._told["ready", 0] >= start + len(some))  # noqa: B023 - awaited here
        await self._next_tick()

    async def _until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what():
                self._moved.clear()
                await self._moved.wait()

    async def _all(self, what: str, tick: int) -> float:
        """Wait until all sockets were told so of a tick; when the last one was."""
        await self._until(lambda: self._told[what, tick] >= len(self.followers))
        return self._moments[what, tick]

    async def _next_tick(self) -> int:
        """The number of the next tick, once the first socket has it: its time in milliseconds."""
        await self._until(lambda: max((tick for _, tick in self._told), default=0) > self._tick)
        self._tick = max(tick for _, tick in self._told)
        return self._tick

    async def _just_before(self) -> float:
        """Wait until the next tick is near; CPU that the server has used so far."""
        await asyncio.sleep(self._tick / 1e3 + self._interval - NEAR - time.time())
        return self._target.cpu_seconds

    async def sweep(self, then: str = "updated") -> tuple[float, float, tuple[float, float]]:
        """From a tick to the last update, or the last run, of it.

        Returns:
            Seconds, CPU seconds of the server, and between which moments.
        """
        used = await self._just_before()
        tick = await self._next_tick()
        done = await self._all(then, tick)
        return done - tick / 1e3, self._target.cpu_seconds - used, (tick / 1e3, done)

    async def analyses(self) -> tuple[float, float]:
        """Seconds for one analysis of each, a few at a time, and CPU of the server for them."""
        used, began, waiting = self._target.cpu_seconds, time.time(), iter(self.followers)

        async def work() -> None:
            for each in waiting:
                each.completed.clear()
                each.analyze(follow=False)
                await each.completed.wait()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return time.time() - began, self._target.cpu_seconds - used

    async def follow(self) -> None:
        """Have all follow."""
        for each in self.followers:
            each.completed.clear()
            each.analyze(follow=True)
        for each in self.followers:
            await each.completed.wait()


def measure(options: Options) -> dict[str, Any]:
    """Take turns; return rows and ratios."""
    pin(0, client_core())
    sessions = SHORT_SESSIONS if options.short else SESSIONS
    port = free_port()
    with private_redis() as found:
        words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", found.url]
        words += ["--market-update-interval-seconds", str(options.seconds)]
        with server("server", words, port) as target:
            rows, others = asyncio.run(_turns(target, sessions, options.rounds, options.seconds))
    return {"rows": rows, "bars": _bars(rows, others)}


async def _turns(
    target: Server, sessions: int, rounds: int, interval: float
) -> tuple[list[dict[str, float]], dict[str, list[float]]]:
    crowd = Crowd(target, sessions, interval)
    await crowd.open()
    rows: list[dict[str, float]] = []
    busy: list[tuple[float, float]] = []
    began = ended = 0.0
    for _ in range(rounds):
        row: dict[str, float] = {"sessions": sessions}
        row["sweep_s"], row["sweep_cpu_s"], _ = await crowd.sweep()
        row["analyses_s"], row["analyses_cpu_s"] = await crowd.analyses()
        rows.append(row)
    await crowd.follow()
    command = [sys.executable, __file__, "--visit", target.url]
    visit = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE
    )
    await crowd.sweep("completed")
    began = time.time()
    for row in rows:
        row["followed_s"], row["followed_cpu_s"], window = await crowd.sweep("completed")
        busy.append(window)
    ended = time.time()
    others: dict[str, list[float]] = {"busy": [], "rest": []}
    printed, _ = await visit.communicate(b"")
    for due, took in json.loads(printed):
        if began <= due < ended:
            others["busy" if any(start <= due < end for start, end in busy) else "rest"].append(took)
    for socket in crowd.followers:
        socket.close()
    return rows, others


async def visit(url: str) -> None:
    """Be the others until the input ends; print when each asked, and how long it waited."""
    visitors = [Visitor(number) for number in range(VISITORS)]
    for number, visitor in enumerate(visitors):
        await visitor.connect(url.replace("{session}", f"v{number}"))
        visitor.come()
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps([each for visitor in visitors for each in visitor.seen]))
    for visitor in visitors:
        visitor.close()


def _bars(rows: list[dict[str, float]], others: dict[str, list[float]]) -> list[Bar]:
    def ratio(top: Callable[[dict[str, float]], float]) -> tuple[float, ...]:
        return tuple(map(top, rows))

    quiet, busy = (statistics.quantiles(others[name], n=100)[-1] for name in ("rest", "busy"))
    return [
        Bar(
            "from the tick to everybody's newest run / (sweep + 1.5 x so many analyses)",
            ratio(lambda row: row["followed_s"] / (row["sweep_s"] + 1.5 * row["analyses_s"])),
            most=1,
        ),
        Bar(
            "CPU of a followed tick / (sweep + so many analyses)",
            ratio(lambda row: row["followed_cpu_s"] / (row["sweep_cpu_s"] + row["analyses_cpu_s"])),
            most=1.5,
        ),
        Bar(
            f"p99 of others: {len(others['busy'])} while they run / {len(others['rest'])} between",
            (busy / quiet,),
            most=3,
        ),
        Bar("the same in milliseconds, between ticks", (1e3 * quiet,), unit=""),
    ]


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    keys = (
        "sessions", "sweep_s", "analyses_s", "followed_s", "sweep_cpu_s", "analyses_cpu_s", "followed_cpu_s"
    )  # fmt: skip
    print(table(keys, [[round(row[key], 3) for key in keys] for row in figures["rows"]]))
    print()
    print(bars_table(figures["bars"]))


if __name__ == "__main__" and sys.argv[1:2] == ["--visit"]:
    asyncio.run(visit(sys.argv[2]))
elif __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=8.0)
