"""The command line: ``portfolio-trio serve | demo | watch | plan | check | prices | replay | types``.

Only the standard library is loaded until the command is known, so that --help and a mistyped word are
answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from portfolio_trio import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "portfolio-trio"
COMMANDS: Final = {
    "serve": "serve WebSockets until SIGTERM or Ctrl-C; every setting is a flag",
    "demo": "start a server and watch an analysis being switched",
    "watch": "show a session of a running server, live",
    "plan": "print the trades that reach a session's targets, and write them as CSV",
    "check": "say whether serve would work with a Redis, and how fast it is",
    "prices": "show the content of a price file, and what serve would reject",
    "replay": "recompute recorded results from their receipts",
    "types": "print the messages of the protocol as TypeScript types",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Real-time stock-portfolio analysis over WebSockets.",
        epilog="\n".join(f"  {name:8}{text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("command", choices=COMMANDS, help="see below; each has its own --help")
    # A command parses its own flags, so that --help after it shows the command's help.
    command = parser.parse_args(words[:1]).command
    # Must be set before numpy is loaded: with several BLAS threads a matrix of this size takes six times the
    # work, and the event loop is blocked. Workers inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from portfolio_trio.cli.commands import run  # noqa: PLC0415 - loads Trio and pydantic

    return run(command, words[1:])
