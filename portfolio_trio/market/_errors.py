"""What can go wrong between a price feed and the price book, each with one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN_CHARACTERS: Final = 40


class MarketError(Exception):
    """Base class of every error of the market room."""


class PriceSourceSpecError(MarketError):
    """The setting that names the price source names none; the message lists what there is."""


class PriceSourceError(MarketError):
    """A price source failed to load bars or to quote."""


class PriceSourceTimeoutError(PriceSourceError):
    """A price source took longer than it was given."""


class BookNotOpenError(MarketError):
    """The price book was read before `PriceBook.open` had finished."""


class MarketFullError(MarketError):
    """One session asked for more new names than it may bring into the market just now."""

    def __init__(self, new: int, most: int) -> None:
        super().__init__(
            f"{new} of the names are new to the market, and this session may bring {most} just now: name "
            "fewer, or try again after a few ticks, when names that nobody holds have gone"
        )


class PriceFileError(PriceSourceError):
    """A price file cannot be used; the message is one line: file, line, column and what is wrong.

    Attributes:
        path: The file.
        line: Line in the file, counted from 1, where one line is to blame.
        column: Heading of the column, where one cell is to blame.
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
    """Return `value` as one short line for a message, whatever it holds."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
