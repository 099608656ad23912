"""Closed daily bars from CSV text: what is accepted, what is repaired, and what is refused and where."""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from portfolio_trio.market._csv_cells import MISSING, close_of, day_of, why_no_close, why_no_day
from portfolio_trio.market._csv_header import tickers_of
from portfolio_trio.market._errors import PriceFileError, shown
from portfolio_trio.market._files import read_regular
from portfolio_trio.metrics.bars import Bars

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

MAX_BYTES: Final = 512 * 2**20
"""Maximum size of a file of bars in bytes: some 70 million closes."""


CELLS_AT_ONCE: Final = 1_000
"""After this many closes the reading thread lets others run."""


class _Row(NamedTuple):
    date: str
    line: int
    closes: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BarTable:
    """The content of a file of closes.

    Attributes:
        bars: The bars.
        newest_line: The line on which the newest row starts.
    """

    bars: Bars
    newest_line: int

    def check_past(self, today: str, path: Path) -> None:
        """Raise `PriceFileError` if the newest bar is of a day after ``today`` (``YYYY-MM-DD``, UTC)."""
        newest = self.bars.dates[-1]
        if newest > today:
            raise PriceFileError(
                path,
                f"{newest} is in the future, today is {today}; write closed bars only",
                line=self.newest_line,
                column="1",
            )


def read_bars(path: Path) -> Bars:
    """Read the CSV file at `path`. Blocks: call it in a worker thread. Errors as `parse_bars`."""
    return parse_bars(read_regular(path, max_bytes=MAX_BYTES).content, path)


def parse_bars(content: bytes, path: Path) -> Bars:
    """Return the bars in `content`; see `parse_table`."""
    return parse_table(content, path).bars


def parse_table(content: bytes, path: Path) -> BarTable:
    """Return the bars in `content`: UTF-8, comma-separated, one row per day.

    The first line names the columns: the date first, then one ticker each (upper-cased). Dates are
    ``YYYY-MM-DD``, with or without midnight as a time, and are sorted. A date that occurs twice with the same
    closes counts once. An empty cell, a word for a missing value (`MISSING`), or a close that is not finite
    and positive is a missing close (NaN). Blank rows and commas at the end of every line are accepted.

    Args:
        content: The file's bytes; a byte order mark, CRLF and quoted cells are accepted.
        path: The file, for error messages.

    Raises:
        PriceFileError: One line with file, line, column and value of the first thing that is wrong.
    """
    _check_encoding(content, path)
    table = _Table(path, content)
    rows = _one_row_a_date(table.rows(), table.tickers, path)
    if not rows:
        raise PriceFileError(path, "no rows below the line of column names")
    bars = Bars(tuple(row.date for row in rows), table.tickers, np.stack([row.closes for row in rows]))
    return BarTable(bars, rows[-1].line)


def _check_encoding(content: bytes, path: Path) -> None:
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = shown(content[error.start : error.start + 1])
        raise PriceFileError(path, f"byte {bad} is not UTF-8; save the file as UTF-8", line=line) from None


class _Table:
    """The rows of one file, each with the line on which it starts."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        # Decoded as it is read: processing the whole file in one step would block the event loop's thread.
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
        self._reader = csv.reader(text, strict=True)
        # `float` accepts 1_000 and digits of other scripts; if there may be any, cells are checked one by
        # one.
        self._plain = content.isascii() and b"_" not in content
        _, header = self._next() or (0, [])
        # Commas at the end of the first line name no columns.
        self._width = len(header)
        while len(header) > 1 and not header[-1].strip():
            header.pop()
        self._first = self._next_row()
        self.tickers = tickers_of(header, self._first and self._first[1], path)

    def rows(self) -> list[_Row]:
        """Read and check the lines after the first, in the order of the file."""
        rows = []
        wanted = len(self.tickers) + 1
        rest_after = max(CELLS_AT_ONCE // wanted, 1)
        numbered = self._first
        while numbered is not None:
            line, cells = numbered
            if len(cells) != wanted:
                cells = self._without_tail(cells, line, wanted)
            rows.append(_Row(self._day(cells[0], line), line, np.array(self._closes(cells, line))))
            if len(rows) % rest_after == 0:
                # Let other threads run; otherwise the event loop would wait for a whole time slice.
                time.sleep(0)
            numbered = self._next_row()
        return rows

    def _next_row(self) -> tuple[int, list[str]] | None:
        """The next row that is not blank; spreadsheets write blank ones below a table."""
        while (numbered := self._next()) is not None:
            cells = numbered[1]
            if cells and (cells[0].strip() or any(map(str.strip, cells))):
                break
        return numbered

    def _next(self) -> tuple[int, list[str]] | None:
        line = self._reader.line_num + 1
        try:
            return line, next(self._reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise PriceFileError(self._path, f"not a CSV row: {error}", line=line) from None

    def _without_tail(self, cells: list[str], line: int, wanted: int) -> list[str]:
        """The cells without the blank ones under the first line's trailing commas."""
        if not wanted < len(cells) <= self._width:
            raise PriceFileError(
                self._path, f"{len(cells)} cells where the first line has {self._width}", line=line
            )
        for number, cell in enumerate(cells[wanted:], start=wanted + 1):
            if cell.strip() not in MISSING:
                raise PriceFileError(
                    self._path, f"{shown(cell)} is in a column without a name", line=line, column=str(number)
                )
        return cells[:wanted]

    def _day(self, cell: str, line: int) -> str:
        day = day_of(cell.strip())
        if day is None:
            raise PriceFileError(
                self._path, f"{shown(cell)} {why_no_day(cell.strip())}", line=line, column="1"
            )
        return day

    def _closes(self, cells: list[str], line: int) -> list[float]:
        if self._plain:
            try:
                return list(map(float, cells[1:]))
            except ValueError:
                pass
            try:
                return [math.nan if cell in MISSING else float(cell) for cell in cells[1:]]
            except ValueError:
                pass
        # Something is unusual: go cell by cell, to accept blanks and to locate errors.
        closes = []
        for ticker, cell in zip(self.tickers, cells[1:], strict=True):
            close = close_of(cell.strip())
            if close is None:
                raise PriceFileError(
                    self._path,
                    f"{shown(cell)} is not a price{why_no_close(cell.strip())}",
                    line=line,
                    column=ticker,
                )
            closes.append(close)
        return closes


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
