"""The errors between a price feed and the price book, each with one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN_CHARACTERS: Final = 40


class MarketError(Exception):
    """Base class of all errors of this package."""


class PriceSourceSpecError(MarketError):
    """The setting does not name a price source; the message lists those that exist."""


class PriceSourceError(MarketError):
    """A price source failed to load bars or to quote."""


class PriceSourceTimeoutError(PriceSourceError):
    """A price source exceeded its time limit."""


class BookNotOpenError(MarketError):
    """The price book was read before `PriceBook.open` had finished."""


class MarketFullError(MarketError):
    """A session, or all of an address, asked for more new names than they may add to the market now."""

    def __init__(self, new: int, most: int, who: str = "this session") -> None:
        super().__init__(
            f"{new} of the names are new to the market, and {who} may add {most} now: name "
            "fewer, or try again after a few ticks, when names that nobody holds have been removed"
        )


class PriceFileError(PriceSourceError):
    """A price file cannot be used; the message is one line: file, line, column and what is wrong.

    Attributes:
        path: The file.
        line: Line in the file, counted from 1, if the error is in one line.
        column: Heading of the column, if the error is in one cell.
    """

    def __init__(
        self, path: Path, problem: str, *, line: int | None = None, column: str | None = None
    ) -> None:
        self.path = path
        self.line = line
        self.column = column
        where = str(path)
        if line is not None:
            where += f", line {line}"
        if column is not None:
            where += f", column {column}"
        super().__init__(f"{where}: {problem}")


def shown(value: object) -> str:
    """Return `value` as one short line for a message, whatever its content."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
