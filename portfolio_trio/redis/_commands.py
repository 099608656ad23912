"""Commands as words and bytes: packing them, and which ones a shared connection must refuse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import hiredis
from redis.commands import READ_COMMANDS
from redis.exceptions import DataError

from portfolio_trio.redis.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Arg = str | bytes | bytearray | memoryview | int | float
"""What a command may consist of."""

_PACKED_AS_IS = frozenset({str, bytes, int, float})

_USE_SUBSCRIBE = "open a separate pub/sub connection with client.subscribe(channel, ...)"
_USE_SCRIPT = "put the commands that belong together into one Lua script (client.run_script)"
_NO_BLOCKING = "poll without blocking or wait for a message (client.subscribe): it would block every caller"
_USE_URL = "put it in the URL: every caller shares this connection's state"
_USE_CLI = "use redis-cli: its replies do not belong to a command"

_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"),
        _USE_SUBSCRIBE,
    ),
    **dict.fromkeys(("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"), _USE_SCRIPT),
    **dict.fromkeys(
        (
            "BLPOP",
            "BRPOP",
            "BRPOPLPUSH",
            "BLMOVE",
            "BLMPOP",
            "BZPOPMIN",
            "BZPOPMAX",
            "BZMPOP",
            "WAIT",
            "WAITAOF",
        ),
        _NO_BLOCKING,
    ),
    **dict.fromkeys(
        ("SELECT", "AUTH", "HELLO", "RESET", "QUIT", "READONLY", "READWRITE", "ASKING"), _USE_URL
    ),
    **dict.fromkeys(("MONITOR", "SYNC", "PSYNC", "REPLCONF"), _USE_CLI),
    "CLIENT REPLY": _USE_CLI,
    "CLIENT TRACKING": "client-side caching is not possible on a shared connection",
    "CLIENT CACHING": "client-side caching is not possible on a shared connection",
    "SCRIPT DEBUG": _USE_CLI,
}
_BLOCK_OPTION = frozenset({"XREAD", "XREADGROUP"})
_CONTAINERS = frozenset(name.split()[0] for name in _REFUSED if " " in name)


@dataclass(frozen=True, slots=True)
class Command:
    """What the first argument alone says about a command.

    Attributes:
        words: The first argument as the words that are sent; redis-py passes ``CONFIG GET`` as one.
        name: Upper-case name, with both words if there are two.
        read_only: Running it twice does no harm.
        refused: Why a shared connection refuses it; empty if it does not.
        look_closer: Whether it is refused depends on further arguments.
    """

    words: tuple[str, ...]
    name: str
    read_only: bool
    refused: str
    look_closer: bool


@lru_cache(maxsize=1024)
def describe(first: str) -> Command:
    """Look up a command by its first argument (``get``, ``CONFIG GET``)."""
    words = tuple(first.split()) or (first,)
    name = " ".join(words[:2]).upper()
    head = words[0].upper()
    return Command(
        words=words,
        name=name,
        read_only=name in READ_COMMANDS,
        refused=_REFUSED.get(name) or _REFUSED.get(head, ""),
        look_closer=head in _BLOCK_OPTION or (name == head and head in _CONTAINERS),
    )


def check(command: Command, args: Sequence[object]) -> None:
    """Refuse commands that must not run on a shared connection.

    Args:
        command: The command, from :func:`describe`.
        args: The arguments after the first.

    Raises:
        CommandRefused: With what to use instead.
    """
    reason = command.refused
    if not reason and command.look_closer:
        reason = _closer(command, [_upper(arg) for arg in args])
    if reason:
        raise CommandRefused(f"{command.name} cannot run on a shared connection; {reason}")


def _closer(command: Command, args: Sequence[str]) -> str:
    if command.words[0].upper() in _BLOCK_OPTION:
        options = args[: args.index("STREAMS")] if "STREAMS" in args else args
        return _NO_BLOCKING if "BLOCK" in options else ""
    return _REFUSED.get(f"{command.name} {args[0]}", "") if args else ""


def _upper(arg: object) -> str:
    return arg.decode("latin-1").upper() if isinstance(arg, bytes) else str(arg).upper()


def pack(args: tuple[Arg, ...]) -> bytes:
    """One command as the bytes that go on the wire.

    Raises:
        DataError: An argument is neither text, bytes nor a number; convert it first.
    """
    # hiredis writes the repr of a subclass: "np.float64(1.5)" instead of 1.5.
    if not _PACKED_AS_IS.issuperset(map(type, args)):
        args = tuple(map(_plain, args))
    # hiredis declares a one-element tuple.
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]
    return packed


def _plain(arg: object) -> str | bytes | int | float:
    if isinstance(arg, bytes | bytearray | memoryview):
        return bytes(arg)
    if not isinstance(arg, bool):
        if isinstance(arg, str):
            return str(arg)
        if isinstance(arg, int):
            return int(arg)
        if isinstance(arg, float):
            return float(arg)
    raise DataError(f"a {type(arg).__name__} cannot be part of a command: pass text, bytes or a number")
