"""``portfolio-trio watch``: a session in the terminal, live."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from portfolio_trio.client import (
    ConnectionLost,
    Disconnected,
    Missed,
    ReceivedResult,
    RequestFailed,
    RequestTimedOut,
    RunCancelled,
    Unknown,
    connect,
)
from portfolio_trio.nurseries import background
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.decisions import History, Plan, Risk, WhatIf
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    Error,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
    Results,
)
from portfolio_trio.supervisor.listeners import stop_signals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio import CancelScope
    from rich.console import RenderableType

    from portfolio_trio.client import Backoff, Event, PortfolioClient

_RunEvent: TypeAlias = (
    AnalysisStarted
    | ReceivedResult
    | MetricFailure
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
    | Error
)

# What a table takes beside its rows: title, head, three rules; a caption or an empty line.
FRAME_ROWS: Final = 6
# The total and the rule above it.
TOTAL_ROWS: Final = 2
# How many lines of what happened stand above the tables.
LINES: Final = 12
# A retryable refusal (the store is away, a price is missing) is asked about again after so long.
AGAIN_SECONDS: Final = 5.0


async def watch(
    url: str,
    ticker: str | None = None,
    plain: bool = False,  # noqa: FBT001, FBT002 - trio.run hands it through by position
    *,
    follow: bool = False,
    token: str | None = None,
    console: Console | None = None,
    backoff: Backoff | None = None,
    open_stream: Callable[[], Awaitable[trio.abc.Stream]] | None = None,
) -> None:
    """Show a session until Ctrl-C or SIGTERM: its portfolio, its events, its results as they arrive.

    Args:
        url: ``ws://host:port/ws/session``.
        ticker: Ask for its analysis, and again when that was lost with the connection.
        plain: Plain lines, even on a terminal.
        follow: Have it analysed again after every tick and every change.
        token: Where the server asks for one.
        console: Where to; by default standard output.
        backoff: Pauses before connecting again.
        open_stream: As for `portfolio_trio.client.connect`.

    Raises:
        ValueError: The URL is not of that form.
        ConnectFailed: No server answers there, or it refuses.
        Disconnected: The server ended it for good.
    """
    console = console or Console(highlight=False)
    with trio.open_signal_receiver(*stop_signals()) as signals, ExitStack() as stack:
        live = None
        if console.is_terminal and not plain:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        async with background() as tasks:
            tasks.start_soon(_cancel_at_signal, signals, tasks.cancel_scope)
            async with connect(url, token=token, backoff=backoff, open_stream=open_stream) as portfolio:
                await _follow(portfolio, _Board(console, live, portfolio), ticker, follow=follow)


async def _follow(
    portfolio: PortfolioClient, board: _Board, ticker: str | None, *, follow: bool = False
) -> None:
    """Show events until the client gives up."""
    async with background() as tasks:
        if ticker is not None:
            tasks.start_soon(_ask, portfolio, board, ticker, follow)
        async for event in portfolio:
            board.take(event)


async def _cancel_at_signal(signals: AsyncIterator[int], scope: CancelScope) -> None:
    await anext(signals)
    scope.cancel()


async def _ask(
    portfolio: PortfolioClient,
    board: _Board,
    ticker: str,
    follow: bool,  # noqa: FBT001 - start_soon hands it through by position
) -> None:
    """Have one analysis of the ticker completed, or followed, over as many connections as that takes."""
    while True:
        try:
            if follow:
                async with portfolio.follow(ticker) as runs:
                    # The events show them.
                    async for _ in runs:
                        pass
            else:
                async with portfolio.analyze(ticker) as results:
                    await results.completed()
        except RequestFailed as failed:
            # An event may have said so already, in the same words.
            board.line(_failure(ticker.upper(), failed.detail), "red")
            if not failed.retryable:
                return
            await trio.sleep(AGAIN_SECONDS)
        except (Disconnected, RequestTimedOut, RunCancelled) as over:
            # The events tell why; what somebody else decided stands.
            if not over.retryable:
                return
        else:
            return


class _Board:
    """What is shown: plain lines, and on a terminal tables of the portfolio and the analysis below them."""

    def __init__(self, console: Console, live: Live | None, portfolio: PortfolioClient) -> None:
        self._console = console
        self._live = live
        self._portfolio = portfolio
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._run: AnalysisStarted | None = None
        self._cells: dict[str, Text] = {}
        self._end = ""

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, AnalysisStarted):
            self._run, self._cells, self._end = event, {}, "running"
        elif isinstance(event, Error) and event.code == ErrorCode.SESSION_EXPIRED:
            # What takes its place counts its runs and versions anew.
            self._run = None
        elif isinstance(event, ConnectionLost) and self._end == "running":
            self._end = "lost with the connection"
        elif self._run is not None and getattr(event, "run_id", None) == self._run.run_id:
            self._take_of_run(event)
        self.line(*_describe(event))

    def _take_of_run(self, event: Event) -> None:
        if isinstance(event, ReceivedResult):
            self._cells[event.metric] = Text(f"{event.value:.6f}", "green")
        elif isinstance(event, MetricFailure):
            self._cells[event.metric] = Text(event.code, "red")
        elif isinstance(event, AnalysisCompleted | AnalysisCancelled | AnalysisFailed):
            self._end = event.type.removeprefix("analysis_")

    def line(self, text: str, style: str = "") -> None:
        """Say one thing; what has just been said is not said again."""
        said = Text(text, style)
        if not self._lines or self._lines[-1].plain != text:
            self._lines.append(said)
            if self._live is None:
                self._console.print(said, soft_wrap=True)
        if self._live is not None:
            self._live.update(self._render(), refresh=True)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        left = self._console.height
        if self._run is not None:
            left -= len(self._run.metrics) + FRAME_ROWS
            parts.append(self._render_run(self._run))
        holdings = self._portfolio.state.holdings
        shown = min(len(holdings), max(left - FRAME_ROWS - TOTAL_ROWS - 1, 1))
        parts.insert(0, self._render_portfolio(shown))
        left -= shown + FRAME_ROWS + TOTAL_ROWS + (shown < len(holdings))
        lines = list(self._lines)[-left:] if left > 0 else []
        return Group(*lines, *parts)

    def _render_portfolio(self, rows: int) -> Group:
        """The largest holdings, so many of them, and what all are worth."""
        state, values = self._portfolio.state, self._portfolio.values
        where = "" if self._portfolio.connected else ", connecting again"
        title = Text(f"{state.session_id}, version {state.version}{where}", "italic")
        table = Table()
        table.add_column("holding")
        table.add_column("shares", justify="right")
        table.add_column("value", justify="right", min_width=14)
        by_size = sorted(state.holdings, key=lambda ticker: -abs(values.get(ticker, 0.0)))
        kept = {*by_size[:rows]}
        for ticker, shares in state.holdings.items():
            if ticker in kept:
                value = f"{values[ticker]:,.2f}" if ticker in values else Text("at the next tick", "dim")
                table.add_row(ticker, _count(shares), value)
        if len(kept) < len(state.holdings):
            table.add_row(f"and {len(state.holdings) - len(kept)} more", "", "", style="dim")
        table.add_section()
        table.add_row("total", "", f"{state.total_value:,.2f}")
        return Group(title, table, Text(f"as of {state.valued.as_of}", "dim italic"))

    def _render_run(self, run: AnalysisStarted) -> Group:
        """The newest run; dim where the holdings have changed since."""
        old = run.version != self._portfolio.state.version
        of = f" of version {run.version}, which has changed" if old else ""
        table = Table(style="dim" if old else "")
        table.add_column("metric")
        table.add_column("value", justify="right", min_width=14)
        unknown = Text("…" if self._end == "running" else "", "dim")
        for metric in run.metrics:
            cell = self._cells.get(metric, unknown)
            table.add_row(metric, Text(cell.plain, "dim") if old else cell)
        return Group(Text(f"{run.ticker}, run {run.run_id}{of}: {self._end}", "italic"), table)


def _describe(event: Event) -> tuple[str, str]:
    """What happened, in one line, and its style."""
    match event:
        case Portfolio():
            held = (
                ", ".join(f"{_count(shares)} {ticker}" for ticker, shares in event.holdings.items())
                or "nothing"
            )
            return f"portfolio, version {event.version}: {held}, worth {event.total_value:,.2f}", ""
        case PortfolioUpdate():
            stale = " (prices are stale)" if event.stale else ""
            return f"worth {event.total_value:,.2f} as of {event.as_of}{stale}", "dim"
        case ConnectionLost():
            return f"{event.detail}; connecting again", "yellow"
        case Missed():
            return f"{event.count} events were too many to show", "yellow"
        case Results() | Risk() | WhatIf() | Plan() | History() | Unknown():
            return event.type, "dim"
        case _:
            return _describe_run(event)


def _describe_run(event: _RunEvent) -> tuple[str, str]:  # noqa: PLR0911 - a line for each event
    match event:
        case AnalysisStarted():
            return f"{event.ticker}: run {event.run_id} started", "bold"
        case ReceivedResult():
            return f"{event.ticker}: {event.metric} = {event.value:.6f}", "green"
        case MetricFailure():
            return f"{event.ticker}: {event.metric}: {event.detail}", "red"
        case AnalysisCompleted():
            return f"{event.ticker}: run {event.run_id} completed", "bold green"
        case AnalysisCancelled():
            return f"{event.ticker or 'nothing'}: cancelled ({event.reason})", "bold red"
        case AnalysisFailed():
            return _failure(event.ticker, event.detail), "red"
        case Error():
            return event.detail, "red"
        case _:
            assert_never(event)


def _failure(ticker: str, detail: str) -> str:
    return detail if ticker in detail else f"{ticker}: {detail}"


def _count(shares: float) -> str:
    """A number of shares as people read it: 1,234,567 and 10,000.25."""
    text = f"{shares:,.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
