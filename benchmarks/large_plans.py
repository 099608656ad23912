"""How long other clients wait while large plans to risk budgets are made, one after another.

    python benchmarks/large_plans.py [--short] [--rounds N] [--seconds S] [--json PATH]

One client has 500 holdings and asks for the plan again as soon as it has it: the sums are made in a worker
thread. Four others ask at random moments, each in a session of its own. Their latency is compared with that
in the same round while no plan is made. The plans and the others' requests come from processes of their own.
The server may use all cores: on one, the system's scheduler decides how soon its loop precedes its thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from typing import TYPE_CHECKING, Any, Final

from _options import Options, run
from _processes import client_core, free_port, pin, private_redis, server, usable_cores
from _report import Bar, bars_table
from _sockets import Socket, frame
from followers import LONGEST_LINE, Visitor
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _processes import Server

NAMES: Final = 500
VISITORS: Final = 4
SETTLE: Final = 0.5
ASK: Final = frame(b'{"action":"plan","to":"budgets"}')


class Planner(Socket):
    """Has many holdings, and asks for plans one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.plans = 0
        self.keeps_asking = False
        self.answered = asyncio.Event()

    @override
    def on_message(self, payload: bytes) -> None:
        if payload.startswith(b'{"type":"error"'):
            raise RuntimeError(payload.decode())
        self.plans += payload.startswith(b'{"type":"plan"')
        self.answered.set()
        if self.keeps_asking:
            self.send(ASK)

    async def hold(self) -> None:
        """Hold so many names, with a position of another size in each."""
        holdings = {f"N{place:03}": 1 + place % 97 for place in range(NAMES)}
        self.send(frame(json.dumps({"action": "set_holdings", "holdings": holdings}).encode()))
        await self.answered.wait()


def measure(options: Options) -> dict[str, Any]:
    """Take turns; return ratios."""
    cores = usable_cores()
    pin(0, client_core())
    port = free_port()
    with private_redis() as found:
        words = ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", found.url]
        words += ["--market-update-interval-seconds", "600"]
        with server("server", words, port) as target:
            if cores:
                os.sched_setaffinity(target.process.pid, cores)
            return asyncio.run(_turns(target, options))


async def _turns(target: Server, options: Options) -> dict[str, Any]:
    planner = Planner()
    await planner.connect(target.url.replace("{session}", "many"))
    await planner.hold()
    rows = []
    for _ in range(options.rounds):
        rest = await _latencies(target, options.seconds)
        before, planner.keeps_asking = planner.plans, True
        planner.send(ASK)
        busy = await _latencies(target, options.seconds)
        planner.keeps_asking = False
        rows.append((rest, busy, planner.plans - before))
        await asyncio.sleep(SETTLE)
    planner.close()
    return {"bars": _bars(rows)}


async def _latencies(target: Server, seconds: float) -> list[float]:
    """Seconds that each request of the others took, within a time."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--visit", target.url, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    printed, _ = await process.communicate()
    return [float(each) for each in json.loads(printed)]


async def visit(url: str, seconds: float) -> None:
    """Be the others for some time; print how long each request took."""
    visitors = [Visitor(number) for number in range(VISITORS)]
    for number, visitor in enumerate(visitors):
        await visitor.connect(url.replace("{session}", f"v{number}"))
        visitor.come()
    await asyncio.sleep(SETTLE)
    for visitor in visitors:
        visitor.seen.clear()
    await asyncio.sleep(seconds)
    print(json.dumps([took for visitor in visitors for _, took in visitor.seen]))
    for visitor in visitors:
        visitor.close()


def _bars(rows: Sequence[tuple[list[float], list[float], int]]) -> list[Bar]:
    def percentile(values: list[float], percent: int) -> float:
        return 1e3 * statistics.quantiles(values, n=100)[percent - 1]

    bars = []
    for percent in (50, 99):
        pairs = [(percentile(rest, percent), percentile(busy, percent)) for rest, busy, _ in rows]
        name = "median" if percent == 50 else f"{percent}th percentile"  # noqa: PLR2004 - half
        bars += [
            Bar(
                f"{name} of others while plans are made / at rest", tuple(busy / rest for rest, busy in pairs)
            ),
            Bar("how much longer, in milliseconds", tuple(busy - rest for rest, busy in pairs), unit="ms"),
        ]
    return [*bars, Bar("plans a round", tuple(float(plans) for *_, plans in rows), unit="")]


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    print(bars_table(figures["bars"]))


if __name__ == "__main__" and sys.argv[1:2] == ["--visit"]:
    asyncio.run(visit(sys.argv[2], float(sys.argv[3])))
elif __name__ == "__main__":
    run(__doc__, measure, show, rounds=5, seconds=6.0)
