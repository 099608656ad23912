"""Decisions as users see them: ``watch --follow`` and ``plan`` against a server, each a process."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.app import METRICS
from tests.support.processes import PATIENCE, Tree, serving_alone, watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX end the view")

PROGRAM = (sys.executable, "-m", "portfolio_trio")
FOLLOW = ("--ticker", "msft", "--follow")


@pytest.fixture(scope="module")
def resting() -> Iterator[Tree]:
    """A server whose market rests."""
    with serving_alone("embedded://", "--market-update-interval-seconds", "3600") as tree:
        yield tree


def url(tree: Tree, session: str) -> str:
    return f"ws://127.0.0.1:{tree.port}/ws/{session}"


def runs_of(lines: list[str], ticker: str) -> list[list[str]]:
    """The lines about each run, from its start to its end."""
    runs: list[list[str]] = []
    for line in lines:
        if re.fullmatch(rf"{ticker}: run \d+ started", line):
            runs.append([])
        if line.startswith(f"{ticker}: "):
            runs[-1].append(line)
    return runs


def check_runs(lines: list[str], count: int) -> None:
    runs = runs_of(lines, "MSFT")
    assert len(runs) == count
    for number, (started, *results, ended) in enumerate(runs, 1):
        assert (started, ended) == (f"MSFT: run {number} started", f"MSFT: run {number} completed")
        assert [line.split(" = ")[0] for line in results] == [f"MSFT: {metric}" for metric in METRICS]


def test_watch_follows_tick_after_tick() -> None:
    with serving_alone("embedded://", "--market-update-interval-seconds", "1") as tree:
        lines = watch(url(tree, "ticks"), *FOLLOW, until="MSFT: run 3 completed")
    check_runs(lines, 3)
    first, *_, last = (lines.index(f"MSFT: run {number} completed") for number in (1, 2, 3))
    assert any("worth" in line and "portfolio" not in line for line in lines[first:last]), lines


def test_watch_follows_edit_after_edit(resting: Tree) -> None:
    def edit(line: str) -> None:
        if line in {"MSFT: run 1 completed", "MSFT: run 2 completed"}:
            resting.ask("edits", action="trade", ticker="AAPL", shares=1)

    lines = watch(url(resting, "edits"), *FOLLOW, until="MSFT: run 3 completed", do=edit)
    check_runs(lines, 3)
    assert [line.split(":")[0] for line in lines if line.startswith("portfolio")] == [
        f"portfolio, version {version}" for version in (1, 2, 3)
    ]


def test_plan_prints_the_trades_and_writes_them(resting: Tree, tmp_path: Path) -> None:
    resting.ask("p", action="set_targets", budgets={"AAPL": 1, "TSLA": 2, "MSFT": 1})
    answer = resting.ask("p", action="plan", to="budgets", cash=1_000)
    path = tmp_path / "trades.csv"
    command = [*PROGRAM, "plan", url(resting, "p"), "--to", "budgets", "--cash", "1000", "--csv", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"version {answer['version']}, as of {answer['as_of']}" in " ".join(ended.stdout.split())
    rows = [re.findall(r"[\w.%+,-]+", line) for line in ended.stdout.splitlines()]
    shown = {row[0]: row[1] for row in rows if row and row[0] in {"AAPL", "GOOGL", "MSFT", "TSLA"}}
    assert shown == {line["ticker"]: f"{line['shares']:+,.9g}" for line in answer["lines"]}
    assert "cash left 0.00" in ended.stdout
    with path.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["ticker"] for row in written] == [line["ticker"] for line in answer["lines"]]
    for row, line in zip(written, answer["lines"], strict=True):
        assert (float(row["shares"]), float(row["value"])) == (line["shares"], line["value"])


def test_a_plan_that_there_is_none_of_is_one_line(resting: Tree) -> None:
    resting.ask("none", action="set_holdings", holdings={})
    command = [*PROGRAM, "plan", url(resting, "none"), "--to", "budgets"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert "holds nothing" in ended.stderr
