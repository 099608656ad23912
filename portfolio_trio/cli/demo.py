"""``portfolio-trio demo``: a server and a client in one program, and a switch to watch."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio
import trio_websocket
from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from portfolio_trio.protocol.messages import SUBPROTOCOL
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

FIRST: Final = "AAPL"
SECOND: Final = "GOOGL"
SWITCH_AFTER: Final = 2
PATIENCE_SECONDS: Final = 30.0
# Without it all five results are there before anybody could switch.
SLOWED: Final = Delay(0.3, 1.6)


class DemoError(Exception):
    """The demo did not show what it is to show; the message says what was missing."""


class _Board:
    """What has arrived: plain lines, and on a terminal a live table above them."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._start = trio.current_time()
        self._metrics: tuple[str, ...] = ()
        self._lines: list[Text] = []
        self._asked = FIRST
        self.values: dict[str, dict[str, float]] = {}
        self.ended: dict[str, str] = {}

    def line(self, text: str, style: str = "") -> None:
        """Say one thing, with the time since the start in front."""
        elapsed = f"{(trio.current_time() - self._start) * 1000:7.1f} ms  "
        stamped = Text.assemble((elapsed, "dim"), (text, style))
        self._lines.append(stamped)
        if self._live is None:
            self._console.print(stamped, soft_wrap=True)
        self.refresh()

    def take(self, message: dict[str, Any]) -> None:
        """Show one message of the server."""
        match message:
            case {"type": "portfolio", "total_value": total, "holdings": holdings}:
                held = ", ".join(f"{shares:g} {ticker}" for ticker, shares in holdings.items())
                self.line(f"portfolio: {held}, worth {total:,.2f}")
            case {"type": "analysis_started", "ticker": ticker, "metrics": metrics, "run_id": run_id}:
                self._metrics = tuple(metrics)
                self.values[ticker] = {}
                self.line(f"{ticker}: run {run_id} started, {len(metrics)} metrics compute at once")
            case {"type": "analysis_result", "ticker": ticker, "metric": metric, "value": value}:
                self.values[ticker][metric] = value
                note = "" if ticker == self._asked else "  (had left before the switch was read)"
                self.line(f"{ticker}: {metric} = {value:.6f}{note}", "green")
            case {"type": "analysis_cancelled", "ticker": ticker, "reason": reason, "cancelled_in_us": took}:
                lost = len(self._metrics) - len(self.values[ticker])
                self.ended[ticker] = f"cancelled, {reason}"
                self.line(f"{ticker}: cancelled ({reason}) in {took} µs, {lost} metrics stopped", "bold red")
            case {"type": "analysis_completed", "ticker": ticker, "results": results}:
                self.ended[ticker] = "completed"
                self.line(f"{ticker}: completed with {results} results", "bold green")
            case {"detail": detail}:
                self.line(f"{message['type']}: {detail}", "red")
            case _:
                self.line(str(message["type"]))

    def switch(self) -> None:
        """Say that the other ticker is asked for."""
        self._asked = SECOND
        self.line(f"switching to {SECOND} …", "bold")

    def summary(self) -> str:
        """What has been seen, in one sentence."""
        got = len(self.values[SECOND])
        over = "completed" if self.ended.get(FIRST) == "completed" else "cancelled"
        after = f"{got} results of {SECOND}, none of {FIRST}"
        return f"{FIRST} was {over} before {SECOND} started; after that: {after}."

    def refresh(self) -> None:
        """Draw the table anew, where there is one."""
        if self._live is not None:
            self._live.update(self._render(), refresh=True)

    def _render(self) -> RenderableType:
        table = Table(title="analysis, as it arrives", title_justify="left", expand=False)
        table.add_column("metric")
        for ticker in self.values:
            table.add_column(ticker, justify="right", min_width=14)
        for metric in self._metrics:
            cells = (self._cell(ticker, metric) for ticker in self.values)
            table.add_row(metric, *cells)
        bars = [
            ProgressBar(
                total=max(len(self._metrics), 1),
                completed=len(values),
                width=14,
                complete_style="green",
                finished_style="bold green",
            )
            for values in self.values.values()
        ]
        table.add_row("", *bars)
        return Group(*self._lines, table)

    def _cell(self, ticker: str, metric: str) -> Text:
        if metric in self.values[ticker]:
            return Text(f"{self.values[ticker][metric]:.6f}", style="green")
        if ticker in self.ended:
            return Text("cancelled", style="red")
        return Text("…", style="dim")


async def demo(plain: bool = False) -> None:  # noqa: FBT001, FBT002 - trio.run hands it through by position
    """Start a server on a free port, analyse AAPL, switch to GOOGL after two results, and show it all.

    Raises:
        DemoError: The five results of GOOGL did not arrive, or something of AAPL came after the switch.
    """
    settings = Settings(
        host="127.0.0.1",
        port=0,
        redis_url=SecretStr("embedded://"),
        prices="simulated",
        metric_delay_seconds=SLOWED,
        default_holdings={"AAPL": 100, "GOOGL": 50, "MSFT": 75},
    )
    console = Console(highlight=False)
    with ExitStack() as stack:
        live = None
        if console.is_terminal and not plain:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        board = _Board(console, live)
        async with open_server(settings) as server, trio.open_nursery() as nursery:
            host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
            url = f"ws://{host}:{port}/ws/demo"
            board.line(f"serving {url} on the embedded engine, with simulated prices")
            slowed = f"{SLOWED.shortest:g} to {SLOWED.longest:g} s"
            board.line(f"each metric is slowed by {slowed}, so that there is something to switch")
            with trio.move_on_after(PATIENCE_SECONDS):
                await _watch(url, board)
            nursery.cancel_scope.cancel()
    if board.ended.get(SECOND) != "completed":
        got = len(board.values.get(SECOND, {}))
        raise DemoError(f"{got} of {SECOND}'s results arrived within {PATIENCE_SECONDS:g} s, not all of them")
    console.print(board.summary(), soft_wrap=True)


async def _watch(url: str, board: _Board) -> None:
    """The client: what a dashboard would do."""
    async with trio_websocket.open_websocket_url(url, subprotocols=[SUBPROTOCOL]) as socket:
        await socket.send_message(json.dumps({"action": "analyze", "ticker": FIRST}))
        switched = False
        while board.ended.get(SECOND) != "completed":
            message = json.loads(await socket.get_message())
            _check(message, board)
            board.take(message)
            if not switched and len(board.values.get(FIRST, {})) == SWITCH_AFTER:
                switched = True
                board.switch()
                await socket.send_message(json.dumps({"action": "analyze", "ticker": SECOND}))


def _check(message: dict[str, Any], board: _Board) -> None:
    """Hold a message against what the server promises: once the new run has started the old one is silent."""
    if message["type"] in {"error", "analysis_failed"}:
        raise DemoError(f"the server answered: {message['detail']}")
    if message.get("ticker") == FIRST and SECOND in board.values:
        raise DemoError(f"{message['type']} of {FIRST} arrived after {SECOND} had started")
