"""``portfolio-trio serve`` as processes, and real sockets to them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from trio_websocket import wrap_client_stream
from websockets.sync.client import ClientConnection, connect

from portfolio_trio.protocol.messages import SUBPROTOCOL
from tests.support.app import Client, Frame
from tests.support.redis_servers import (
    NO_PRIVATE_JSON_SERVER,
    Command,
    Server,
    json_command,
    private_server,
)

PATIENCE = 30
STORY_SECONDS = 60
WORKERS, TICK = "portfolio-workers:{market}", "portfolio-tick:{market}"
FOR_EVER = ("--metric-delay-seconds", "600")
QUICK = ("--metric-delay-seconds", "0,0.2")
# No tick starts a run again: what happens is what a test does.
NO_RESTARTS = ("--freshness-tolerance", "1000")
TICKING = (*NO_RESTARTS, "--market-update-interval-seconds", "0.5", "--log-level", "debug")
COMMAND = (sys.executable, "-m", "portfolio_trio", "serve", "--port", "0")


class Tree:
    """A supervisor and its workers, or one server alone; what they log is read as it comes."""

    def __init__(self, *flags: str, environment: dict[str, str]) -> None:
        self.supervisor = subprocess.Popen(
            [*COMMAND, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            # A process group of its own, so that a test can do what Ctrl-C in a terminal does.
            start_new_session=True,
        )
        self.log: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.supervisor.stderr is not None
        for line in self.supervisor.stderr:
            with self._more:
                self.log.append(line)
                self._more.notify_all()

    def logged(self, pattern: str) -> list[str]:
        return [match[match.lastindex or 0] for line in self.log if (match := re.search(pattern, line))]

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until a number of lines match; returns the first group of each."""
        with self._more:
            if not self._more.wait_for(lambda: len(self.logged(pattern)) >= times, PATIENCE):
                raise AssertionError(f"no {times} x {pattern}\n" + "".join(self.log))
            return self.logged(pattern)

    def wait_for_workers(self, times: int = 2) -> list[int]:
        """Wait until a number of workers have begun to serve since the start; returns their processes."""
        return [int(each) for each in self.wait_for(r"a worker serves worker=\d pid=(\d+)", times)]

    @property
    def port(self) -> int:
        return int(self.wait_for(r"serving url=ws://[^:]+:(\d+)")[0])

    def get(self, path: str) -> int:
        return self.read(path)[0]

    def read(self, path: str) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def websocket(self, session: str = "s", **options: Any) -> ClientConnection:
        client: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}/ws/{session}",
            open_timeout=PATIENCE,
            close_timeout=PATIENCE,
            **options,
        )
        return client

    def ask(self, session: str, **request: object) -> Frame:
        """The answer to the only request of a socket."""
        with self.websocket(session) as client:
            return ask(client, **request)

    def interrupt_the_terminal(self) -> None:
        """Do what Ctrl-C in its terminal does."""
        os.killpg(self.supervisor.pid, signal.SIGINT)

    def end(self, by: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.supervisor.send_signal(by)
        return self.supervisor.wait(PATIENCE)

    def wait_until_all_are_gone(self) -> int:
        """Wait until no process of it is left; the supervisor's exit status."""
        # stderr is shared by all: it ends when the last of them has.
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "".join(self.log)
        return self.supervisor.wait(PATIENCE)

    def kill(self) -> None:
        self.supervisor.kill()
        for process in self.logged(r"a worker serves worker=\d pid=(\d+)"):
            # A worker ends without its supervisor, but in a test that failed not within reason.
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"portfolio_trio.cli.worker" in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(int(process), signal.SIGKILL)
        self.supervisor.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.supervisor.stderr is not None
        self.supervisor.stderr.close()


def ask(socket: ClientConnection, **request: object) -> Frame:
    """Send one request and take the next message."""
    socket.send(json.dumps(request))
    answer: Frame = json.loads(socket.recv(PATIENCE))
    return answer


def watch(url: str, *flags: str, until: str, do: Callable[[str], object] = str) -> list[str]:
    """What ``watch`` prints up to a line that ends so, then Ctrl-C; something is done at each line."""
    command = [sys.executable, "-m", "portfolio_trio", "watch", url, "--plain", *flags]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        # One that does not get there ends, so that the test does.
        patience = threading.Timer(PATIENCE, watching.kill)
        patience.start()
        for line in watching.stdout:
            lines.append(line.rstrip())
            do(lines[-1])
            if lines[-1].endswith(until):
                watching.send_signal(signal.SIGINT)
                break
        status = watching.wait(PATIENCE)
        patience.cancel()
    assert status == 0, lines
    return lines


@contextmanager
def serving_with_workers(redis_url: str, *flags: str, workers: int = 2) -> Iterator[Tree]:
    """A tree whose workers all serve; no process of it outlives the block."""
    tree = Tree("--workers", str(workers), *flags, environment={"PORTFOLIO_REDIS_URL": redis_url})
    try:
        tree.wait_for_workers(workers)
        yield tree
    finally:
        tree.kill()


@contextmanager
def serving_alone(redis_url: str, *flags: str) -> Iterator[Tree]:
    """A server that is one process; it serves, and does not outlive the block."""
    tree = Tree(*flags, environment={"PORTFOLIO_REDIS_URL": redis_url})
    try:
        tree.wait_for(r"serving url=ws://")
        yield tree
    finally:
        tree.kill()


@dataclass(frozen=True)
class Shared:
    """The Redis that processes share, seen from the side."""

    nodes: Sequence[Server]

    @property
    def url(self) -> str:
        if len(self.nodes) == 1:
            return self.nodes[0].url
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def do(self, *command: str) -> bytes | None:
        """Run a command where its key is."""
        for node in self.nodes:
            try:
                reply: bytes | None = node.do(*command)
            except redis.ResponseError as error:
                if not str(error).startswith("MOVED"):
                    raise
            else:
                return reply
        raise AssertionError(f"no node has the key of {command}")

    def document(self, session_id: str) -> Frame:
        (found,) = json.loads(self.do("JSON.GET", f"portfolio:{{{session_id}}}", "$") or b"[null]")
        document: Frame = found or {}
        return document

    @property
    def leader(self) -> str:
        """The worker that holds the lease of the market, or held it last."""
        return (self.do("HGET", WORKERS, "updater") or b"").decode()

    @property
    def tick_id(self) -> int:
        return int(self.do("HGET", TICK, "tick_id") or 0)


@dataclass(frozen=True)
class Pair:
    """Two servers of one process each; the first one leads at first, and its metrics take forever."""

    shared: Shared
    servers: tuple[Tree, Tree]


@contextmanager
def lasting_redis() -> Iterator[Shared]:
    """A Redis with JSON that keeps what it has acknowledged, over a kill -9, too."""
    with private_server(json_or_skip(), "--appendonly", "yes", "--appendfsync", "always") as server:
        yield Shared([server])


def json_or_skip() -> Command:
    """What starts a server with JSON, for a test that is skipped without one."""
    command = json_command()
    if command is None:
        pytest.skip(NO_PRIVATE_JSON_SERVER)
    return command


@contextmanager
def two_processes(shared: Shared, *flags: str) -> Iterator[Pair]:
    """Two servers for the length of the block."""
    with (
        serving_alone(shared.url, *FOR_EVER, *flags) as one,
        serving_alone(shared.url, *QUICK, *flags) as two,
    ):
        yield Pair(shared, (one, two))


class Dialer:
    """Where one server lets sockets in, and who takes care of them."""

    def __init__(self, port: int, nursery: trio.Nursery) -> None:
        self._port = port
        self._nursery = nursery
        self._streams: list[trio.SocketStream] = []

    async def connect(self, session_id: str, *, events: bool = False) -> Client:
        """Open a socket; with ``events`` it speaks the subprotocol."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._streams.append(stream)
        socket = await wrap_client_stream(
            self._nursery,
            stream,
            "127.0.0.1",
            f"/ws/{session_id}",
            subprotocols=[SUBPROTOCOL] if events else None,
        )
        return Client(socket, stream)

    async def subscribe(self, session_id: str) -> Client:
        """Open a socket that gets the session's events, and has got its state."""
        subscriber = await self.connect(session_id, events=True)
        assert (await subscriber.receive())["type"] == "portfolio"
        return subscriber

    def close(self) -> None:
        """Close every socket without a close frame."""
        for stream in self._streams:
            stream.socket.close()


@asynccontextmanager
async def open_dialers(*servers: Tree) -> AsyncIterator[list[Dialer]]:
    """The ways into some servers; the block has to end within `STORY_SECONDS`."""
    with trio.fail_after(STORY_SECONDS):
        with ExitStack() as stack:
            async with trio.open_nursery() as nursery:
                dialers = [Dialer(server.port, nursery) for server in servers]
                for dialer in dialers:
                    stack.callback(dialer.close)
                yield dialers
                nursery.cancel_scope.cancel()
