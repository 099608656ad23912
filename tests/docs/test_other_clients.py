"""The programs of docs/other-clients.md, unchanged, against a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from websockets.sync.client import connect

from tests.docs.pages import ROOT, blocks
from tests.support.processes import serving_alone

PAGE: Final = ROOT / "docs/other-clients.md"
BROWSER, NODE = blocks("js", PAGE)
ASYNCIO, TRIO = blocks("python", PAGE)
MODULES: Final = "PORTFOLIO_TEST_NODE_MODULES"
SECONDS: Final = 60


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port."""
    with serving_alone("embedded://", "--metric-delay-seconds", "0.1,1") as tree:
        yield f"127.0.0.1:{tree.port}"


def run(*command: str, cwd: Path | None = None) -> list[str]:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def check(lines: list[str]) -> None:
    """A result of AAPL, its end, and then GOOGL alone, whole."""
    cancelled = next(place for place, line in enumerate(lines) if line.startswith("AAPL cancelled: "))
    assert 1 <= cancelled <= 5, lines
    assert all(line.startswith("AAPL ") for line in lines[:cancelled])
    *results, completed = lines[cancelled + 1 :]
    assert len({line.split()[1] for line in results if line.startswith("GOOGL ")}) == len(results) == 5, lines
    assert completed == "GOOGL completed"


def test_python_with_asyncio(server: str) -> None:
    check(run(sys.executable, "-c", ASYNCIO.text, f"ws://{server}/ws/asyncio"))


def test_python_with_trio(server: str) -> None:
    check(run(sys.executable, "-c", TRIO.text, f"ws://{server}/ws/trio"))


def test_the_asyncio_program_ends_on_an_error(server: str) -> None:
    url = f"ws://{server}/ws/emptied"
    with connect(url) as socket:
        socket.send('{"action": "set_holdings", "holdings": {"AAPL": 1, "MSFT": 1}}')
        assert '"portfolio"' in str(socket.recv())
    ended = subprocess.run(
        [sys.executable, "-c", ASYNCIO.text, url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("not_held: ")


def test_node(server: str, tmp_path: Path) -> None:
    modules, node = os.environ.get(MODULES), shutil.which("node")
    if modules is None or node is None:
        pytest.skip(f"no node, or {MODULES} names no node_modules with ws: nox -s clients")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "client.mjs").write_text(NODE.text)
    check(run(node, "client.mjs", f"ws://{server}/ws/node", cwd=tmp_path))


def test_a_browser(server: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: nox -s clients")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH")
    program = BROWSER.text.replace("127.0.0.1:8000/ws/switch", f"{server}/ws/browser")
    assert program != BROWSER.text
    lines: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda said: lines.append(said.text) if said.type == "log" else None)
        # A page of the server's own, whatever it shows, may connect.
        page.goto(f"http://{server}/health")
        with page.expect_console_message(lambda said: said.text == "GOOGL completed", timeout=SECONDS * 1000):
            page.evaluate("() => {" + program + "}")
        browser.close()
    check(lines)
