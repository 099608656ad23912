"""Escaping untrusted text: it cannot move a cursor, forge a line or fill a page."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from typing_extensions import override

if TYPE_CHECKING:
    from types import TracebackType

_LINE_CHARACTERS: Final = 4_000
_MARGIN: Final = "  | "


def escaped(text: str) -> str:
    r"""Return ``text`` with what does not print as ``\x1b`` or ``\u202e``.

    That is control characters and line ends, marks that change the writing direction, lone surrogates, and
    spaces other than the usual one.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def echo(text: str, most: int = 64) -> str:
    """Return the beginning of a client's text, escaped, for an answer to it; dots mark where it is cut."""
    shown = escaped(text[:most])
    return shown if len(text) <= most >= len(shown) else f"{shown[:most]}..."


class LogFormatter(logging.Formatter):
    """Writes each record as one line, and the lines of a traceback after a margin.

    So no untrusted text looks like a line of the log or has an effect on the terminal.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        # Another handler may have stored its own traceback text in the record.
        theirs, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = theirs

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return echo(super().formatMessage(record), _LINE_CHARACTERS)

    @override
    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _behind_margin(super().formatException(ei))

    @override
    def formatStack(self, stack_info: str) -> str:
        return _behind_margin(super().formatStack(stack_info))


def _behind_margin(text: str) -> str:
    # Split only at its own line ends: others are part of the content.
    return "\n".join(_MARGIN + echo(line, _LINE_CHARACTERS) for line in text.split("\n"))
