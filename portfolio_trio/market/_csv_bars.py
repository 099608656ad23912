"""Closed daily bars from CSV text: what is accepted, what is repaired, and what is refused and where."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from portfolio_trio.market._errors import PriceFileError, shown
from portfolio_trio.market._files import read_regular
from portfolio_trio.metrics.bars import Bars
from portfolio_trio.tickers import is_ticker

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

MAX_BYTES: Final = 512 * 2**20
"""A file of bars may have so many bytes: some 70 million closes."""

_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


class _Row(NamedTuple):
    date: str
    line: int
    closes: npt.NDArray[np.float64]


def read_bars(path: Path) -> Bars:
    """Read the CSV file at `path`. Blocks: call it in a worker thread. Errors as `parse_bars`."""
    return parse_bars(read_regular(path, max_bytes=MAX_BYTES).content, path)


def parse_bars(content: bytes, path: Path) -> Bars:
    """Return the bars in `content`: UTF-8, comma-separated, one row a day.

    The first line names the columns: the date first, then one ticker each (upper-cased). Dates are
    ``YYYY-MM-DD`` and are sorted. A date that stands twice with the same closes counts once. An empty
    cell, and a close that is not finite and positive, is a missing close (NaN).

    Args:
        content: The file's bytes; a byte order mark, CRLF and quoted cells are fine.
        path: Where they came from, for the messages.

    Raises:
        PriceFileError: One line with file, line, column and value of the first thing that is wrong.
    """
    _check_encoding(content, path)
    table = _Table(path, content)
    tickers = table.tickers()
    rows = _one_row_a_date(table.rows(tickers), tickers, path)
    if not rows:
        raise PriceFileError(path, "no rows below the line of column names")
    return Bars(tuple(row.date for row in rows), tickers, np.stack([row.closes for row in rows]))


def _check_encoding(content: bytes, path: Path) -> None:
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = shown(content[error.start : error.start + 1])
        raise PriceFileError(path, f"byte {bad} is not UTF-8; save the file as UTF-8", line=line) from None


@dataclass
class _Table:
    """The rows of one file, each with the line on which it starts."""

    path: Path
    content: bytes

    def __post_init__(self) -> None:
        # Decoded as it is read: whole-file steps would hold up the event loop's thread.
        text = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8-sig", newline="")
        self._reader = csv.reader(text, strict=True)
        # `float` takes 1_000 and digits of other scripts; cells are looked at one by one if there may be any.
        self._plain = self.content.isascii() and b"_" not in self.content

    def tickers(self) -> tuple[str, ...]:
        """Read and check the first line."""
        _, header = self._next() or (0, [])
        if not header:
            raise PriceFileError(self.path, "the file is empty; its first line must name the columns")
        if len(header) == 1:
            raise PriceFileError(self.path, _one_column(header[0]), line=1)
        if _is_date(header[0].strip()):
            raise PriceFileError(
                self.path, f"the first line must name the columns, not start with {shown(header[0])}", line=1
            )
        tickers = tuple(cell.strip().upper() for cell in header[1:])
        for number, (ticker, cell) in enumerate(zip(tickers, header[1:], strict=True), start=2):
            if not is_ticker(ticker):
                raise PriceFileError(self.path, f"{shown(cell)} is not a ticker", line=1, column=str(number))
        twice = [ticker for ticker, count in Counter(tickers).items() if count > 1]
        if twice:
            raise PriceFileError(self.path, "stands twice; name each ticker once", line=1, column=twice[0])
        return tickers

    def rows(self, tickers: tuple[str, ...]) -> list[_Row]:
        """Read and check what follows the first line, as it stands in the file."""
        rows = []
        while (numbered := self._next()) is not None:
            line, cells = numbered
            if not cells:
                continue
            if len(cells) != len(tickers) + 1:
                raise PriceFileError(
                    self.path, f"{len(cells)} cells where the first line has {len(tickers) + 1}", line=line
                )
            day = cells[0].strip()
            if not _is_date(day):
                raise PriceFileError(
                    self.path, f"{shown(cells[0])} is not a date; write YYYY-MM-DD", line=line, column="1"
                )
            rows.append(_Row(day, line, np.array(self._closes(cells, line, tickers))))
        return rows

    def _next(self) -> tuple[int, list[str]] | None:
        line = self._reader.line_num + 1
        try:
            return line, next(self._reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise PriceFileError(self.path, f"not a CSV row: {error}", line=line) from None

    def _closes(self, cells: list[str], line: int, tickers: tuple[str, ...]) -> list[float]:
        if self._plain:
            try:
                return [float(cell) if cell else math.nan for cell in cells[1:]]
            except ValueError:
                pass
        # Something is odd: cell by cell, to accept blanks and to say where it is.
        closes = []
        for ticker, cell in zip(tickers, cells[1:], strict=True):
            close = _close(cell.strip())
            if close is None:
                raise PriceFileError(self.path, f"{shown(cell)} is not a price", line=line, column=ticker)
            closes.append(close)
        return closes


def _close(cell: str) -> float | None:
    if not cell:
        return math.nan
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _is_date(cell: str) -> bool:
    try:
        return date.fromisoformat(cell).isoformat() == cell
    except ValueError:
        return False


def _one_column(heading: str) -> str:
    for delimiter, name in _OTHER_DELIMITERS.items():
        if delimiter in heading:
            return f"the cells are separated by {name}; separate them by commas"
    return f"only one column, {shown(heading)}; a date column and one column per ticker are wanted"


def _one_row_a_date(rows: list[_Row], tickers: tuple[str, ...], path: Path) -> list[_Row]:
    kept: list[_Row] = []
    for row in sorted(rows, key=lambda row: row.date):
        if not kept or kept[-1].date != row.date:
            kept.append(row)
            continue
        for ticker, first, second in zip(tickers, kept[-1].closes.tolist(), row.closes.tolist(), strict=True):
            if first != second and _positive(first) + _positive(second) > 0:
                raise PriceFileError(
                    path,
                    f"{_written(second)} contradicts {_written(first)} of line {kept[-1].line}, "
                    f"both for {row.date}; keep one",
                    line=row.line,
                    column=ticker,
                )
    return kept


def _positive(close: float) -> bool:
    return 0.0 < close < math.inf


def _written(close: float) -> str:
    return f"{close:g}" if _positive(close) else "a missing close"
