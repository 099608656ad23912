"""What the page costs: ``python benchmarks/page.py``, with Playwright and Chromium on the PATH.

First numbers after the socket has opened; processor time of the tab while fifty holdings move each second;
processor time of the server for a watching page and for a plain client of the same subprotocol.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psutil
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

HOLDINGS: Final = {f"N{number:02}": 10 + number for number in range(50)}
FLAGS: Final = (
    "--port",
    "0",
    "--market-update-interval-seconds",
    "1",
    "--default-holdings",
    json.dumps(HOLDINGS),
)
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
ROUNDS: Final = 5
WATCHED_SECONDS: Final = 10.0
SLICES: Final = 4

# Milliseconds from the socket's opening to the first frame with a net value and a share of risk.
FIRST_NUMBERS: Final = """
window.opened = 0;
const Real = WebSocket;
window.WebSocket = class extends Real {
  constructor(...words) {
    super(...words);
    this.addEventListener("open", () => { window.opened ||= performance.now(); });
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
def server() -> Iterator[tuple[int, psutil.Process]]:
    """A server on a free port: the port, and the process to measure."""
    command = [sys.executable, "-m", "portfolio_trio", "serve", *FLAGS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        if process.stderr is None:
            raise RuntimeError("the server's output was not captured")
        port = next(
            filter(None, (re.search(r"serving url=ws://[^:]+:(\d+)", line) for line in process.stderr))
        )
        yield int(port[1]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def spent(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    times = process.cpu_times()
    return times.user + times.system


def first_numbers(browser: Browser, port: int) -> list[float]:
    """Milliseconds, one for each fresh visit."""
    found = []
    for _ in range(ROUNDS):
        with browser.new_context() as context:
            page = context.new_page()
            page.add_init_script(FIRST_NUMBERS)
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function("() => window.took !== undefined")
            found.append(float(page.evaluate("window.took")))
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


def server_for_page(browser: Browser, port: int, process: psutil.Process) -> float:
    """Milliseconds of the server in a second, with one page that watches."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#holdings tbody tr")
        page.wait_for_timeout(2_000)
        before = spent(process)
        page.wait_for_timeout(WATCHED_SECONDS * 1000)
        return (spent(process) - before) / WATCHED_SECONDS * 1000


def server_for_client(port: int, process: psutil.Process, *, risk: bool) -> float:
    """The same with one client that reads; with `risk` it asks for it after each tick, as the page does."""
    url = f"ws://127.0.0.1:{port}/ws/plain-{time.monotonic_ns()}"
    with connect(url, subprotocols=[Subprotocol("portfolio.v1")]) as client:
        end = time.monotonic() + 2.0
        before, started = 0.0, 0.0
        while time.monotonic() < end:
            message = json.loads(client.recv(timeout=30))
            if message["type"] == "portfolio_update" and risk:
                client.send('{"action":"get_risk"}')
            if not started and time.monotonic() > end - 0.5:
                before, started = spent(process), time.monotonic()
                end = started + WATCHED_SECONDS
        return (spent(process) - before) / (time.monotonic() - started) * 1000


def main() -> None:
    """Measure and print."""
    program = os.environ.get("PORTFOLIO_TEST_CHROMIUM") or shutil.which("chromium")
    with server() as (port, process), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        times = first_numbers(browser, port)
        print(f"first numbers after the socket opens, ms: {', '.join(f'{each:.0f}' for each in times)}")
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_selector("#holdings tbody tr")
            page.wait_for_timeout(3_000)
            print(f"50 holdings a second, the tab's main thread: {watched(page):.1%} of a core")
        pages, askers, readers = [], [], []
        for _ in range(SLICES):
            pages.append(server_for_page(browser, port, process))
            askers.append(server_for_client(port, process, risk=True))
            readers.append(server_for_client(port, process, risk=False))
        browser.close()
    for name, found in (
        ("page", pages),
        ("client that asks for risk", askers),
        ("client that reads", readers),
    ):
        print(f"the server, milliseconds a second, for a {name}: {statistics.median(found):.1f}")


if __name__ == "__main__":
    main()
