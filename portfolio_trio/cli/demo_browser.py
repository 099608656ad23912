"""``portfolio-trio demo --browser``: a server with slow metrics, and its page in a browser."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Final

import trio
from pydantic import SecretStr

from portfolio_trio.cli._output import say
from portfolio_trio.server.serve import serve
from portfolio_trio.settings import Delay, Settings
from portfolio_trio.supervisor.listeners import shown_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Slow enough to switch by hand.
DELAY: Final = Delay(2.0, 5.0)
TICK_SECONDS: Final = 10.0
# A dozen names, cash, and a short position that reduces risk.
HOLDINGS: Final[Mapping[str, float]] = {
    "AAPL": 120,
    "MSFT": 90,
    "NVDA": 60,
    "GOOGL": 80,
    "AMZN": 70,
    "JPM": 50,
    "XOM": 65,
    "JNJ": 40,
    "KO": 110,
    "GLD": 30,
    "SPY": -35,
    "CASH": 4_000,
}


def slow_settings(*, delay: Delay = DELAY, tick_seconds: float = TICK_SECONDS) -> Settings:
    """A server on a free local port, with simulated prices, that keeps nothing."""
    return Settings(
        host="127.0.0.1",
        port=0,
        redis_url=SecretStr("embedded://"),
        prices="simulated",
        metric_delay_seconds=delay,
        market_update_interval_seconds=tick_seconds,
        default_holdings=dict(HOLDINGS),
        dashboard=True,
    )


async def browse(open_address: Callable[[str], object] = webbrowser.open) -> None:
    """Serve until Ctrl-C, and open the page.

    Args:
        open_address: Opens an address; called in a thread, because a browser may be slow.

    Raises:
        StartError: The server cannot start.
    """
    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve, slow_settings())
        page = shown_url(address).replace("ws://", "http://").partition("/ws/")[0] + "/"
        say(f"The page is at {page} until Ctrl-C. Choose a holding, then another before it is done.")
        await trio.to_thread.run_sync(open_address, page, abandon_on_cancel=True)
