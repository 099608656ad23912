"""The server with metrics that take two to five seconds, except the first, which is immediate.

So a client that asks gets one result at once and has four metrics outstanding: what a switch costs can be
seen without waiting for a metric.
"""

from __future__ import annotations

import argparse
import random
from functools import partial

import trio
from typing_extensions import override

from portfolio_trio.cli.worker import settle
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings

DELAYS = "2,5"


class FirstAtOnce(random.Random):
    """Draws no delay for the first metric of a run, and what is asked for the others."""

    def __init__(self, metrics: int) -> None:
        super().__init__(1)
        self._metrics = metrics
        self._drawn = 0

    @override
    def uniform(self, a: float, b: float) -> float:
        # A run draws the delays of all its metrics in one go, in their order. Whatever else is drawn would
        # shift them, so it is told by its bounds.
        if f"{a:g},{b:g}" != DELAYS:
            return super().uniform(a, b)
        self._drawn += 1
        return 0.0 if self._drawn % self._metrics == 1 else super().uniform(a, b)


async def main(port: int, redis_url: str) -> None:
    """Serve until the process ends."""
    flags = ["--port", str(port), "--redis-url", redis_url, "--metric-delay-seconds", DELAYS]
    rng = FirstAtOnce(len(BUILT_IN))
    async with (
        open_server(Settings.read(flags), metrics=BUILT_IN, rng=rng) as server,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(listen, server, trio.CancelScope()))
        # As a worker does: else full passes of the garbage collector make the slowest switches.
        settle()
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    words = parser.parse_args()
    trio.run(main, words.port, words.redis_url)
