"""The first line of a file of closes: the names of its columns, or the kind of table it is instead."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from portfolio_trio.market._csv_cells import close_of, is_date
from portfolio_trio.market._errors import PriceFileError, shown
from portfolio_trio.tickers import TICKER_RULE, ticker_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Words that no exchange lists as tickers; Open, High and Low are tickers, but do not occur together.
_CLOSE: Final = re.compile(
    r"(adj(usted)?[ ._-]*)?close(\*{0,2}|/last)|volume|vol\.|zamkniecie|wolumen", re.ASCII
)
_BAR: Final = frozenset({"open", "high", "low"})
# The suffixes in tables whose columns are named by stock and field: AAPL.Close, AAPL_Open.
_FIELD: Final = re.compile(r".+[ ._-](open|high|low|close|volume|adjusted|adj)", re.ASCII)
_LONG: Final = frozenset({"symbol", "ticker", "date"})
_SECOND_LINE: Final = frozenset({"", "date", "datetime", "price", "ticker"})

ONE_TABLE: Final = "this is the table of one stock; give one column of closes per name"
SEVERAL_LINES: Final = (
    "the column names span several lines, as yfinance writes them; write one table of closes: "
    'yf.download(names, auto_adjust=True)["Close"].to_csv("closes.csv")'
)
FIELD_IN_NAMES: Final = "name each column of closes by its ticker alone"
ONE_ROW_PER_STOCK: Final = "this is a table of one row per stock and day; give one column of closes per name"
DATE_SECOND: Final = "the date must be the first column; write the file without its row numbers (index=False)"


def tickers_of(header: list[str], second: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """The names of the columns except the first, upper-cased.

    Args:
        header: The cells of the first line; without those after a trailing comma.
        second: The cells of the line below, if there is one.
        path: The file, for the messages.

    Raises:
        PriceFileError: The file is not a table of closes; the message says how to write one.
    """
    if not header:
        what = "the file is empty; its first line" if second is None else "the first line is blank; it"
        raise PriceFileError(path, f"{what} must name the columns")
    if len(header) == 1:
        raise PriceFileError(path, _one_column(header[0]), line=1)
    if is_date(header[0].strip()):
        raise PriceFileError(
            path, f"the first line must name the columns, not start with {shown(header[0])}", line=1
        )
    other = _other_table(header, second)
    if other:
        raise PriceFileError(path, other, line=1)
    tickers = tuple(_ticker(cell, number, path) for number, cell in enumerate(header[1:], start=2))
    twice = [ticker for ticker, count in Counter(tickers).items() if count > 1]
    if twice:
        raise PriceFileError(path, "occurs twice; name each ticker once", line=1, column=twice[0])
    return tickers


def _ticker(cell: str, number: int, path: Path) -> str:
    ticker = ticker_of(cell.strip())
    if ticker is None:
        raise PriceFileError(
            path, f"{shown(cell)} is not a ticker: {TICKER_RULE}", line=1, column=str(number)
        )
    return ticker


def _other_table(header: Sequence[str], second: Sequence[str] | None) -> str:
    """The kind of table it is instead of one column of closes per name; empty if it may be that."""
    if second is not None and _continues(second):
        return SEVERAL_LINES
    names = [cell.strip().lower() for cell in header[1:]]
    if _LONG.intersection(names):
        return DATE_SECOND if names[0] == "date" else ONE_ROW_PER_STOCK
    if _BAR.issubset(names) or any(_CLOSE.fullmatch(name) for name in names):
        return ONE_TABLE
    fields = {found[1]: name for name in names if (found := _FIELD.fullmatch(name))}
    if len(fields) > 1:
        return ONE_TABLE
    return "".join(f"{FIELD_IN_NAMES}, not {shown(name.upper())}" for name in fields.values())


def _continues(second: Sequence[str]) -> bool:
    """Whether the second line still names columns: it does not start with a day, and has no closes."""
    if not second or second[0].strip().lower() not in _SECOND_LINE:
        return False
    closes = (close_of(cell.strip()) for cell in second[1:])
    return all(close is None or close != close for close in closes)  # noqa: PLR0124 - NaN is the missing close


def _one_column(heading: str) -> str:
    for delimiter, name in _OTHER_DELIMITERS.items():
        if delimiter in heading:
            return f"the cells are separated by {name}; separate them by commas"
    return f"only one column, {shown(heading)}; a date column and one column per ticker are needed"
