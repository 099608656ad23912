"""Behaviour on a system without parts of POSIX: they are removed here, in a separate process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import trio

from portfolio_trio.settings import Settings
from portfolio_trio.supervisor.listeners import StartError, stop_signals
from portfolio_trio.supervisor.supervisor import supervise

# Others' packages are loaded first, as they are on this system; ours see one without forks, Unix sockets and
# locks of files.
WINDOWS = """
import functools, os, signal, socket, subprocess, sys
import anyio._backends._trio, fakeredis, jwt, lupa, numpy, pydantic_settings, redis, rich.live, trio_websocket
import trio

signal.SIGBREAK = signal.SIGUSR1
# Windows has pairs of sockets, only of another family.
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)
for module, names in {
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "pthread_sigmask"),
    socket: ("AF_UNIX", "SO_REUSEPORT", "SO_PEERCRED"),
    os: ("fork", "geteuid", "getuid", "O_CLOEXEC", "pwrite", "sysconf"),
}.items():
    for name in names:
        delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "readline"):
    sys.modules[name] = None
sys.platform = "win32"

import importlib, logging, pkgutil
import portfolio_trio
for found in pkgutil.walk_packages(portfolio_trio.__path__, "portfolio_trio."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)

from portfolio_trio.client import connect
from portfolio_trio.server.serve import serve
from portfolio_trio.settings import Settings

async def main():
    async with trio.open_nursery() as nursery:
        host, port = await nursery.start(serve, Settings.read(["--port", "0"], program="serve"))
        async with connect(f"ws://{host}:{port}/ws/s") as portfolio:
            async with portfolio.analyze("AAPL") as results:
                print(*sorted([outcome.metric async for outcome in results]))
        signal.raise_signal(signal.SIGBREAK)
    print("drained")

async def bounded():
    with trio.fail_after(50):
        await main()
trio.run(bounded)
"""


def test_the_embedded_engine_serves_without_the_parts_of_posix() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WINDOWS], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.splitlines() == [
        "allocation_score concentration correlation momentum portfolio_risk",
        "drained",
    ], ended.stderr


@pytest.mark.trio
async def test_several_workers_are_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.read(["--workers", "2", "--redis-url", "redis://127.0.0.1:1"], program="serve")
    monkeypatch.setattr(sys, "platform", "win32")
    with trio.fail_after(5), pytest.raises(StartError, match="not supported on Windows"):
        await supervise(settings, [])


def test_a_closed_console_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop_signals() == [signal.SIGTERM, signal.SIGINT]
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    assert stop_signals() == [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
