"""The flags of each command; the rooms it needs are loaded when it runs."""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.cli._entry import complain, guarded, leaves
from portfolio_trio.cli._output import say
from portfolio_trio.cli.main import PROGRAM
from portfolio_trio.logs import write_log
from portfolio_trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log: Final = logging.getLogger(PROGRAM)

UNUSABLE: Final = 2


def run(command: str, words: Sequence[str]) -> int:
    """Run one command with its flags; return the exit status."""
    return guarded(_COMMANDS[command], words)


def _serve(flags: Sequence[str]) -> int:
    settings = Settings.read(flags, program=f"{PROGRAM} serve")
    write_log(settings.log_level, settings.log_format, access=settings.access_log)
    for sentence in Settings.ignored():
        log.warning("a setting is ignored", extra={"event": "setting_ignored", "reason": sentence})
    # Imported here, so that --help, a wrong flag, and a supervisor do not load numpy and Lua.
    if settings.workers > 1:
        from portfolio_trio.supervisor.supervisor import supervise  # noqa: PLC0415

        return trio.run(supervise, settings, flags)
    from portfolio_trio.cli.worker import serve_alone  # noqa: PLC0415

    trio.run(serve_alone, settings)
    return 0


def _demo(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.demo import DemoError, demo  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} demo",
        description="Start a server on a free port, analyse AAPL, switch to GOOGL after two results, and "
        "show what arrives. Each metric is slowed down, so that the switch interrupts something. Needs no "
        "Redis and no network, and keeps nothing.",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    parser.add_argument(
        "--browser",
        action="store_true",
        help="open the page instead: each metric takes 2 to 5 seconds, so that you can switch by hand",
    )
    chosen = parser.parse_args(flags)
    if chosen.browser:
        from portfolio_trio.cli.demo_browser import browse  # noqa: PLC0415 - as above

        trio.run(browse)
        return 0
    reasons: list[str] = []
    try:
        trio.run(demo, chosen.plain)
    except* DemoError as group:
        reasons.extend(str(error) for error in leaves(group))
    return complain(reasons[0]) if reasons else 0


def _watch(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.watch import watch  # noqa: PLC0415 - as above
    from portfolio_trio.client import ClientError  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} watch",
        description="Show a session of a running server until Ctrl-C: its portfolio, its runs, its results.",
    )
    parser.add_argument("url", help="ws://127.0.0.1:8000/ws/my-session")
    parser.add_argument("--ticker", help="request its analysis")
    parser.add_argument(
        "--follow", action="store_true", help="with --ticker: analyse again after every tick and every change"
    )
    parser.add_argument(
        "--token",
        default=os.environ.get("PORTFOLIO_TOKEN"),
        help="opens the session, if the server requires one; better set as "
        "PORTFOLIO_TOKEN, because flags are visible in the process list",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    arguments = parser.parse_args(flags)
    if arguments.follow and arguments.ticker is None:
        parser.error("--follow needs --ticker")
    show = partial(
        watch,
        arguments.url,
        arguments.ticker,
        arguments.plain,
        follow=arguments.follow,
        token=arguments.token,
    )
    try:
        trio.run(show)
    except (ClientError, ValueError) as error:
        return complain(str(error))
    return 0


def _plan(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.plan import plan, unwritable  # noqa: PLC0415 - as above
    from portfolio_trio.client import ClientError  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} plan",
        description="Get from a running server the trades that together reach the targets of a session, "
        "print them, and write them as CSV. Nothing is traded.",
    )
    parser.add_argument("url", help="ws://127.0.0.1:8000/ws/my-session")
    parser.add_argument("--to", choices=("weights", "budgets"), required=True, help="which targets")
    parser.add_argument("--cash", type=float, default=0.0, help="cash to put in; negative to take out")
    parser.add_argument("--only-buy", action="store_true", help="sell nothing, spend the cash")
    parser.add_argument("--whole-shares", action="store_true", help="trade whole shares only")
    parser.add_argument("--csv", type=Path, help="write ticker, shares and value of each trade to this file")
    parser.add_argument(
        "--token",
        default=os.environ.get("PORTFOLIO_TOKEN"),
        help="opens the session, if the server requires one; better set as PORTFOLIO_TOKEN",
    )
    found = parser.parse_args(_joined(flags, "--cash"))
    reason = None if found.csv is None else unwritable(found.csv)
    if reason is not None:
        return complain(reason)
    ask = partial(
        plan,
        found.url,
        found.to,
        found.csv,
        cash=found.cash,
        only_buy=found.only_buy,
        whole_shares=found.whole_shares,
        token=found.token,
    )
    try:
        trio.run(ask)
    except (ClientError, OSError, ValueError) as error:
        return complain(str(error))
    return 0


def _joined(flags: Sequence[str], flag: str) -> list[str]:
    """The words with a flag and its value as one: argparse takes the value -1e9 for another flag."""
    words = list(flags)
    if flag in words[:-1]:
        place = words.index(flag)
        words[place : place + 2] = [f"{flag}={words[place + 1]}"]
    return words


def _check(flags: Sequence[str]) -> int:
    from portfolio_trio.cli.check import CheckError, check  # noqa: PLC0415 - as above

    settings = Settings.read(
        flags,
        program=f"{PROGRAM} check",
        description="Connect to a Redis, try everything that serve needs, and report the findings and how "
        "fast it is. Test data is removed again. Exit status 0: serve would work. Other flags of serve "
        "are accepted and ignored.",
        shown=("redis_url",),
    )
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
        description="Show the content of a price source, name by name. Exit status 0: serve would accept it.",
    )
    parser.add_argument("source", help="csv:PATH, or another value of --prices of serve")
    parser.add_argument("--live-prices", help="with csv: the JSON file of live prices")
    parser.add_argument(
        "--cash", default="CASH", help="names of cash, separated by commas, as for --cash of serve"
    )
    arguments = parser.parse_args(flags)
    cash = [name.strip().upper() for name in arguments.cash.split(",")]
    # The report has everything that would be logged.
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
        description="Recompute recorded results from their receipts. Exit status 0: all are equal; 3: "
        "all numbers are equal, but the closes have been rescaled since; 1: something differs.",
    )
    parser.add_argument("results", type=Path, help="a file of messages as a client received them")
    parser.add_argument("--prices", required=True, help="the closed bars: csv:PATH or simulated")
    arguments = parser.parse_args(flags)
    try:
        return int(trio.run(replay, arguments.results, arguments.prices))
    except (ReplayError, MarketError) as error:
        return complain(str(error), status=UNUSABLE)


def _types(flags: Sequence[str]) -> int:
    from portfolio_trio.metrics import PluginError  # noqa: PLC0415 - as above
    from portfolio_trio.protocol.typescript import types  # noqa: PLC0415 - as above
    from portfolio_trio.server.asyncapi_route import installed_document  # noqa: PLC0415 - as above

    argparse.ArgumentParser(
        prog=f"{PROGRAM} types",
        description="Print the messages of the protocol as TypeScript types, installed metrics included.",
    ).parse_args(flags)
    try:
        say(types(installed_document()).removesuffix("\n"))
    except PluginError as error:
        return complain(str(error))
    return 0


_COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "serve": _serve,
    "demo": _demo,
    "watch": _watch,
    "plan": _plan,
    "check": _check,
    "prices": _prices,
    "replay": _replay,
    "types": _types,
}
