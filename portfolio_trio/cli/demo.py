"""``portfolio-trio demo``: a server and a client in one program, and a switch to watch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from pydantic import SecretStr

from portfolio_trio.cli._board import Board, Screen, live_tables
from portfolio_trio.client import ClientError, ReceivedResult, connect
from portfolio_trio.nurseries import background
from portfolio_trio.protocol.messages import AnalysisCancelled, AnalysisCompleted, AnalysisStarted
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from portfolio_trio.client import Event, PortfolioClient

FIRST: Final = "AAPL"
SECOND: Final = "GOOGL"
SWITCH_AFTER: Final = 2
PATIENCE_SECONDS: Final = 30.0
# Without it all five results would arrive before one could switch.
SLOWED: Final = Delay(0.3, 1.6)


class DemoError(Exception):
    """The demo did not show what it should; the message says what was missing."""


async def demo(plain: bool = False) -> None:  # noqa: FBT001, FBT002 - trio.run hands it through by position
    """Start a server on a free port, analyse AAPL, switch to GOOGL after two results, and show everything.

    Raises:
        DemoError: The five results of GOOGL did not arrive, or a message of AAPL came after the switch.
    """
    settings = Settings(
        host="127.0.0.1",
        port=0,
        redis_url=SecretStr("embedded://"),
        prices="simulated",
        metric_delay_seconds=SLOWED,
        default_holdings={"AAPL": 100, "GOOGL": 50, "MSFT": 75},
    )
    console = Screen()
    switch = _Switch()
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        with trio.move_on_after(PATIENCE_SECONDS), live_tables(console, plain=plain) as live:
            await _show(f"ws://{host}:{port}/ws/demo", console, live, switch)
        nursery.cancel_scope.cancel()
    if not switch.over:
        raise DemoError(
            f"{switch.results[SECOND]} of {SECOND}'s results arrived within {PATIENCE_SECONDS:g} s, "
            "not all of them"
        )
    console.print(switch.summary(), soft_wrap=True)


class _Switch:
    """The messages of the two runs, checked against the server's guarantees."""

    def __init__(self) -> None:
        self.results = {FIRST: 0, SECOND: 0}
        self.enough = trio.Event()
        self.asked = False
        self.over = False
        self._started = False
        self._end = "completed"

    def take(self, event: Event) -> None:
        """Follow one event: after the new run has started, the old one must be silent."""
        if self._started and getattr(event, "ticker", None) == FIRST:
            raise DemoError(f"{type(event).__name__} of {FIRST} arrived after {SECOND} had started")
        match event:
            case AnalysisStarted(ticker=ticker):
                self._started = ticker == SECOND
            case ReceivedResult(ticker=ticker):
                self.results[ticker] += 1
                if self.results[FIRST] == SWITCH_AFTER:
                    self.enough.set()
            case AnalysisCancelled(cancelled_in_us=took):
                self._end = f"cancelled in {took} µs"
            case AnalysisCompleted(ticker=ticker):
                self.over = ticker == SECOND
            case _:
                pass

    def summary(self) -> str:
        """A summary, in one sentence."""
        after = f"{self.results[SECOND]} results of {SECOND}, none of {FIRST}"
        return f"{FIRST} was {self._end} before {SECOND} started; after that: {after}."


async def _show(url: str, console: Console, live: Live | None, switch: _Switch) -> None:
    """The client: does what a dashboard would do."""
    async with connect(url) as portfolio, background() as tasks:
        board = Board(console, live, portfolio, timed=True)
        board.line(f"serving {url} on the embedded engine, with simulated prices")
        slowed = f"{SLOWED.shortest:g} to {SLOWED.longest:g} s"
        board.line(f"each metric is slowed by {slowed}, so that the switch interrupts something")
        tasks.start_soon(_ask, portfolio, board, switch)
        async for event in portfolio:
            switch.take(event)
            board.take(event)
            if switch.asked and isinstance(event, ReceivedResult) and event.ticker == FIRST:
                board.line(f"(that result of {FIRST} was sent before the switch was read)", "dim")
            if switch.over:
                return


async def _ask(portfolio: PortfolioClient, board: Board, switch: _Switch) -> None:
    """Request one analysis, and another to replace it; the events show them."""
    try:
        async with portfolio.analyze(FIRST):
            await switch.enough.wait()
            switch.asked = True
            board.line(f"switching to {SECOND} …", "bold")
            async with portfolio.analyze(SECOND) as second:
                await second.completed()
    except ClientError as error:
        raise DemoError(f"the server answered: {error}") from error
