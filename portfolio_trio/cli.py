"""The command line: ``portfolio-trio serve``, ``portfolio-trio demo``."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio import __version__
from portfolio_trio.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROGRAM: Final = "portfolio-trio"
EMBEDDED: Final = "embedded://"

log: Final = logging.getLogger(PROGRAM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
        "serve": (_serve, "serve WebSockets until SIGTERM or Ctrl-C; every setting is a flag"),
        "demo": (_demo, "start a server and watch an analysis being switched"),
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
    try:
        return run(words[1:])
    except SettingsError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        # Ctrl-C while the server was not listening for signals yet, or no more.
        return 0


def _serve(flags: Sequence[str]) -> int:
    # Imported here, so that --help and a wrong flag need no numpy and no Lua.
    from portfolio_trio.server import StartError  # noqa: PLC0415

    settings = Settings.read(flags, program=f"{PROGRAM} serve")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    reasons: list[str] = []
    try:
        trio.run(_serve_and_say_where, settings)
    except* StartError as group:
        reasons.extend(str(error) for error in _leaves(group))
    return _complain(reasons[0]) if reasons else 0


async def _serve_and_say_where(settings: Settings) -> None:
    from portfolio_trio.server import serve  # noqa: PLC0415 - as above

    async with trio.open_nursery() as nursery:
        host, port = await nursery.start(serve, settings)
        shown = f"[{host}]" if ":" in host else host
        log.info("serving ws://%s:%d/ws/{session_id}", shown, port)
        if settings.redis_url.get_secret_value() == EMBEDDED:
            log.info("embedded engine: sessions live in this process and are gone when it ends")


def _demo(flags: Sequence[str]) -> int:
    from portfolio_trio.demo import DemoError, demo  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} demo", description=demo.__doc__)
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table")
    plain = parser.parse_args(flags).plain
    reasons: list[str] = []
    try:
        trio.run(demo, plain)
    except* DemoError as group:
        reasons.extend(str(error) for error in _leaves(group))
    return _complain(reasons[0]) if reasons else 0


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _complain(reason: str) -> int:
    sys.stderr.write(f"{PROGRAM}: {reason}\n")
    return 1
