"""A command whose output nobody reads any more ends quietly, as other programs in a pipe do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import PATIENCE, Tree, serving_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")

CLOSES = Path(__file__).parents[2] / "examples" / "data" / "closes.csv"
# What a shell says of a program that a closed pipe has ended.
ENDED_BY_PIPE = 141


def ended(*words: str) -> tuple[int, str]:
    """The exit status and the standard error of a command that writes into a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "portfolio_trio", *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Tree]:
    with serving_alone("embedded://") as tree:
        yield tree


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--plain"),
        ("check", "--redis-url", "embedded://"),
        ("prices", f"csv:{CLOSES}"),
        ("types",),
    ],
)
def test_a_command_ends_quietly(words: tuple[str, ...]) -> None:
    assert ended(*words) == (ENDED_BY_PIPE, "")


def test_a_view_ends_quietly(server: Tree) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws/view"
    assert ended("watch", url, "--plain", "--ticker", "AAPL", "--follow") == (ENDED_BY_PIPE, "")


def test_a_plan_ends_quietly_and_is_written(server: Tree, tmp_path: Path) -> None:
    path, url = tmp_path / "trades.csv", f"ws://127.0.0.1:{server.port}/ws/plan"
    server.ask("plan", action="set_targets", weights={"AAPL": 1})
    assert ended("plan", url, "--to", "weights", "--csv", str(path)) == (ENDED_BY_PIPE, "")
    assert path.read_text().startswith("ticker,shares,value")


def test_a_replay_ends_quietly(server: Tree, tmp_path: Path) -> None:
    path = tmp_path / "risk.json"
    with server.websocket("replay") as client:
        client.send('{"action":"get_risk","receipt":true}')
        path.write_text(str(client.recv(PATIENCE)))
    assert ended("replay", str(path), "--prices", "simulated") == (ENDED_BY_PIPE, "")
