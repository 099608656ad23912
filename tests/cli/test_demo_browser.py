"""``portfolio-trio demo --browser``: the page is ready when the browser is told to open it."""

from __future__ import annotations

import urllib.request

import pytest
import trio

from portfolio_trio.cli.demo_browser import HOLDINGS, browse, slow_settings


@pytest.mark.trio
async def test_the_browser_is_sent_to_a_page_that_is_served(capfd: pytest.CaptureFixture[str]) -> None:
    pages: list[bytes] = []
    addresses: list[str] = []
    seen = trio.Event()

    def visit(address: str) -> None:
        addresses.append(address)
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - of our own server
            pages.append(answer.read())
        trio.from_thread.run_sync(seen.set)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browse, visit)
            await seen.wait()
            nursery.cancel_scope.cancel()
    assert b"<title>portfolio_trio</title>" in pages[0]
    assert addresses[0] in capfd.readouterr().out


def test_it_is_slow_enough_to_switch_by_hand_and_has_a_hedge() -> None:
    settings = slow_settings()
    assert settings.metric_delay_seconds == (2.0, 5.0)
    assert settings.default_holdings == HOLDINGS
    assert min(HOLDINGS.values()) < 0
