"""Calling Redis so that only the store's own errors come out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from redis.exceptions import AskError, NoPermissionError, OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from portfolio_trio.redis.errors import Unavailable
from portfolio_trio.store.errors import (
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnsupported,
)

if TYPE_CHECKING:
    from portfolio_trio.telemetry import Telemetry

NEEDS: Final = (
    "use Redis 8 with its JSON module, or Valkey with one, or PORTFOLIO_REDIS_URL=embedded:// for a server "
    "without either"
)
# Replies that mean the server cannot serve now, although the call itself is valid.
_NOT_NOW: Final = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN")


class Timed:
    """Records how long the call of a script took, whether or not it succeeded."""

    # A generator-based context manager would cost a microsecond more per call.
    __slots__ = ("_began", "_script", "_telemetry")

    def __init__(self, telemetry: Telemetry, script: str) -> None:
        self._telemetry = telemetry
        self._script = script
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._telemetry.redis_called(self._script, perf_counter() - self._began)


class _Translated:
    """Turns redis-py's and the wrapper's errors into the store's."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, RedisError):
            raise translate(error) from error


_TRANSLATED: Final = _Translated()


def translated() -> _Translated:
    """Turn redis-py's and the wrapper's errors into the store's."""
    return _TRANSLATED


def translate(error: RedisError) -> StoreError:
    """Return the store's error for one of redis-py's or the wrapper's."""
    text = str(error)
    if isinstance(error, Unavailable):
        return StoreUnavailable(text, sent=error.sent)
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        # The exception does not say whether the call was sent, so assume that it may have been.
        return StoreUnavailable(text, sent=True)
    if text.startswith(_NOT_NOW):
        return StoreUnavailable(text, sent=False)
    return _refused(error, text)


def _refused(error: RedisError, text: str) -> StoreError:
    # redis-py strips the code from errors that it has classes for; an error from a script may still have it.
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM"):
        return StoreFull(f"Redis has reached its maxmemory: raise it or let sessions expire sooner ({text})")
    if isinstance(error, ReadOnlyError) or text.startswith(("READONLY", "MISCONF")):
        what = (
            "cannot write its data to disk and refuses changes: check its log and its disk"
            if text.startswith("MISCONF")
            else "refuses writes: point PORTFOLIO_REDIS_URL at a writable primary"
        )
        return StoreReadOnly(f"Redis {what} ({text})")
    if isinstance(error, NoPermissionError) or text.startswith(("NOPERM", "ACL failure")):
        return StoreUnsupported(
            "this Redis user lacks permissions: ACL SETUSER ... +@all -@dangerous ~portfolio* "
            f"&portfolio-* is enough ({text})"
        )
    if isinstance(error, AskError) or text.startswith(("MOVED", "ASK", "CROSSSLOT")):
        return StoreUnsupported(
            "this Redis is a node of a cluster: use redis+cluster:// in PORTFOLIO_REDIS_URL"
        )
    if "unknown" in text.lower() and "command" in text.lower():
        return StoreUnsupported(f"this Redis has no JSON or no Lua: {NEEDS}")
    return StoreError(f"Redis refused: {text}")
