"""``portfolio-trio watch``: a session in the terminal, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.cli._board import Board, Screen, failure_line, live_tables
from portfolio_trio.client import Disconnected, RequestFailed, RequestTimedOut, RunCancelled, connect
from portfolio_trio.nurseries import background
from portfolio_trio.supervisor.listeners import stop_signals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio import CancelScope
    from rich.console import Console

    from portfolio_trio.client import Backoff, PortfolioClient

# Seconds after which a retryable refusal (the store is down, a price is missing) is tried again.
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
        ticker: Request its analysis, and again if that was lost with the connection.
        plain: Plain lines, even on a terminal.
        follow: Analyse again after every tick and every change.
        token: Needed if the server requires one.
        console: The output; by default standard output.
        backoff: Pauses before connecting again.
        open_stream: As for `portfolio_trio.client.connect`.

    Raises:
        ValueError: The URL has another form.
        ConnectFailed: No server answers there, or it refuses.
        Disconnected: The server closed it permanently.
    """
    console = console or Screen()
    with trio.open_signal_receiver(*stop_signals()) as signals, live_tables(console, plain=plain) as live:
        async with background() as tasks:
            tasks.start_soon(_cancel_at_signal, signals, tasks.cancel_scope)
            async with connect(url, token=token, backoff=backoff, open_stream=open_stream) as portfolio:
                await _follow(portfolio, Board(console, live, portfolio), ticker, follow=follow)


async def _follow(
    portfolio: PortfolioClient, board: Board, ticker: str | None, *, follow: bool = False
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
    board: Board,
    ticker: str,
    follow: bool,  # noqa: FBT001 - start_soon hands it through by position
) -> None:
    """Complete, or follow, one analysis of the ticker, over as many connections as necessary."""
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
            # An event may already have reported the same.
            board.line(failure_line(ticker.upper(), failed.detail), "red")
            if not failed.retryable:
                return
            await trio.sleep(AGAIN_SECONDS)
        except (Disconnected, RequestTimedOut, RunCancelled) as over:
            # The events show why; another client's decision is respected.
            if not over.retryable:
                return
        else:
            return
