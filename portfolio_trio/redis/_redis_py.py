"""Every private part of redis-py that the wrapper relies on, in one place.

A test lists each of them, so that it names the one that an update of redis-py moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis._parsers import Encoder
from redis._parsers.base import BaseParser
from redis._parsers.response_callbacks import get_response_callbacks
from redis.asyncio.connection import RedisSSLContext, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EMPTY_RESPONSE",
    "NEVER_DECODE",
    "Encoder",
    "RedisSSLContext",
    "SSLConnection",
    "UnixDomainSocketConnection",
    "make_encoder",
    "parse_error",
    "parse_url",
    "response_callbacks",
]


# redis-py converts replies with untyped callables, so their types are Any (ANN401 below).
def response_callbacks() -> dict[str, Callable[..., Any]]:
    """Convert RESP3 replies as redis-py's client does by default, to its traditional Python types."""
    return dict(get_response_callbacks(None, legacy_responses=True))


def parse_error(text: str) -> Exception:
    """Turn the text of an error reply into redis-py's exception."""
    # Untyped in redis-py.
    error: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error


def make_encoder() -> Encoder:
    """The encoder that ``register_script`` asks a client for."""
    # Untyped in redis-py.
    return Encoder("utf-8", "strict", decode_responses=False)  # type: ignore[no-untyped-call]
