"""Many sockets of few sessions on two processes, all at once, recording what each of them is shown.

    python -m tests.stress_order --seconds 60 --faults

With faults the Redis of both stands still, loses its connections, or dies and comes back, all the time.

Versions that fall, ends that are missing, doubled or differ, and their like must all be 0. The exit status
says so. With ``--keep FILE`` all that was seen, and what the servers logged, is written there as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import ConnectionClosed

from portfolio_trio.peers.run_ends import HOLD_SECONDS, WORD_SECONDS
from tests.support.app import METRICS
from tests.support.observer import Observer
from tests.support.processes import Dialer, lasting_redis, serving_alone

if TYPE_CHECKING:
    from tests.support.app import Client, Frame
    from tests.support.processes import Shared

SESSIONS = ("a", "b", "c")
TICKERS = ("AAPL", "GOOGL", "MSFT")
FLAGS = (
    *("--metric-delay-seconds", "0,0.05", "--market-update-interval-seconds", "1"),
    *("--requests-per-second", "1000", "--request-burst", "1000"),
    *("--log-level", "info"),
)
# Seconds for everything to end after the last request: longer than any worker's report is waited for.
REST_SECONDS = WORD_SECONDS + 2 * HOLD_SECONDS + 1


async def read(client: Client, frames: list[Frame]) -> None:
    try:
        while True:
            frame = await client.receive()
            frames.append(frame | {"read_at": time.time()})
    except ConnectionClosed:
        return


async def send_requests(client: Client, until: float, draw: random.Random) -> None:
    """One client that asks, edits and cancels at random."""
    while trio.current_time() < until:
        action = draw.choice(("analyze", "analyze", "trade", "cancel", "get_portfolio"))
        fields: dict[str, Any] = {"ticker": draw.choice(TICKERS)} if action in {"analyze", "trade"} else {}
        if action == "trade":
            fields["shares"] = 1
        for _ in range(draw.choice((1, 1, 2))):
            await client.send(action, **fields)
        await trio.sleep(draw.choice((0, 0.005, 0.05, 0.2)))


async def disturb(shared: Shared, draw: random.Random) -> None:
    """What happens to a Redis, one after the other, until cancelled."""
    (node,) = shared.nodes
    while True:
        await trio.sleep(draw.uniform(1, 4))
        kind = draw.choice(("disconnect", "disconnect", "pause", "kill"))
        if kind == "disconnect":
            node.do("CLIENT KILL", "TYPE", draw.choice(("normal", "pubsub")))
            continue
        (node.pause if kind == "pause" else node.kill)()
        try:
            await trio.sleep(draw.uniform(0.1, 1.5))
        finally:
            # Started by a blocking call, on purpose: nothing else is to happen meanwhile.
            (node.resume if kind == "pause" else node.start)()


async def play(ports: list[int], seconds: float, disturbed: Shared | None) -> dict[str, list[list[Frame]]]:
    """Send requests for so long; what each subscriber of each session was sent."""
    draw = random.Random(7)
    seen: dict[str, list[list[Frame]]] = {session: [] for session in SESSIONS}
    until = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        dialers = [Dialer(port, nursery) for port in ports]

        async def visit(dialer: Dialer, session: str) -> None:
            """Connect, send requests for a while, and leave: late joiners see it all, too."""
            while trio.current_time() < until:
                client = await dialer.connect(session, events=True)
                frames: list[Frame] = []
                async with trio.open_nursery() as visit:
                    visit.start_soon(read, client, frames)
                    await send_requests(client, min(until, trio.current_time() + draw.uniform(1, 4)), draw)
                    await client.socket.aclose()

        for session in SESSIONS:
            for dialer in dialers:
                for _ in range(2):
                    subscriber = await dialer.connect(session, events=True)
                    seen[session].append([])
                    nursery.start_soon(read, subscriber, seen[session][-1])
                for _ in range(2):
                    nursery.start_soon(visit, dialer, session)
        with trio.move_on_after(seconds):
            if disturbed is not None:
                await disturb(disturbed, draw)
            await trio.sleep_forever()
        await trio.sleep(REST_SECONDS)
        for dialer in dialers:
            dialer.close()
        nursery.cancel_scope.cancel()
    return seen


def summary(seen: dict[str, list[list[Frame]]]) -> tuple[Counter[str], dict[str, str], int]:
    """The faults seen: their counts, the first of each kind, and the number of frames."""
    faults: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for subscribers in seen.values():
        observer = Observer()
        for frames in subscribers:
            observer.look(frames, len(METRICS))
        faults += observer.faults
        examples |= observer.examples
    return faults, examples, sum(len(frames) for subscribers in seen.values() for frames in subscribers)


def main() -> int:
    """Play once, and report."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--faults", action="store_true", help="disturb the Redis meanwhile")
    options.add_argument("--keep", type=Path, help="a file for what was seen and logged")
    chosen = options.parse_args()
    with (
        lasting_redis() as shared,
        serving_alone(shared.url, *FLAGS) as one,
        serving_alone(shared.url, *FLAGS) as two,
    ):
        seen = trio.run(play, [one.port, two.port], chosen.seconds, shared if chosen.faults else None)
    if chosen.keep is not None:
        chosen.keep.write_text(json.dumps({"seen": seen, "logs": [one.log, two.log]}))
    faults, examples, frames = summary(seen)
    sys.stdout.write(f"{frames} frames\n")
    for fault, times in sorted(faults.items()):
        sys.stdout.write(f"{times:6}  {fault}: {examples[fault]}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
