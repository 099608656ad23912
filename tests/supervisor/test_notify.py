"""The notifications to systemd, as datagrams."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from portfolio_trio.supervisor.notify import tell_ready
from tests.support.processes import json_or_skip
from tests.support.redis_servers import private_server

PATIENCE = 60


@pytest.mark.parametrize("form", ["file", "abstract"])
def test_readiness_is_one_datagram(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has names that are no files")
    name = str(tmp_path / "notify") if form == "file" else f"@portfolio-trio-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        tell_ready()
        assert systemd.recv(64) == b"READY=1"


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "@nobody-listens", "vsock:2:1234", "relative"])
def test_who_does_not_listen_does_no_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    tell_ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell_ready()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_tells_once_when_it_serves(workers: int, tmp_path: Path) -> None:
    with private_server(json_or_skip()) as redis, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        command = [sys.executable, "-m", "portfolio_trio", "serve", "--port", "0", "--workers", str(workers)]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "PORTFOLIO_REDIS_URL": redis.url,
        }
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as server:
            assert systemd.recv(64) == b"READY=1"
            server.terminate()
            _, log = server.communicate(timeout=PATIENCE)
        assert server.returncode == 0, log
        assert "serving url=ws://" in log
        systemd.settimeout(0)
        with pytest.raises(BlockingIOError):
            systemd.recv(64)
