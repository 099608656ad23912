"""``portfolio-trio plan``: the trades that reach a session's targets, as a table and as CSV."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from portfolio_trio.cli._board import Screen
from portfolio_trio.client import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import trio
    from rich.console import Console

    from portfolio_trio.protocol.decisions import Plan, PlanLine


async def plan(
    url: str,
    to: Literal["weights", "budgets"],
    path: Path | None = None,
    *,
    cash: float = 0.0,
    only_buy: bool = False,
    whole_shares: bool = False,
    token: str | None = None,
    console: Console | None = None,
    open_stream: Callable[[], Awaitable[trio.abc.Stream]] | None = None,
) -> None:
    """Request a plan, print it, and write its trades as CSV; nothing is traded.

    Args:
        url: ``ws://host:port/ws/session``.
        to: Which targets to reach.
        path: The CSV file; None for none.
        cash: Cash to put in, or to take out if negative.
        only_buy: Sell nothing.
        whole_shares: Trade whole shares only.
        token: Needed if the server requires one.
        console: The output; by default standard output.
        open_stream: As for `portfolio_trio.client.connect`.

    Raises:
        ClientError: The server cannot be reached, or there is no such plan.
        OSError: The CSV cannot be written.
        ValueError: The URL has another form.
    """
    async with connect(url, token=token, open_stream=open_stream) as portfolio:
        made = await portfolio.plan(to, cash=cash, only_buy=only_buy, whole_shares=whole_shares)
    try:
        _show(made, console or Screen())
    finally:
        # Whoever reads only the first lines of the table gets all of the file.
        if path is not None:
            _keep(made, path)


def _keep(made: Plan, path: Path) -> None:
    """Write the CSV.

    Raises:
        OSError: It cannot be written.
    """
    try:
        _write(made, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path} cannot be written: {reason}; the plan is printed above") from error


def _show(made: Plan, console: Console) -> None:
    table = Table(title=f"plan to {made.to}, version {made.version}, as of {made.as_of}")
    table.add_column("ticker")
    for name in ("shares", "value", "weight", "after", "risk", "after"):
        table.add_column(name, justify="right")
    for line in made.lines:
        table.add_row(line.ticker, f"{line.shares:+,.9g}", f"{line.value:+,.2f}", *_shares(line))
    console.print(table)
    console.print(
        f"turnover {made.turnover:.2%}, gross value {made.before.gross:,.2f} to {made.after.gross:,.2f}, "
        f"cash left {made.cash_left:,.2f}"
    )


def _shares(line: PlanLine) -> list[str]:
    shares = (line.weight_before, line.weight_after, line.risk_before, line.risk_after)
    return ["" if share is None else f"{share:.2%}" for share in shares]


def unwritable(path: Path) -> str | None:
    """Why the CSV cannot be written, and what to do; None if nothing is known against it."""
    if path.is_dir():
        return f"{path} cannot be written: it is a directory; name a file in it"
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no directory {path.parent}; make it, or name another file"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return f"{path} cannot be written: permission denied; name another file"
    return None


def _write(made: Plan, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ticker", "shares", "value"))
        writer.writerows((line.ticker, line.shares, line.value) for line in made.lines)
