"""The routing of commands in a cluster, from the server's own command table; without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from redis.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portfolio_trio.redis._commands import Arg

_NUMKEYS_SECOND = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})
_EVERYWHERE = frozenset({b"request_policy:all_shards", b"request_policy:all_nodes"})
_RESPONSE = b"response_policy:"


class Ask(Enum):
    """Only the server knows the keys of this command."""

    SERVER = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """The server's entry for one command.

    Attributes:
        first: Position of the first key; 0 if there is none or it varies.
        last: Position of the last key; negative counts from the end.
        step: Distance from one key to the next.
        movable: The positions of the keys depend on the arguments.
        everywhere: It is sent to every primary.
        merge: How the replies of all primaries are combined (``agg_sum``, ``all_succeeded``, ...).
    """

    first: int
    last: int
    step: int
    movable: bool
    everywhere: bool
    merge: str


class Routes:
    """The server's table of commands.

    Args:
        reply: The reply of COMMAND.
    """

    def __init__(self, reply: Sequence[Sequence[Any]]) -> None:
        self._table: Mapping[str, Route] = dict(_entries(reply))

    def route(self, args: Sequence[Arg]) -> Route:
        """The entry of a command, by its first word or its first two.

        Raises:
            DataError: The server does not know it.
        """
        head = _upper(args[0])
        both = f"{head} {_upper(args[1])}" if len(args) > 1 else head
        found = self._table.get(both) or self._table.get(head)
        if found is None:
            raise DataError(f"this server has no command {head}")
        return found

    def keys(self, args: Sequence[Arg]) -> Sequence[Arg] | Ask:
        """The keys of a command; empty if it has none."""
        if _upper(args[0]) in _NUMKEYS_SECOND:
            return args[3 : 3 + int(args[2])]
        route = self.route(args)
        if not route.first:
            return Ask.SERVER if route.movable else ()
        last = route.last if route.last >= 0 else len(args) + route.last
        return args[route.first : last + 1 : route.step]


def merge(how: str, replies: Sequence[Any]) -> Any:  # noqa: ANN401 - replies are whatever the servers say
    """Combine the replies of all primaries into one."""
    if how == "agg_sum":
        return sum(replies)
    if how == "agg_logical_and":
        return (
            [min(each) for each in zip(*replies, strict=True)]
            if isinstance(replies[0], list)
            else min(replies)
        )
    if not how and isinstance(replies[0], list):
        return [item for reply in replies for item in reply]
    return replies[0]


def _entries(reply: Sequence[Sequence[Any]]) -> list[tuple[str, Route]]:
    found = []
    for name, _arity, flags, first, last, step, _acl, tips, _specs, subcommands in reply:
        policy = next((tip.removeprefix(_RESPONSE).decode() for tip in tips if tip.startswith(_RESPONSE)), "")
        everywhere = not _EVERYWHERE.isdisjoint(tips) and policy != "special"
        route = Route(first, last, step, b"movablekeys" in flags, everywhere, policy)
        found.append((_upper(name).replace("|", " "), route))
        found += _entries(subcommands)
    return found


def _upper(word: Arg) -> str:
    return word.decode("latin-1").upper() if isinstance(word, bytes) else str(word).upper()
