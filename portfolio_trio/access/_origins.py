"""Which web pages may connect: the Origin that browsers send and scripts cannot change (RFC 6454)."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from portfolio_trio.access._refused import Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ANY: Final = "*"
OPAQUE: Final = "null"
"""What browsers send for pages without an origin: files, sandboxed frames."""

_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_AUTHORITY: Final = r"(?P<host>[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_ORIGIN: Final = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://{_AUTHORITY}")
_HOST: Final = re.compile(_AUTHORITY)


class OriginError(ValueError):
    """An entry of the list is not an origin; the message is one line that says how to write it."""


class OriginRefused(Refused):
    """A page of another site tried to connect (HTTP 403)."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "origin_refused",
            "Pages of this origin may not connect; the operator of the server can add it to "
            "PORTFOLIO_ALLOWED_ORIGINS, or the server's own name to PORTFOLIO_ALLOWED_HOSTS.",
        )


class HostRefused(Refused):
    """A request without an Origin asked for data under a name that is not the server's own (HTTP 403)."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "host_refused",
            "This is not a name of the server; its operator can add it to PORTFOLIO_ALLOWED_HOSTS.",
        )


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None


class OriginPolicy:
    """Permits pages from the server's own host and listed origins, and clients that are not browsers.

    The scheme of a page from the server's own host is ignored: behind a TLS proxy the server cannot know its
    own. The port has to match as well, unless it is a default port.

    Args:
        allowed: Origins as browsers send them, ``https://app.example.com``; ``null`` for pages that have
            none; ``*`` for every page on the web, which is safe only if every session has a token.
        hosts: The server's own names in addition to localhost and IP addresses; None to accept any name in
            Host. Without tokens it must not be None: any domain name can be made to point at any address (DNS
            rebinding), and its pages would count as the server's own. The address that the server listens on
            does not matter, since its port may be published elsewhere.

    Raises:
        OriginError: An entry is not an origin, or not a host name.
    """

    def __init__(self, allowed: Sequence[str] = (), *, hosts: Collection[str] | None = None) -> None:
        self._any = ANY in allowed
        self._opaque = OPAQUE in allowed
        self._listed = frozenset(parse_origin(entry) for entry in allowed if entry not in {ANY, OPAQUE})
        self._hosts = None if hosts is None else frozenset(parse_host(entry) for entry in hosts)

    def permits(self, origin: str | None, host: str) -> bool:
        """Whether a request is permitted.

        Args:
            origin: The Origin header; None if absent, which means that the client is not a browser.
            host: The Host header.
        """
        if origin is None or self._any:
            return True
        if origin == OPAQUE:
            return self._opaque
        page = _read_origin(origin)
        return page is not None and (page in self._listed or self._is_own(page, host))

    def check(self, origin: str | None, host: str) -> None:
        """Return if ``permits``.

        Raises:
            OriginRefused: It is not permitted.
        """
        if not self.permits(origin, host):
            raise OriginRefused

    def check_read(self, origin: str | None, host: str) -> None:
        """Return if a GET is permitted.

        Browsers send no Origin with a GET to the page's own host. A client without one may therefore be a
        browser, and the name in Host has to be the server's own.

        Raises:
            OriginRefused: The page is from another site.
            HostRefused: There is no Origin, and the name is not the server's own.
        """
        self.check(origin, host)
        if origin is None and not self._any and not self.is_own(host):
            raise HostRefused

    def cors_headers(self, origin: str | None, host: str) -> tuple[tuple[str, str], ...]:
        """Return the headers that let a permitted page from another host read an HTTP answer."""
        vary = ("Vary", "Origin")
        if origin is None or not self.permits(origin, host):
            return (vary,)
        return (vary, ("Access-Control-Allow-Origin", origin))

    def flag_for(self, origin: str, host: str) -> str:
        """The flag of ``serve`` that would permit a refused page."""
        page, named = _read_origin(origin), _HOST.fullmatch(host.lower())
        if page is not None and named is not None and page.host == named["host"] and not self.is_own(host):
            return f"--allowed-hosts {page.host}"
        return f"--allowed-origins {OPAQUE if page is None else origin.lower()}"

    def is_own(self, host: str) -> bool:
        """Whether the Host header is one of the server's own names, whose pages may connect."""
        match = _HOST.fullmatch(host.lower())
        return match is not None and host.isascii() and self._believes(match["host"])

    def _is_own(self, page: _Origin, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        default = _DEFAULT_PORTS.get(page.scheme)
        if match is None or default is None or not host.isascii():
            return False
        port = default if match["port"] is None else int(match["port"])
        return (match["host"], port) == (page.host, page.port) and self._believes(page.host)

    def _believes(self, host: str) -> bool:
        return self._hosts is None or host in self._hosts or _needs_no_dns(host)


def parse_origin(text: str) -> _Origin:
    """Read an entry of the list.

    Raises:
        OriginError: It is not an origin.
    """
    origin = _read_origin(text)
    if origin is None:
        raise OriginError(
            f"{text[:80]!r} is not an origin: write scheme, host and port, as in https://app.example.com or "
            "http://localhost:5173, without a path or a slash at the end"
        )
    return origin


def parse_host(text: str) -> str:
    """Read a host name, in the form of a Host header without the port.

    Raises:
        OriginError: It is not a host name.
    """
    match = _HOST.fullmatch(text.lower())
    if match is None or match["port"] is not None or not text.isascii():
        raise OriginError(
            f"{text[:80]!r} is not a host: write only a name, such as portfolio.example.com, without scheme, "
            "port or path"
        )
    return match["host"]


def _read_origin(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text.lower())
    # Some non-ASCII letters have ASCII lower-case forms.
    if match is None or not text.isascii():
        return None
    scheme = match["scheme"]
    port = _DEFAULT_PORTS.get(scheme) if match["port"] is None else int(match["port"])
    return _Origin(scheme, match["host"], port)


def _needs_no_dns(host: str) -> bool:
    """Whether a host means the same thing whatever DNS answers."""
    return host == "localhost" or host.endswith(".localhost") or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
