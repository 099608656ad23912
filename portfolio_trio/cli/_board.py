"""A session on the terminal: events as lines, with live tables below them."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from portfolio_trio.cli._output import OutputClosed
from portfolio_trio.client import ConnectionLost, Missed, ReceivedResult, Unknown
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from portfolio_trio.client import Event, PortfolioClient

_RunEvent: TypeAlias = (
    AnalysisStarted
    | ReceivedResult
    | MetricFailure
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
    | Error
)

# Lines of a table in addition to its rows: title, head, three rules; a caption or an empty line.
FRAME_ROWS: Final = 6
# The total and the rule above it.
TOTAL_ROWS: Final = 2
# Number of event lines above the tables.
LINES: Final = 12


class Screen(Console):
    """Standard output. If nobody reads it any more, printing raises `OutputClosed`."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    @override
    def on_broken_pipe(self) -> None:
        # What is printed on the way out is not written either.
        self.quiet = True
        raise OutputClosed


@contextmanager
def live_tables(console: Console, *, plain: bool) -> Iterator[Live | None]:
    """Tables that are redrawn at every event, if the console is a terminal and they are wanted."""
    if plain or not console.is_terminal:
        yield None
    else:
        with Live(console=console, auto_refresh=False) as live:
            yield live


class Board:
    """The output: plain lines, and on a terminal tables of the portfolio and the analysis below them.

    Args:
        console: The output.
        live: Draws the tables; without it there are only lines.
        portfolio: The source of the tables.
        timed: Each line begins with the time since the start, and only the analysis has a table.
    """

    def __init__(
        self, console: Console, live: Live | None, portfolio: PortfolioClient, *, timed: bool = False
    ) -> None:
        self._console = console
        self._live = live
        self._portfolio = portfolio
        self._timed = timed
        self._start = trio.current_time()
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._run: AnalysisStarted | None = None
        self._cells: dict[str, Text] = {}
        self._end = ""

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, AnalysisStarted):
            self._run, self._cells, self._end = event, {}, "running"
        elif isinstance(event, Error) and event.code == ErrorCode.SESSION_EXPIRED:
            # Its replacement counts runs and versions from the start.
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
        """Print one line, unless it is the same as the last."""
        said = Text(text, style)
        if self._timed:
            elapsed = (trio.current_time() - self._start) * 1000
            said = Text.assemble((f"{elapsed:7.1f} ms  ", "dim"), said)
        if not self._lines or self._lines[-1].plain != said.plain:
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
        if not self._timed:
            holdings = self._portfolio.state.holdings
            shown = min(len(holdings), max(left - FRAME_ROWS - TOTAL_ROWS - 1, 1))
            parts.insert(0, self._render_portfolio(shown))
            left -= shown + FRAME_ROWS + TOTAL_ROWS + (shown < len(holdings))
        lines = list(self._lines)[-left:] if left > 0 else []
        return Group(*lines, *parts)

    def _render_portfolio(self, rows: int) -> Group:
        """The largest holdings, up to a number, and the total value."""
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
        """The newest run; dim if the holdings have changed since."""
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
    """The line of an event, and its style."""
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
            return failure_line(event.ticker, event.detail), "red"
        case Error():
            return event.detail, "red"
        case _:
            assert_never(event)


def failure_line(ticker: str, detail: str) -> str:
    """The error, with the ticker unless the sentence names it."""
    return detail if ticker in detail else f"{ticker}: {detail}"


def _count(shares: float) -> str:
    """A number of shares in readable form: 1,234,567 and 10,000.25."""
    text = f"{shares:,.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
