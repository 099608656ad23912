"""Standard output, and its end: who reads it may stop, as ``head`` does."""

from __future__ import annotations

import os
import sys


class OutputClosed(Exception):  # noqa: N818 - the reader's decision, not an error
    """Nobody reads standard output any more, so the command is over."""


def say(line: str) -> None:
    """Print a line now.

    Raises:
        OutputClosed: Nobody reads it.
    """
    _write(f"{line}\n")


def flush() -> None:
    """Print what is still buffered.

    Raises:
        OutputClosed: Nobody reads it.
    """
    _write("")


def _write(text: str) -> None:
    # A program that was started without standard output has none.
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def discard() -> None:
    """Send what is still buffered nowhere: at its exit the interpreter would complain that it cannot."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
