"""``portfolio-trio prices``: the content of a price source, and what ``serve`` would reject."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from portfolio_trio.cli._output import say
from portfolio_trio.market import (
    NO_PRICE,
    Dated,
    LastCloses,
    MaxAge,
    PriceSourceError,
    SimulatedSource,
    check_cash_column,
    inspect,
    open_price_source,
    sift,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portfolio_trio.market import NameReport, Quotes

MAX_AGE: Final = MaxAge(bar_days=7.0, price_seconds=300.0)
CASH: Final = ("CASH",)
"""The defaults of ``serve``."""

_HEADING: Final = ("name", "rows", "first close", "last close", "calendar", "a year", "gaps", "longest")
# A name with more jumps than this has a problem that is not in the single jumps.
_JUMPS_SHOWN: Final = 5


async def prices(
    spec: str,
    live_prices: str | None = None,
    cash: Sequence[str] = CASH,
    *,
    say: Callable[[str], None] = say,
    now: Callable[[], float] = time.time,
) -> bool:
    """Read a price source as ``serve`` does, and report its content; False if something would be refused.

    Args:
        spec: As in ``--prices`` of ``serve``.
        live_prices: As in ``--live-prices``.
        cash: As in ``--cash``.
        say: Receives the report, line by line.
        now: Wall clock, seconds since 1970 in UTC.

    Raises:
        PriceSourceSpecError: ``spec`` does not name a source.
    """
    source = open_price_source(spec, live_prices=live_prices, now=now)
    try:
        bars = await source.load()
        for ticker in cash:
            check_cash_column(source.name, bars, ticker)
    except PriceSourceError as error:
        say(f"refused: {error}")
        return False
    reports = list(inspect(bars))
    for line in (*_table(reports), *_jumps(reports)):
        say(line)
    try:
        quoted = await source.quote({})
    except PriceSourceError as error:
        say(f"refused: {error}")
        return False
    max_age = MaxAge() if isinstance(source, SimulatedSource) else MAX_AGE
    last, asked = LastCloses(bars), frozenset(bars.tickers).difference(cash)
    quotes = sift(quoted, asked.__contains__, last, oldest_bar=max_age.oldest_bar(now()))
    for line in _without_price(quotes, last):
        say(line)
    quoted_at = source.quoted_at if isinstance(source, Dated) else None
    for reason in max_age.reasons(now(), priced=bars.tickers, newest_bar=last.newest, quoted_at=quoted_at):
        say(f"stale: {reason}")
    say("nothing would be refused" if quotes.prices else f"refused: {NO_PRICE}")
    return bool(quotes.prices)


def _table(reports: Sequence[NameReport]) -> list[str]:
    rows = [
        (
            report.ticker,
            str(report.closes),
            report.first or "-",
            report.last or "-",
            report.calendar,
            "-" if report.a_year is None else f"{report.a_year:.1f}",
            str(report.gaps),
            f"{report.longest_gap} days",
        )
        for report in reports
    ]
    widths = [max(map(len, column)) for column in zip(_HEADING, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADING, *rows)
    ]


def _jumps(reports: Sequence[NameReport]) -> list[str]:
    lines = []
    for report in reports:
        lines += [f"{report.ticker}: {jump}" for jump in report.jumps[:_JUMPS_SHOWN]]
        if len(report.jumps) > _JUMPS_SHOWN:
            lines.append(f"{report.ticker}: and more, {report.jumped} jumps in total")
    return lines


def _without_price(quotes: Quotes, last: LastCloses) -> list[str]:
    """Names without a quote: edits and analyses are refused, or use the last close."""
    lines = []
    for ticker in last.bars.tickers:
        if ticker in quotes.stale_prices:
            day = quotes.stale_prices[ticker]
            lines.append(f"{ticker}: not in the live prices: it counts at its last close, of {day}")
        elif ticker in quotes.unpriced:
            ended = ", its history has ended" if last.has_ended(ticker) else ""
            lines.append(f"{ticker}: no price: {quotes.unpriced[ticker]}{ended}")
    return lines
