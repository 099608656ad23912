"""The servers to be compared, each with its own Redis."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from _processes import HERE, Server, free_port, private_redis, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from _processes import Redis

OURS: Final = "portfolio_trio"
TUNED: Final = "peer, tuned"
PER_RESULT: Final = "peer, tuned, a call for each result"
EARLIER: Final = "peer, tuned, a call for each result, earlier metrics"
UNTUNED: Final = "peer, untuned"
WHOLE_DOCUMENT: Final = "peer, untuned, whole document"
LIMIT: Final = "bare trio-websocket"
NO_FLAGS: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def _ours(port: int, redis_url: str) -> list[str]:
    # More sockets than the 10,000 that are let in by default, so that a benchmark can hold them all; and as
    # many new sessions as it opens, which all come from one address.
    flags = ["--max-connections", "20000", "--max-results", "1000"]
    flags += ["--socket-sessions-per-second-per-address", "0"]
    return ["-m", "portfolio_trio", "serve", "--port", str(port), "--redis-url", redis_url, *flags]


def _peer(*flags: str) -> Callable[[int, str], list[str]]:
    def command(port: int, redis_url: str) -> list[str]:
        return [
            str(HERE / "peers" / "fastapi_server.py"),
            "--port",
            str(port),
            "--redis-url",
            redis_url,
            *flags,
        ]

    return command


def _limit(port: int, _redis_url: str) -> list[str]:
    return [str(HERE / "peers" / "bare_trio_websocket.py"), "--port", str(port)]


COMMANDS: Final[dict[str, Callable[[int, str], list[str]]]] = {
    OURS: _ours,
    TUNED: _peer("--variant", "tuned"),
    PER_RESULT: _peer("--variant", "per-result"),
    UNTUNED: _peer("--variant", "untuned"),
    WHOLE_DOCUMENT: _peer("--variant", "untuned", "--whole-document"),
    LIMIT: _limit,
}


@contextmanager
def contenders(
    names: Sequence[str], before: Path | None = None, *, flags: Mapping[str, Sequence[str]] = NO_FLAGS
) -> Iterator[dict[str, Server]]:
    """Start servers; those that are not measured just now stand idle.

    Args:
        names: Which.
        before: The checkout with the earlier metrics of `EARLIER`.
        flags: More flags, by name.
    """
    commands = COMMANDS | {EARLIER: _peer("--variant", "per-result", "--metrics", str(before))}
    with ExitStack() as stack:
        started = {}
        for name in names:
            found: Redis = stack.enter_context(private_redis())
            port = free_port()
            words = [*commands[name](port, found.url), *flags.get(name, ())]
            started[name] = stack.enter_context(server(name, words, port))
        yield started
