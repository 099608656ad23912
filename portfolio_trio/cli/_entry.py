"""Shared by commands and worker processes: one-line errors, and a quiet end when nobody reads the output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from portfolio_trio.cli._output import OutputClosed, discard, flush
from portfolio_trio.cli.main import PROGRAM
from portfolio_trio.settings import SettingsError
from portfolio_trio.supervisor.listeners import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


OUTPUT_CLOSED: Final = 141
"""The exit status that a shell reports of a program that SIGPIPE ended."""


def guarded(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Run a command; print errors at its start in one line. Return the exit status."""
    reasons: list[str] = []
    status = 0
    try:
        try:
            return command(words)
        finally:
            flush()
    except* (SettingsError, StartError) as group:
        reasons.extend(str(error) for error in leaves(group))
    except* KeyboardInterrupt:
        # Ctrl-C while the server was not yet, or no longer, listening for signals.
        pass
    except* OutputClosed:
        discard()
        status = OUTPUT_CLOSED
    return complain(reasons[0]) if reasons else status


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The errors of a group, however deeply nested."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def complain(reason: str, *, status: int = 1) -> int:
    """Print the error in one line; return the exit status."""
    sys.stderr.write(f"{PROGRAM}: {reason}\n")
    return status
