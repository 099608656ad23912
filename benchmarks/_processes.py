"""Processes of a benchmark: a private Redis, servers on one core, load drivers on the other."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
SESSION: Final = "{session}"
_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_END_SECONDS: Final = 15.0
_DRIVER_SECONDS: Final = 300.0


def usable_cores() -> list[int]:
    """The cores this process may use; empty where the system cannot say or pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def server_core() -> int | None:
    """The core of the server under test; None where there is only one."""
    cores = usable_cores()
    return cores[0] if len(cores) > 1 else None


def client_core() -> int | None:
    """The core of everything else: the load driver and Redis; None where there is only one."""
    cores = usable_cores()
    return cores[1] if len(cores) > 1 else None


def pin(pid: int, core: int | None) -> None:
    """Keep a process, just started, on one core; a core of None leaves it where it is."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


@dataclass
class Redis:
    """A private Redis with JSON on a Unix socket."""

    path: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{self.path}"

    def client(self) -> redis.Redis:
        """A plain synchronous client of it."""
        return redis.Redis(unix_socket_path=str(self.path))

    def flush(self) -> None:
        """Forget every session."""
        with self.client() as client:
            client.flushall()


@contextmanager
def private_redis() -> Iterator[Redis]:
    """A Redis that lives for the block, on the core of the load driver.

    Raises:
        SystemExit: No server on the PATH speaks JSON.
    """
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        sys.exit("no redis-server or valkey-server on the PATH: the benchmarks need one that speaks JSON")
    with tempfile.TemporaryDirectory(prefix="pb") as directory:
        path = Path(directory, "redis.sock")
        words = [
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--dir",
            directory,
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        process = subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            pin(process.pid, client_core())
            found = Redis(path, process)
            _await_redis(found)
            yield found
        finally:
            _end(process)


def _await_redis(found: Redis) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with found.client() as client:
                client.execute_command("JSON.SET", "speaks-json", "$", "1")
                client.delete("speaks-json")
                return
        except redis.ResponseError:
            sys.exit(
                "the redis-server on the PATH has no JSON commands: use Redis 8, or Valkey with valkey-json"
            )
        except redis.ConnectionError:
            time.sleep(_POLL_SECONDS)
    sys.exit("the private Redis did not start")


@dataclass
class Server:
    """A server under test."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its address, with a place for the session id."""
        return f"ws://127.0.0.1:{self.port}/ws/{SESSION}"

    @property
    def resident_bytes(self) -> int:
        """Memory it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def cpu_seconds(self) -> float:
        """CPU it has used, user and system."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def server(name: str, command: Sequence[str], port: int) -> Iterator[Server]:
    """A server for the length of the block, on its own core, ready for connections.

    Args:
        name: Its name in reports.
        command: Arguments after ``python``; it listens on ``port`` of 127.0.0.1.
        port: As above.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *command], env=_environment(), cwd=tempfile.gettempdir(), stdout=log, stderr=log
        )
        try:
            pin(process.pid, server_core())
            if not _listens(port, process):
                log.seek(0)
                sys.exit(f"{name} did not start:\n{log.read().decode(errors='replace')[-4000:]}")
            yield Server(name, port, process)
        finally:
            _end(process)


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """The environment without settings of the server, and with the checkout and modules of this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTFOLIO_")}
    kept["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(HERE)))
    return kept


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def drive(target: Server, *words: str | float) -> dict[str, Any]:
    """Run ``load.py`` against a server, on the other core, and return the figures it prints."""
    command = [sys.executable, str(HERE / "load.py"), target.url, "--pid", str(target.process.pid)]
    with subprocess.Popen(
        [*command, *map(str, words)], env=_environment(), stdout=subprocess.PIPE
    ) as process:
        pin(process.pid, client_core())
        try:
            printed, _ = process.communicate(timeout=_DRIVER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        sys.exit(f"the load driver failed against {target.name}")
    figures: dict[str, Any] = json.loads(printed)
    return figures


def describe_machine(found: Redis) -> dict[str, str]:
    """The machine and versions the figures were measured on."""
    with found.client() as client:
        info: dict[str, Any] = client.info("server")
        modules = client.execute_command("MODULE LIST")
    engine = (
        f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    )
    packages = ("trio", "trio-websocket", "fastapi", "uvicorn", "uvloop", "redis", "hiredis", "websockets")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "pinning": "server on one core, load driver and Redis on another"
        if server_core() is not None
        else "none",
        "redis": f"{engine}, {len(modules)} module(s), Unix socket",
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
    }
