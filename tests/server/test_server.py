"""The server as a process, on real sockets, with third-party clients."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.support.app import METRICS
from tests.support.processes import PATIENCE, Tree, ask, serving_alone, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.engines import Engine


@pytest.fixture(scope="module")
def process() -> Iterator[Tree]:
    with serving_alone("embedded://", "--max-message-bytes", "262144", "--header-seconds", "1") as started:
        yield started


def analyze(socket: ClientConnection, ticker: str = "AAPL") -> list[str]:
    socket.send(json.dumps({"action": "analyze", "ticker": ticker}))
    frames = [json.loads(socket.recv(PATIENCE)) for _ in METRICS]
    assert {(frame["type"], frame["ticker"]) for frame in frames} == {("analysis_result", ticker)}
    return [frame["metric"] for frame in frames]


def upgrade(path: bytes, *, host: bytes = b"h", connection: bytes = b"Upgrade") -> bytes:
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: %b\r\n\r\n"
    return head % (path, host, connection)


def raw(process: Tree, data: bytes) -> bytes:
    """Send bytes, say that this was all, and read to the end."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def test_the_whole_of_the_first_protocol(engine: Engine) -> None:
    # A session of its own: other tests leave theirs in the same Redis.
    session = secrets.token_hex(8)
    with serving_alone(engine.url) as process, process.websocket(session) as client:
        assert analyze(client) == list(METRICS)
        assert ask(client, action="delete")["detail"] == "Unknown action: delete"
        assert ask(client, action="analyze")["detail"].startswith("Invalid message: ")
        client.send(b"\x00\x01")
        assert json.loads(client.recv(PATIENCE))["code"] == "invalid_message"
        assert ask(client, action="set_holdings", holdings={"MSFT": 1, "JPM": -2.5})["version"] == 2
        assert analyze(client, "JPM") == list(METRICS)
        assert ask(client, action="cancel")["type"] == "analysis_cancelled"
        assert len(ask(client, action="get_results")["results"]) == 10
        assert ask(client, action="get_portfolio")["current_analysis"] is None
        assert process.get("/ready") == 200
        assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_clients_connected(by: signal.Signals) -> None:
    with serving_alone("embedded://", "--metric-delay-seconds", "30", "--drain-seconds", "0.2") as process:
        with process.websocket() as client:
            client.send(json.dumps({"action": "analyze", "ticker": "AAPL"}))
            assert ask(client, action="get_portfolio")["type"] == "portfolio"
            assert process.end(by) == 0
            assert json.loads(client.recv(PATIENCE))["code"] == "draining"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert "Traceback" not in "".join(process.log)


def test_a_second_signal_ends_it_at_once() -> None:
    with serving_alone("embedded://", "--metric-delay-seconds", "1000", "--drain-seconds", "1000") as process:
        with process.websocket() as client:
            client.send(json.dumps({"action": "analyze", "ticker": "AAPL"}))
            while ask(client, action="get_portfolio")["current_analysis"] is None:
                pass
            process.supervisor.send_signal(signal.SIGTERM)
            while not any("draining" in line for line in process.log):
                assert ask(client, action="get_portfolio")["type"] == "portfolio"
            assert process.end(signal.SIGTERM) == 0
        assert "Traceback" not in "".join(process.log)


def test_health_and_unknown_paths(process: Tree) -> None:
    assert process.read("/health") == (200, b'{"status":"ok"}')
    assert process.get("/nothing") == 404
    status, body = process.read("/asyncapi.json")
    document = json.loads(body)
    assert (status, document["asyncapi"]) == (200, "3.0.0")
    assert "portfolio_risk" in json.dumps(document)
    assert process.get("/ws/s") == 426


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (os.urandom(2000), b"400"),
        (
            b"GET /ws/s HTTP/1.1\r\nHost: \xff\xfe\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"400",
        ),
        (b"GET /ws/s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: \xe9, Upgrade\r\n\r\n", b"400"),
        (b"GET /elsewhere HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"", b""),
        (b"GET", b"400"),
    ],
    ids=["random", "host", "connection", "elsewhere", "long", "silent", "half"],
)
def test_no_head_of_any_bytes_ends_the_server(process: Tree, head: bytes, status: bytes) -> None:
    with process.websocket("bystander") as bystander:
        answer = raw(process, head)
        assert answer.startswith(b"HTTP/1.1 " + status if status else b"")
        assert analyze(bystander) == list(METRICS)


def test_a_client_that_says_nothing_is_let_go_after_the_deadline(process: Tree) -> None:
    with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    ("message", "code"),
    [("x" * 1_000_000, 1009), ("é" * 200_000, 1009)],
    ids=["characters", "bytes"],
)
def test_a_message_that_is_too_big_closes_its_socket_alone(process: Tree, message: str, code: int) -> None:
    with process.websocket("bystander") as bystander, process.websocket("big", max_size=None) as client:
        client.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        assert analyze(bystander) == list(METRICS)


def test_invalid_utf8_closes_its_socket_alone(process: Tree) -> None:
    with process.websocket("bystander") as bystander, process.websocket("bad") as client:
        client.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007
        assert analyze(bystander) == list(METRICS)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--redis-url", "redis://127.0.0.1:1"], "cannot connect to Redis"),
        (["--redis-url", "http://127.0.0.1"], "store"),
        (["--prices", "csv:/does/not/exist"], "no such file"),
        (["--prices", "tea-leaves"], "tea-leaves"),
        (["--default-holdings", '{"A B": 1}'], "is not a ticker"),
        (["--host", "192.0.2.1", "--insecure"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(flags: list[str], words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "portfolio_trio", "serve", "--port", "0", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == 1
    # It may lead the market before it listens.
    (reason,) = (line for line in ended.stderr.splitlines() if " INFO " not in line)
    assert words in reason


def test_a_port_that_is_taken_is_named(process: Tree) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "portfolio_trio", "serve", "--port", str(process.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == 1
    assert f"port {process.port}" in ended.stderr


def test_watch_shows_a_session_and_ends_on_ctrl_c(process: Tree) -> None:
    url = f"ws://127.0.0.1:{process.port}/ws/watched"
    lines = watch(url, "--ticker", "AAPL", until="completed")
    assert sum("AAPL" in line and "concentration" in line for line in lines) == 1
    command = [sys.executable, "-m", "portfolio_trio", "watch", "ws://127.0.0.1:1/ws/x"]
    absent = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (absent.returncode, len(absent.stderr.splitlines())) == (1, 1)


def test_the_demo_switches_and_ends_well() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "portfolio_trio", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"AAPL was cancelled in \d+ µs before GOOGL started", ended.stdout)
    assert ended.stdout.index("slowed") < ended.stdout.index("AAPL: run 1 started")
    assert "GOOGL: run 2 completed" in ended.stdout
