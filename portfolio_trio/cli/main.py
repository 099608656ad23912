"""The command line: ``portfolio-trio serve | demo | watch | check | replay``."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio import __version__
from portfolio_trio.cli._entry import PROGRAM, complain, guarded, leaves, log_to_stderr
from portfolio_trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNUSABLE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
        "serve": (_serve, "serve WebSockets until SIGTERM or Ctrl-C; every setting is a flag"),
        "demo": (_demo, "start a server and watch an analysis being switched"),
        "watch": (_watch, "show a session of a running server, live"),
        "check": (_check, "say whether serve would work with a Redis, and how fast it is"),
        "prices": (_prices, "show what a file of prices holds, and what serve would refuse of it"),
        "replay": (_replay, "compute recorded results again from their receipts"),
    }
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Real-time stock-portfolio analysis over WebSockets.",
        epilog="\n".join(f"  {name:8}{text}" for name, (_, text) in commands.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("command", choices=commands, help="see below; each has its own --help")
    # A command reads its own flags, so that --help after it is the command's.
    run, _ = commands[parser.parse_args(words[:1]).command]
    return guarded(run, words[1:])


def _serve(flags: Sequence[str]) -> int:
    settings = Settings.read(flags, program=f"{PROGRAM} serve")
    log_to_stderr()
    # Imported here, so that --help and a wrong flag, and a supervisor, need no numpy and no Lua.
    if settings.workers > 1:
        from portfolio_trio.supervisor.supervisor import supervise  # noqa: PLC0415

        return trio.run(supervise, settings, flags)
    from portfolio_trio.cli.worker import serve_alone  # noqa: PLC0415

    trio.run(serve_alone, settings)
    return 0


def _demo(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.demo import DemoError, demo  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} demo", description=demo.__doc__)
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    plain = parser.parse_args(flags).plain
    reasons: list[str] = []
    try:
        trio.run(demo, plain)
    except* DemoError as group:
        reasons.extend(str(error) for error in leaves(group))
    return complain(reasons[0]) if reasons else 0


def _watch(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.watch import watch  # noqa: PLC0415 - as above
    from portfolio_trio.client import ClientError  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} watch", description="Show a session, live.")
    parser.add_argument("url", help="ws://127.0.0.1:8000/ws/my-session")
    parser.add_argument("--ticker", help="ask for its analysis")
    parser.add_argument("--token", help="opens the session, where the server asks for one")
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    arguments = parser.parse_args(flags)
    show = partial(watch, arguments.url, arguments.ticker, arguments.plain, token=arguments.token)
    try:
        trio.run(show)
    except (ClientError, ValueError) as error:
        return complain(str(error))
    return 0


def _check(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.check import CheckError, check  # noqa: PLC0415 - as above

    settings = Settings.read(flags, program=f"{PROGRAM} check")
    try:
        trio.run(check, settings.redis_url.get_secret_value())
    except CheckError as error:
        return complain(str(error))
    return 0


def _prices(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.prices import prices  # noqa: PLC0415 - as above
    from portfolio_trio.market import MarketError  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} prices",
        description="Show what a price source holds, name by name. Exit status 0: nothing would be refused.",
    )
    parser.add_argument("source", help="csv:PATH, or what else --prices of serve takes")
    parser.add_argument("--live-prices", help="with csv: the JSON file of live prices")
    parser.add_argument(
        "--cash", default="CASH", help="names of cash, with commas, as --cash of serve takes them"
    )
    arguments = parser.parse_args(flags)
    cash = [name.strip().upper() for name in arguments.cash.split(",")]
    # What would be logged is in the report.
    logging.getLogger("portfolio_trio").addHandler(logging.NullHandler())
    try:
        return 0 if trio.run(prices, arguments.source, arguments.live_prices, cash) else 1
    except MarketError as error:
        return complain(str(error), status=UNUSABLE)


def _replay(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.replay import ReplayError, replay  # noqa: PLC0415 - as above
    from portfolio_trio.market import MarketError  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} replay",
        description="Compute recorded results again from their receipts. Exit status 0: all are equal; 3: "
        "each number is, but the closes have been rescaled since; 1: something differs.",
    )
    parser.add_argument("results", type=Path, help="a file of messages as a client received them")
    parser.add_argument("--prices", required=True, help="the closed bars: csv:PATH or simulated")
    arguments = parser.parse_args(flags)
    try:
        return int(trio.run(replay, arguments.results, arguments.prices))
    except (ReplayError, MarketError) as error:
        return complain(str(error), status=UNUSABLE)
