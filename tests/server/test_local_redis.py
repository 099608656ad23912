"""``serve --redis-url local:DIRECTORY`` as processes: edits survive whichever process is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local_redis.directories import fresh_directory, runs_in, want_local_redis
from tests.support.processes import COMMAND, PATIENCE, Tree, ask, serving_alone, serving_with_workers
from tests.support.redis_servers import wait_until

SESSION = "one-that-lasts"
SAID = r"Redis: redis \S+ at .*/redis.sock; JSON: \S+ \S+; persistence: append-only file \(everysec\)"
REDIS = r"Redis serves .*pid=(\d+)"


@pytest.fixture
def directory() -> Iterator[Path]:
    want_local_redis()
    with fresh_directory() as path:
        yield path


def edit(tree: Tree, shares: float) -> object:
    """Edit the session and run an analysis of it; its version then."""
    with tree.websocket(SESSION) as client:
        answer = ask(client, action="set_holdings", holdings={"AAPL": shares, "MSFT": 1})
        assert answer["type"] == "portfolio"
        first = ask(client, action="analyze", ticker="AAPL")
        frames = [first, *(json.loads(client.recv(PATIENCE)) for _ in range(4))]
        assert {frame["type"] for frame in frames} == {"analysis_result"}
    return answer["version"]


def expect(tree: Tree, shares: float, version: object) -> None:
    """Expect the session as :func:`edit` left it."""
    with tree.websocket(SESSION) as client:
        portfolio = ask(client, action="get_portfolio")
        assert (portfolio["holdings"], portfolio["version"]) == ({"AAPL": shares, "MSFT": 1}, version)
        results = ask(client, action="get_results")["results"]
        assert isinstance(results, list)
        assert len(results) == 5


def redis_of(tree: Tree) -> int:
    return int(tree.wait_for(REDIS)[-1])


def kill_the_server(tree: Tree) -> None:
    os.kill(tree.supervisor.pid, signal.SIGKILL)


def kill_both(tree: Tree) -> None:
    os.kill(tree.supervisor.pid, signal.SIGKILL)
    os.kill(redis_of(tree), signal.SIGKILL)


def stop(tree: Tree) -> None:
    tree.supervisor.terminate()


@pytest.mark.parametrize("end", [kill_the_server, kill_both, stop, Tree.interrupt_the_terminal])
def test_an_edit_and_its_session_are_there_after_the_next_start(
    directory: Path, end: Callable[[Tree], None]
) -> None:
    url = f"local:{directory}"
    with serving_alone(url) as tree:
        assert len(tree.logged(SAID)) == 1
        version = edit(tree, 7.5)
        end(tree)
        status = tree.supervisor.wait(PATIENCE)
    if end in {stop, Tree.interrupt_the_terminal}:
        assert status == 0
        assert not runs_in(directory)
        assert "bye bye" in (directory / "redis.log").read_text().splitlines()[-1]
    with serving_alone(url) as tree:
        assert bool(tree.logged("left by a killed server")) is (end is kill_the_server)
        expect(tree, 7.5, version)


def test_a_redis_that_is_killed_comes_back_under_its_server(directory: Path) -> None:
    with serving_alone(f"local:{directory}") as tree:
        version = edit(tree, 7.5)
        with tree.websocket(SESSION) as client:
            os.kill(redis_of(tree), signal.SIGKILL)
            tree.wait_for(r"Redis is not running and will be restarted why=\"was ended by SIGKILL\"")
            # The socket stays open; what is asked meanwhile is answered, if only with an error.
            answer = ask(client, action="get_portfolio")
            assert answer["type"] == "portfolio" or answer["code"] == "unavailable"
            tree.wait_for(REDIS, times=2)
            wait_until(lambda: tree.get("/ready") == 200)
            assert ask(client, action="get_portfolio")["version"] == version
        expect(tree, 7.5, version)


@pytest.mark.parametrize("end", [kill_both, stop])
def test_workers_share_it(directory: Path, end: Callable[[Tree], None]) -> None:
    url = f"local:{directory}"
    with serving_with_workers(url) as tree:
        version = edit(tree, 2)
        # Whichever worker answers knows it.
        for _ in range(6):
            expect(tree, 2, version)
        assert len(tree.logged(REDIS)) == 1
        assert len(tree.logged(SAID)) == 1
        end(tree)
        tree.wait_until_all_are_gone()
    with serving_with_workers(url) as tree:
        expect(tree, 2, version)


def test_a_second_server_is_one_line_that_names_directory_and_process(directory: Path) -> None:
    with serving_alone(f"local:{directory}") as tree:
        for workers in ("1", "2"):
            ended = subprocess.run(
                [*COMMAND, "--workers", workers, "--redis-url", f"local:{directory}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
            assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
            assert f"{directory} is in use by another server (process {tree.supervisor.pid})" in ended.stderr
        assert tree.get("/ready") == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_that_takes_long_can_be_stopped(directory: Path, workers: str) -> None:
    silent = directory.parent / "redis-server"
    silent.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    silent.chmod(0o755)
    with Path(directory.parent / "log").open("w+") as log:
        started = subprocess.Popen(
            [*COMMAND, "--workers", workers, "--redis-url", f"local:{directory}"],
            stderr=log,
            env={**os.environ, "PATH": str(directory.parent)},
        )
        try:
            wait_until((directory / "redis.log").exists)
            started.terminate()
            assert started.wait(PATIENCE) == 1
        finally:
            started.kill()
        log.seek(0)
        said = log.read().splitlines()
    assert len(said) == 1
    assert "stopped by a signal before it served" in said[0]
    assert not runs_in(directory)
