"""The cost of the page: ``python benchmarks/page.py``, with Playwright and Chromium on the PATH.

First numbers after the socket has opened, each with a server and a browser that have just been started;
processor time of the tab while fifty holdings move each second; processor time of the server for a watching
page and for a plain client of the same subprotocol.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from _processes import Server, free_port, server
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Playwright

HOLDINGS: Final = {f"N{number:02}": 10 + number for number in range(50)}
SERVE: Final = (
    "-m",
    "portfolio_trio",
    "serve",
    "--market-update-interval-seconds",
    "1",
    "--default-holdings",
    json.dumps(HOLDINGS),
)
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
ROUNDS: Final = 9
WATCHED_SECONDS: Final = 10.0
SLICES: Final = 5

# Milliseconds from the socket's opening to the first frame with a net value and a share of risk.
FIRST_NUMBERS: Final = """
window.opened = 0;
const Real = WebSocket;
window.WebSocket = class extends Real {
  constructor(...words) {
    super(...words);
    this.addEventListener("open", () => { window.opened ||= performance.now(); });
    this.addEventListener("message", ({ data }) => {
      if (JSON.parse(data).type === "risk") window.answered ??= performance.now() - window.opened;
    });
  }
};
const look = () => {
  const risk = document.querySelector("#holdings tbody td:last-child")?.textContent ?? "";
  if (window.opened && /[0-9]/.test(risk)) window.took = performance.now() - window.opened;
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@contextmanager
def started() -> Iterator[Server]:
    """A server with fifty holdings, and a tick each second."""
    port = free_port()
    with server("portfolio-trio", (*SERVE, "--port", str(port)), port) as found:
        yield found


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A browser with an empty profile."""
    program = os.environ.get("PORTFOLIO_TEST_CHROMIUM") or shutil.which("chromium")
    browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
    try:
        yield browser
    finally:
        browser.close()


def first_numbers(playwright: Playwright) -> list[tuple[float, float]]:
    """Milliseconds to the first numbers, and how many of them until risk had come; all of it started anew."""
    found = []
    for _ in range(ROUNDS):
        with started() as target, chromium(playwright) as browser:
            page = browser.new_page()
            page.add_init_script(FIRST_NUMBERS)
            page.goto(f"http://127.0.0.1:{target.port}/")
            page.wait_for_function("() => window.took !== undefined")
            took, answered = page.evaluate("[window.took, window.answered]")
            found.append((float(took), float(answered)))
    return found


def watched(page: Page) -> float:
    """Share of one core that the tab's main thread takes while it is watched."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def task_seconds() -> float:
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

    before = task_seconds()
    page.wait_for_timeout(WATCHED_SECONDS * 1000)
    return (task_seconds() - before) / WATCHED_SECONDS


def server_for_page(browser: Browser, target: Server, *, chosen: bool) -> float:
    """Milliseconds of the server in a second, with one page that watches; maybe with a holding chosen."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{target.port}/")
        page.wait_for_selector("#holdings tbody tr")
        if chosen:
            page.fill("#panel-what_if .tickerfield", "N01")
            page.keyboard.press("Enter")
        page.wait_for_timeout(2_000)
        before = target.cpu_seconds
        page.wait_for_timeout(WATCHED_SECONDS * 1000)
        return (target.cpu_seconds - before) / WATCHED_SECONDS * 1000


def server_for_client(target: Server, *, risk: bool) -> float:
    """The same with one client that reads; with `risk` it asks for it after each tick, as the page does."""
    url = f"ws://127.0.0.1:{target.port}/ws/plain-{time.monotonic_ns()}"
    with connect(url, subprotocols=[Subprotocol("portfolio.v1")]) as client:
        end = time.monotonic() + 2.0
        before, started = 0.0, 0.0
        while time.monotonic() < end:
            message = json.loads(client.recv(timeout=30))
            if message["type"] == "portfolio_update" and risk:
                client.send('{"action":"get_risk"}')
            if not started and time.monotonic() > end - 0.5:
                before, started = target.cpu_seconds, time.monotonic()
                end = started + WATCHED_SECONDS
        return (target.cpu_seconds - before) / (time.monotonic() - started) * 1000


def main() -> None:
    """Measure and print."""
    with sync_playwright() as playwright:
        visits = first_numbers(playwright)
        for name, times in zip(("on screen", "risk there"), zip(*visits, strict=True), strict=True):
            print(
                f"first numbers after the socket opens, {name}: "
                f"{statistics.median(times):.0f} ms, at most {max(times):.0f}, of {len(times)}"
            )
        with started() as target, chromium(playwright) as browser:
            with browser.new_context() as context:
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{target.port}/")
                page.wait_for_selector("#holdings tbody tr")
                page.wait_for_timeout(3_000)
                print(f"50 holdings a second, the tab's main thread: {watched(page):.1%} of a core")
            compare(browser, target)


def compare(browser: Browser, target: Server) -> None:
    """The server's CPU for a page and for clients, alternating."""
    turns: dict[str, list[float]] = {}

    def note(name: str, spent_on_it: float) -> None:
        turns.setdefault(name, []).append(spent_on_it)

    for _ in range(SLICES):
        note("page", server_for_page(browser, target, chosen=False))
        note("client that asks for risk", server_for_client(target, risk=True))
        note("page with a holding chosen", server_for_page(browser, target, chosen=True))
        note("client that reads", server_for_client(target, risk=False))
    asker = turns["client that asks for risk"]
    for name, found in turns.items():
        ratio = statistics.median(one / other for one, other in zip(found, asker, strict=True))
        print(
            f"the server, milliseconds a second, for a {name}: {statistics.median(found):.1f}, "
            f"{ratio:.2f} of one that asks for risk"
        )


if __name__ == "__main__":
    main()
