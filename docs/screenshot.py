"""The picture of the page that README shows: ``nox -s screenshot``, with Chromium on the PATH.

It is of a real server in the middle of a switch: nothing on it is made up.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from playwright.sync_api import sync_playwright

from portfolio_trio.cli.demo_browser import slow_settings
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE: Final = Path(__file__).parent / "images" / "page.webp"
MOST_BYTES: Final = 150_000
WIDTH, HEIGHT = 1280, 800
DELAY: Final = Delay(1.0, 8.0)
TICK_SECONDS: Final = 2.0
PATIENCE_MS: Final = 60_000


def show(page: Page) -> None:
    """Some ticks, a run that is switched after two results, and a trade that is being thought about."""
    page.set_default_timeout(PATIENCE_MS)
    page.wait_for_selector("#totals .total:first-child .unit:not(:empty)")
    page.click("button.ticker:text-is('AAPL')")
    page.wait_for_function("() => document.querySelectorAll('.tile[data-state=done]').length === 2")
    page.click("button.ticker:text-is('KO')")
    page.wait_for_function("() => document.querySelectorAll('.tile[data-state=waiting]').length === 5")
    page.fill("#panel-what_if input[type=number]", "-50")
    page.mouse.move(WIDTH / 2, HEIGHT - 2)
    page.wait_for_function("() => document.querySelectorAll('.tile[data-state=done]').length === 3")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_function("() => !document.querySelector('.faint, .stale, .oldrisk')")


def photograph(address: str) -> bytes:
    """The page of a server, as WebP."""
    program = os.environ.get("PORTFOLIO_TEST_CHROMIUM") or shutil.which("chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(address)
        show(page)
        # Playwright itself writes PNG and JPEG only.
        devtools = page.context.new_cdp_session(page)
        taken = devtools.send("Page.captureScreenshot", {"format": "webp", "quality": 92})
        browser.close()
    return base64.b64decode(taken["data"])


async def main() -> None:
    """Serve, look, write."""
    settings = slow_settings(delay=DELAY, tick_seconds=TICK_SECONDS)
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        picture = await trio.to_thread.run_sync(photograph, f"http://{host}:{port}/")
        nursery.cancel_scope.cancel()
    if len(picture) > MOST_BYTES:
        sys.exit(f"the picture has {len(picture)} bytes; README's first screen allows {MOST_BYTES}")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(picture)


if __name__ == "__main__":
    trio.run(main)
