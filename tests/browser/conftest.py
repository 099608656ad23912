"""A server as a process and Debian's Chromium at it, each started once; each test has its own session."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.person import ARGUMENTS, PATIENCE_MS, Person
from tests.support.processes import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

HOLDINGS: Final = {
    "AAPL": 120,
    "MSFT": 90,
    "NVDA": 60,
    "GOOGL": 80,
    "JPM": 50,
    "KO": 110,
    "SPY": -35,
    "CASH": 4000,
}
FLAGS: Final = (
    "--default-holdings",
    json.dumps(HOLDINGS),
    "--market-update-interval-seconds",
    "1",
    "--metric-delay-seconds",
    "0.2,0.8",
)
ARTEFACTS: Final = Path(os.environ.get("PORTFOLIO_BROWSER_ARTEFACTS", "build/browser"))


@contextmanager
def serving(*flags: str) -> Iterator[Tree]:
    """A server on a free port; `--port` among the flags wins."""
    tree = Tree(*FLAGS, *flags, environment={})
    try:
        assert tree.port
        yield tree
    finally:
        tree.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, where it and Playwright are installed; `nox -s browser` brings the latter."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: nox -s browser brings it")
    program = os.environ.get("PORTFOLIO_TEST_CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in PORTFOLIO_TEST_CHROMIUM")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(browser: Browser) -> Iterator[Tree]:
    with serving() as tree:
        yield tree


@pytest.fixture
def person(browser: Browser, server: Tree) -> Iterator[Person]:
    """Somebody with the page before them; at the end the browser must have had nothing to complain of."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(PATIENCE_MS)
        someone = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        someone.open()
        yield someone
        assert someone.complaints == []
