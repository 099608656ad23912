"""Workers as processes: on one port, replaced, drained together, never orphaned."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from portfolio_trio.cli import worker
from portfolio_trio.settings import Settings
from portfolio_trio.supervisor.child_process import _python
from tests.support.app import METRICS
from tests.support.processes import COMMAND, PATIENCE, Tree, serving_with_workers
from tests.support.redis_servers import NO_JSON_SERVER, wait_until
from tests.telemetry.test_exposition import samples


@pytest.fixture
def redis_url(server_url: str | None) -> str:
    if server_url is None:
        pytest.skip(NO_JSON_SERVER)
    return server_url


@pytest.fixture(scope="module")
def shared_tree(server_url: str | None) -> Iterator[Tree]:
    if server_url is None:
        pytest.skip(NO_JSON_SERVER)
    with serving_with_workers(server_url, "--metrics-address", "127.0.0.1:0") as tree:
        yield tree


def stands_still(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_each_worker_answers_on_the_one_port(shared_tree: Tree) -> None:
    one, other = shared_tree.wait_for_workers()[-2:]
    for paused in (one, other):
        os.kill(paused, signal.SIGSTOP)
        try:
            wait_until(partial(stands_still, paused))
            # Only the other one can have answered.
            assert {shared_tree.get("/health") for _ in range(20)} == {200}
        finally:
            os.kill(paused, signal.SIGCONT)
    assert {shared_tree.get("/ready") for _ in range(20)} == {200}


def test_a_worker_has_a_session_of_its_own_and_no_secret_on_its_command_line(
    shared_tree: Tree, redis_url: str
) -> None:
    for process in shared_tree.wait_for_workers()[-2:]:
        assert os.getsid(process) == process
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
        assert "portfolio_trio.cli.worker" in words
        assert not any(redis_url in word for word in words)


def test_a_worker_that_is_killed_comes_back_and_nobody_is_turned_away_meanwhile(shared_tree: Tree) -> None:
    served = shared_tree.wait_for_workers()
    os.kill(served[-1], signal.SIGKILL)
    shared_tree.wait_for(r"will be restarted worker=\d why=\"was ended by SIGKILL\"")
    answers = []
    while len(shared_tree.logged(r"a worker serves")) == len(served):
        answers.append(shared_tree.get("/health"))
        assert len(answers) < 20_000
    assert set(answers) <= {200}
    new = shared_tree.wait_for_workers(len(served) + 1)[-1]
    assert new not in served
    assert shared_tree.get("/health") == 200


def test_the_supervisor_tells_what_all_workers_have_counted(shared_tree: Tree) -> None:
    with shared_tree.websocket(secrets.token_hex(8)) as client:
        client.send(json.dumps({"action": "analyze", "ticker": "AAPL"}))
        assert len([client.recv(PATIENCE) for _ in METRICS]) == 5
    port = int(shared_tree.wait_for(r"url=http://127.0.0.1:(\d+)/metrics")[0])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as prometheus:
        prometheus.request("GET", "/metrics")
        found = samples(prometheus.getresponse().read())
    workers = {labels for name, labels in found if name == "portfolio_redis_up"}
    assert workers == {"worker=1", "worker=2"}
    assert sum(v for (name, _), v in found.items() if name == "portfolio_first_result_seconds_count") == 1
    assert sum(v for (name, _), v in found.items() if name == "portfolio_market_leader") == 1
    assert found["process_resident_memory_bytes", "worker=supervisor"] > 0
    # Each of them has been started again as often as it was killed above.
    assert found["portfolio_worker_restarts_total", "worker=supervisor"] == len(
        shared_tree.logged("will be restarted")
    )


def terminate(tree: Tree) -> None:
    tree.supervisor.terminate()


def orphan(tree: Tree) -> None:
    tree.supervisor.kill()


@pytest.mark.parametrize(
    ("stop", "status"), [(Tree.interrupt_the_terminal, 0), (terminate, 0), (orphan, -signal.SIGKILL)]
)
def test_workers_let_analyses_finish_and_end(
    redis_url: str, stop: Callable[[Tree], None], status: int
) -> None:
    with serving_with_workers(redis_url, "--metric-delay-seconds", "0.5") as tree:
        with tree.websocket(secrets.token_hex(8)) as client:
            client.send(json.dumps({"action": "analyze", "ticker": "AAPL"}))
            # The answer to this shows that the analysis is in progress.
            client.send(json.dumps({"action": "get_portfolio"}))
            frames = [json.loads(client.recv(PATIENCE))]
            stop(tree)
            frames += map(json.loads, client)
            assert [frame["type"] for frame in frames].count("analysis_result") == len(METRICS)
            assert client.close_code == 1001
        assert tree.wait_until_all_are_gone() == status
        assert [len(tree.logged(rf"worker {each} .*draining")) for each in (1, 2)] == [1, 1]
        assert not tree.logged("Traceback")


def test_a_second_signal_ends_all_at_once(redis_url: str) -> None:
    patient = ("--metric-delay-seconds", "600", "--drain-seconds", "600")
    with serving_with_workers(redis_url, *patient) as tree, tree.websocket(secrets.token_hex(8)) as client:
        client.send(json.dumps({"action": "analyze", "ticker": "AAPL"}))
        client.send(json.dumps({"action": "get_portfolio"}))
        client.recv(PATIENCE)
        terminate(tree)
        tree.wait_for(r"worker \d .*draining", times=2)
        wait_until(partial(refuses, tree.port))
        terminate(tree)
        assert tree.wait_until_all_are_gone() == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "set PORTFOLIO_REDIS_URL (--redis-url), or serve with --workers 1"),
        (("--redis-url", "unix:///does/not/exist.sock"), "the store cannot be used"),
        (("--host", "192.0.2.1", "--insecure", "--redis-url", "redis://127.0.0.1"), "cannot listen on"),
        (("--workers", "0"), "PORTFOLIO_WORKERS (--workers)"),
    ],
)
def test_what_keeps_workers_from_starting_is_one_line(flags: tuple[str, ...], words: str) -> None:
    ended = subprocess.run(
        [*COMMAND, "--workers", "3", *flags], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert words in ended.stderr


@pytest.mark.trio
async def test_a_worker_reports_when_it_serves_and_ends_with_the_supervisors_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The garbage collector of the tests stays as it is.
    monkeypatch.setattr(worker, "settle", lambda: None)
    mine, its = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    inherited = [its.detach(), listening.detach()]
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the standard library's own signature
    work = partial(worker.serve_for_supervisor, Settings(), inherited)
    with trio.fail_after(PATIENCE):
        async with (
            trio.open_nursery() as nursery,
            trio.SocketStream(trio.socket.from_stdlib_socket(mine)) as line,
        ):
            nursery.start_soon(work)
            assert await line.receive_some() == b"\n"
            assert not any(os.get_inheritable(descriptor) for descriptor in inherited)
            async with await trio.open_tcp_stream(*address) as client:
                await client.send_all(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                assert b"200" in await client.receive_some()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address).close()


def test_a_worker_finds_modules_where_its_supervisor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/usr/lib"])
    assert "-P" in _python()
    for here in ("", str(Path.cwd())):
        monkeypatch.setattr("sys.path", [here, "/usr/lib"])
        assert "-P" not in _python()
