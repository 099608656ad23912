"""Clients that ask and disconnect silently, while others of the same session and of other sessions stay.

The effects on those that stay are counted: none of them may be closed, no process may end, no tick may be
lost, and no log may contain a traceback.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import ConnectionClosed
from typing_extensions import override

from portfolio_trio.protocol.messages import SUBPROTOCOL
from tests.support.processes import Dialer, Tree, json_or_skip, serving_alone, serving_with_workers
from tests.support.redis_servers import private_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

SHAPES: Final = ("one process", "two servers", "two workers", "three workers")
"""Which processes serve: one, two of one store, several behind one port."""

SESSIONS: Final = 2
LEAVERS: Final = 6
LEFT_WITHIN: Final = 0.03
APART: Final = 4
TICK_SECONDS: Final = 0.5
PATIENCE: Final = 30.0

_FLAGS: Final = (
    *("--market-update-interval-seconds", str(TICK_SECONDS)),
    *("--metric-delay-seconds", "0,0.03"),
    *("--drain-seconds", "1"),
)
_ANALYZE: Final = json.dumps({"action": "analyze", "ticker": "AAPL"}).encode()
# A text frame, masked with zeros: a client's frame has to be masked.
_FRAME: Final = bytes([0x81, 0x80 | len(_ANALYZE), 0, 0, 0, 0]) + _ANALYZE


@dataclass
class Toll:
    """What came of it.

    Attributes:
        left: Connections that asked and were aborted.
        answers: Answers to clients that stay.
        closed: Closed sockets of clients that stay.
        late: Some clients that stay did not get their answers.
        ended: Processes that ended.
        tracebacks: Lines of the logs that begin one, or report an error.
        ticks_lost: Ticks that failed, and sockets that saw none at the end.
    """

    left: int = 0
    answers: int = 0
    closed: int = 0
    late: int = 0
    ended: int = 0
    tracebacks: int = 0
    ticks_lost: int = 0
    log: list[str] = field(default_factory=list, repr=False)

    @property
    def is_clean(self) -> bool:
        """Whether only the leaving clients noticed anything."""
        harm = self.closed + self.late + self.ended + self.tracebacks + self.ticks_lost
        return self.left > 0 and self.answers > 0 and harm == 0

    @override
    def __str__(self) -> str:
        return (
            f"{self.left} clients left, {self.answers} answers to others; {self.ended} processes ended, "
            f"{self.closed} sockets of others closed, {self.late} left waiting, "
            f"{self.tracebacks} tracebacks, {self.ticks_lost} ticks lost"
        )


def abort_often(shape: str, seconds: float, seed: int = 0) -> Toll:
    """Start servers of one shape on a store of their own, and let clients ask and leave for so long."""
    toll = Toll()
    with ExitStack() as stack:
        store = stack.enter_context(private_server(json_or_skip()))
        trees = [stack.enter_context(each) for each in _serving(shape, store.url)]
        trio.run(_crowd, [tree.port for tree in trees], seconds, random.Random(seed), toll)
        for tree in trees:
            _count(tree, toll)
    return toll


def _serving(shape: str, url: str) -> Iterator[AbstractContextManager[Tree]]:
    if shape.endswith("workers"):
        yield serving_with_workers(url, *_FLAGS, workers=SHAPES.index(shape))
    else:
        for _ in range(SHAPES.index(shape) + 1):
            yield serving_alone(url, *_FLAGS)


def _count(tree: Tree, toll: Toll) -> None:
    served = tree.logged(r"worker \d serves")
    toll.ended += (tree.supervisor.poll() is not None) + len(served) - len(set(served))
    toll.tracebacks += len(tree.logged(r"Traceback \(most recent|\bERROR\b"))
    toll.ticks_lost += len(tree.logged("the market cannot be updated"))
    toll.log += tree.log


async def _crowd(ports: list[int], seconds: float, draw: random.Random, toll: Toll) -> None:
    done = trio.Event()
    with trio.fail_after(seconds + 2 * PATIENCE):
        async with trio.open_nursery() as sockets:
            first, last = Dialer(ports[0], sockets), Dialer(ports[-1], sockets)
            try:
                async with trio.open_nursery() as crowd:
                    for number in range(SESSIONS):
                        session = f"left-{number}"
                        for _ in range(LEAVERS):
                            mine = random.Random(draw.random())
                            crowd.start_soon(_ask_and_leave, ports[0], session, mine, done, toll)
                        crowd.start_soon(_trade, last, session, done, toll)
                        crowd.start_soon(_look_on, first, session, done, toll)
                    for number in range(APART):
                        dialer = (first, last)[number % 2]
                        crowd.start_soon(_analyze, dialer, f"apart-{number}", done, toll)
                    await trio.sleep(seconds)
                    done.set()
            finally:
                first.close()
                last.close()
                sockets.cancel_scope.cancel()


async def _ask_and_leave(port: int, session: str, draw: random.Random, done: trio.Event, toll: Toll) -> None:
    """Come, ask, and be gone a moment after it; again and again."""
    while not done.is_set():
        with suppress(OSError, trio.BrokenResourceError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            try:
                await stream.send_all(_upgrade(port, session))
                if draw.random() < 0.5:
                    # Fast machine or slow: at the moment of the results.
                    await _until(stream, b'"portfolio"')
                await stream.send_all(_FRAME)
                if draw.random() < 0.5:
                    await _until(stream, b"analysis_started")
                await trio.sleep(draw.uniform(0, LEFT_WITHIN))
                toll.left += 1
            finally:
                # The server gets a reset instead of a close.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.socket.close()
        await trio.sleep(draw.uniform(0, LEFT_WITHIN))


def _upgrade(port: int, session: str) -> bytes:
    return (
        f"GET /ws/{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


async def _until(stream: trio.SocketStream, word: bytes) -> None:
    """Read until a message arrives; it may never arrive, for example if another client's run replaced it."""
    seen = b""
    with trio.move_on_after(LEFT_WITHIN * 10):
        while word not in seen and (more := await stream.receive_some()):
            seen += more


async def _trade(dialer: Dialer, session: str, done: trio.Event, toll: Toll) -> None:
    """Buy and sell, and have each trade answered."""
    with _staying(toll):
        client = await dialer.subscribe(session)
        while not done.is_set():
            for shares in (1, -1):
                await client.send("trade", ticker="MSFT", shares=shares, id=toll.answers)
                with trio.fail_after(PATIENCE):
                    while "id" not in await client.receive():
                        pass
                toll.answers += 1
            await trio.sleep(0.005)


async def _look_on(dialer: Dialer, session: str, done: trio.Event, toll: Toll) -> None:
    """See what the others do, and the ticks until the end."""
    with _staying(toll):
        client = await dialer.subscribe(session)
        while not done.is_set():
            with trio.fail_after(PATIENCE):
                await client.receive()
        with trio.fail_after(PATIENCE):
            await client.until("portfolio_update")


async def _analyze(dialer: Dialer, session: str, done: trio.Event, toll: Toll) -> None:
    """Have analyses of a session of one's own, each to its end, and see the ticks until the end."""
    with _staying(toll):
        client = await dialer.subscribe(session)
        while not done.is_set():
            await client.send("analyze", ticker="AAPL")
            with trio.fail_after(PATIENCE):
                await client.until("analysis_completed")
            toll.answers += 1
            await trio.sleep(0.1)
        with trio.fail_after(PATIENCE):
            await client.until("portfolio_update")


@contextmanager
def _staying(toll: Toll) -> Iterator[None]:
    """Count a socket that is closed, or not answered, though its client stays."""
    try:
        yield
    except* ConnectionClosed:
        toll.closed += 1
    except* trio.TooSlowError:
        toll.late += 1
