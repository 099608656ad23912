"""The cost of a message on the server's socket path, compared with the server of websockets.trio.

    python benchmarks/socket_path.py [--short] [--json PATH]

Both send every message back; frames are as long as an `analyze` and as a result. The servers take turns, and
what is compared is CPU of the server process for one message in and one out.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import uvloop
from _options import Options, run
from _processes import HERE, free_port, server
from _report import Bar, bars_table, ratios, table
from _sockets import Socket, frame
from typing_extensions import override

if TYPE_CHECKING:
    from _processes import Server

NAMES: Final = ("ours", "websockets")
CLIENTS: Final = (1, 16)
BYTES: Final = {"analyze": 38, "result": 450}


class _Echo(Socket):
    """Sends again whatever comes back, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = b""
        self.count = 0
        self.stopped = True
        self.done = asyncio.Event()

    def begin(self, size: int) -> None:
        self.ready, self.count, self.stopped = frame(b"x" * size), 0, False
        self.done.clear()
        self.send(self.ready)

    @override
    def on_message(self, payload: bytes) -> None:
        self.count += 1
        if self.stopped:
            self.done.set()
        else:
            self.send(self.ready)


async def _turn(target: Server, clients: list[_Echo], size: int, seconds: float) -> dict[str, float]:
    before = target.cpu_seconds
    for client in clients:
        client.begin(size)
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopped = True
    for client in clients:
        await client.done.wait()
    messages = sum(client.count for client in clients)
    return {"cpu_us": (target.cpu_seconds - before) / messages * 1e6, "per_s": messages / seconds}


async def _measure(options: Options, servers: dict[str, Server]) -> list[dict[str, Any]]:
    clients: dict[str, list[_Echo]] = {}
    for name, target in servers.items():
        clients[name] = [_Echo() for _ in range(max(CLIENTS))]
        for client in clients[name]:
            await client.connect(target.url.replace("/ws/{session}", "/ws/echo"))
    rows = []
    for turn in range(options.rounds + 1):
        for count in CLIENTS:
            for what, size in BYTES.items():
                for name in NAMES if turn % 2 else reversed(NAMES):
                    figures = await _turn(servers[name], clients[name][:count], size, options.seconds)
                    # The first turn warms up.
                    if turn:
                        rows.append({"server": name, "clients": count, "message": what, **figures})
    for each in clients.values():
        for client in each:
            client.close()
    return rows


def measure(options: Options) -> dict[str, Any]:
    """Let both echo in turns; return rows and ratios."""
    with ExitStack() as stack:
        servers = {}
        for name in NAMES:
            port = free_port()
            words = [str(HERE / "peers" / "echo.py"), "--port", str(port), "--server", name]
            servers[name] = stack.enter_context(server(name, words, port))
        rows = uvloop.run(_measure(options, servers))
    bars = []
    for count in CLIENTS:
        for what in BYTES:
            ours, theirs = (
                [
                    row["cpu_us"]
                    for row in rows
                    if (row["server"], row["clients"], row["message"]) == (name, count, what)
                ]
                for name in NAMES
            )
            bars.append(
                Bar(f"CPU of a message, {what}, {count} clients / websockets.trio", ratios(ours, theirs))
            )
    return {"rows": rows, "bars": bars}


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    keys = ("server", "clients", "message", "cpu_us", "per_s")
    print(table(("server", "clients", "message", "CPU us", "messages/s"), _medians(figures["rows"], keys)))
    print()
    print(bars_table(figures["bars"]))


def _medians(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[list[object]]:
    groups: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys[:3]), []).append(row)
    return [
        [*names, *(sorted(row[key] for row in each)[len(each) // 2] for key in keys[3:])]
        for names, each in groups.items()
    ]


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=10, seconds=0.5)
