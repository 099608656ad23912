"""Redis URLs: where to connect, as whom, and how."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from portfolio_trio.redis._redis_py import (
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

SCHEMES = ("embedded", "redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
_DEFAULT_PORT = 6379
_CLUSTER = "+cluster"
_PERCENT_ENCODE = (
    "User and password come before an @: percent-encode the password, / as %2F, # as %23, ? as %3F, @ as %40"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server's address and credentials: ``path`` for a Unix socket, else ``host`` and ``port``."""

    host: str = "localhost"
    port: int = _DEFAULT_PORT
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """``host:port`` or the path, for display and as a key of node maps."""
        return self.path or f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> Endpoint:
        """Another server with the same credentials and options."""
        return replace(self, host=host, port=port)


def is_cluster(url: str) -> bool:
    """Whether the URL is that of a cluster."""
    return urlsplit(url).scheme.endswith(_CLUSTER)


def parse_endpoints(url: str) -> tuple[Endpoint, ...]:
    """The servers a URL names: several for a cluster (``redis+cluster://a:6379,b:6379``), else one.

    Raises:
        ValueError: The URL is not understood; the message says which part.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES or scheme == "embedded":
        raise ValueError(f"a Redis URL starts with one of {', '.join(s + '://' for s in SCHEMES)}")
    _check_password(url)
    if not scheme.endswith(_CLUSTER):
        return (_parse_one(url),)
    rest = url.removeprefix(f"{scheme}://")
    user, at, rest = rest.rpartition("@")
    hosts, slash, tail = rest.partition("/")
    if not slash:
        hosts, mark, query = rest.partition("?")
        tail = f"{mark}{query}"
    plain = scheme.removesuffix(_CLUSTER)
    endpoints = tuple(_parse_one(f"{plain}://{user}{at}{host}/{tail}") for host in hosts.split(",") if host)
    if not endpoints:
        raise ValueError("a cluster URL must name a node, as in redis+cluster://host:6379,host:6380")
    if any(endpoint.database for endpoint in endpoints):
        raise ValueError("a cluster has only database 0: leave the number out of the URL")
    return endpoints


def _check_password(url: str) -> None:
    """Refuse a password that is not percent-encoded, before any message prints part of it.

    User and password come before the last @, so none of the characters that end this part of a URL may occur
    there.
    """
    before, at, _ = url.partition("://")[2].rpartition("@")
    named = any(f"{mark}{name}=" in before for mark in "?&" for name in ("username", "password"))
    is_path = url.startswith("unix://") and before.startswith("/")
    if at and not named and not is_path and any(mark in before for mark in "/?#[]"):
        raise ValueError(_PERCENT_ENCODE)


def _parse_one(url: str) -> Endpoint:
    try:
        parts = dict(parse_url(url))
        # Parse the port here first: redis-py and urllib print an invalid one.
        split = urlsplit(url)
        _ = split.port
    except ValueError as error:
        # These two messages contain only the name of an option; any other text might contain the password.
        if str(error).startswith("Invalid value for"):
            raise
        raise ValueError(f"the Redis URL cannot be parsed: is its port a number? {_PERCENT_ENCODE}") from None
    kind = parts.pop("connection_class", None)
    _check_database(url)
    tls = {name.removeprefix("ssl_"): parts.pop(name) for name in list(parts) if name.startswith("ssl_")}
    unknown = parts.keys() - {"host", "port", "path", "username", "password", "db"}
    if unknown or (tls and kind is not SSLConnection):
        name = min(unknown) if unknown else "ssl_" + min(tls)
        # After a colon and without an @ it may be the end of a password.
        said = f": {name}" if "@" in split.netloc or ":" not in split.netloc else f". {_PERCENT_ENCODE}"
        raise ValueError(f"the Redis URL has an unknown option{said}")
    if kind is UnixDomainSocketConnection and not hasattr(socket, "AF_UNIX"):
        raise ValueError("this system has no Unix sockets for Python: use redis://HOST:PORT")
    if kind is UnixDomainSocketConnection and not parts.get("path"):
        raise ValueError("a unix:// URL must name a socket, as in unix:///run/redis.sock")
    return Endpoint(
        host=str(parts.get("host", "localhost")),
        port=int(str(parts.get("port", _DEFAULT_PORT))),
        path=str(parts.get("path", "")) if kind is UnixDomainSocketConnection else "",
        username=str(parts.get("username", "")),
        password=str(parts.get("password", "")),
        database=int(str(parts.get("db", 0))),
        tls=_tls_context(tls) if kind is SSLConnection else None,
    )


def _check_database(url: str) -> None:
    # redis-py takes database 0 if the path is not a number.
    split = urlsplit(url)
    database = split.path.strip("/")
    if split.scheme != "unix" and database and not database.isdecimal():
        raise ValueError(f"the database in a Redis URL must be a number. {_PERCENT_ENCODE}")


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    # The defaults of redis-py's client: certificate required, host name checked.
    settings = {"cert_reqs": "required", "check_hostname": True, **options}
    try:
        context: ssl.SSLContext = RedisSSLContext(**settings).get()
    except (OSError, TypeError, RedisError) as error:
        raise ValueError(f"the TLS options of the Redis URL cannot be used: {error}") from error
    return context
