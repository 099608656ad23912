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
"""What browsers send for pages without an origin of their own: files, sandboxed frames."""

_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_AUTHORITY: Final = r"(?P<host>[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_ORIGIN: Final = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://{_AUTHORITY}")
_HOST: Final = re.compile(_AUTHORITY)


class OriginError(ValueError):
    """An entry of the list is no origin; the message is one line that says how to write it."""


class OriginRefused(Refused):
    """A page of another site tried to connect (HTTP 403)."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "origin_refused",
            "Pages of this origin may not connect; whoever runs the server can add it to "
            "PORTFOLIO_ALLOWED_ORIGINS, or a name of the server's own to PORTFOLIO_ALLOWED_HOSTS.",
        )


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None


class OriginPolicy:
    """Lets in pages of the server's own host and of listed origins, and all that is no browser.

    The scheme of a page on the server's own host is not looked at: behind a proxy that speaks TLS the server
    cannot know its own. Where it is no default the port has to be the same, too.

    Args:
        allowed: Origins as browsers send them, ``https://app.example.com``; ``null`` for pages that have
            none; ``*`` for every page of the whole web, which is right only where every session has a token.
        hosts: The names that are the server's own beside localhost and addresses; None where whatever Host
            says is. Without tokens it must not be: anybody's domain name can be made to point at any address
            (DNS rebinding), and its page would be taken for one of the server's. The address that the server
            listens on says nothing, since a port of it may be published elsewhere.

    Raises:
        OriginError: An entry is no origin, or no name of a host.
    """

    def __init__(self, allowed: Sequence[str] = (), *, hosts: Collection[str] | None = None) -> None:
        self._any = ANY in allowed
        self._opaque = OPAQUE in allowed
        self._listed = frozenset(parse_origin(entry) for entry in allowed if entry not in {ANY, OPAQUE})
        self._hosts = None if hosts is None else frozenset(parse_host(entry) for entry in hosts)

    def permits(self, origin: str | None, host: str) -> bool:
        """Whether a request may pass.

        Args:
            origin: The header Origin; None where there is none, which no browser leaves out.
            host: The header Host.
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
            OriginRefused: It does not.
        """
        if not self.permits(origin, host):
            raise OriginRefused

    def cors_headers(self, origin: str | None, host: str) -> tuple[tuple[str, str], ...]:
        """Return the header lines that let a permitted page of another host read an HTTP answer."""
        vary = ("Vary", "Origin")
        if origin is None or not self.permits(origin, host):
            return (vary,)
        return (vary, ("Access-Control-Allow-Origin", origin))

    def flag_for(self, origin: str, host: str) -> str:
        """The flag of ``serve`` that would let a refused page in, as it is typed."""
        page, named = _read_origin(origin), _HOST.fullmatch(host.lower())
        if page is not None and named is not None and page.host == named["host"] and not self.is_own(host):
            return f"--allowed-hosts {page.host}"
        return f"--allowed-origins {OPAQUE if page is None else origin.lower()}"

    def is_own(self, host: str) -> bool:
        """Whether the header Host is a name of the server's own, whose pages can connect."""
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
        OriginError: It is no origin.
    """
    origin = _read_origin(text)
    if origin is None:
        raise OriginError(
            f"{text[:80]!r} is no origin: write scheme, host and port, such as https://app.example.com or "
            "http://localhost:5173, without a path or a slash at the end"
        )
    return origin


def parse_host(text: str) -> str:
    """Read the name of a host, as it stands in Host without its port.

    Raises:
        OriginError: It is none.
    """
    match = _HOST.fullmatch(text.lower())
    if match is None or match["port"] is not None or not text.isascii():
        raise OriginError(
            f"{text[:80]!r} is no host: write a name alone, such as portfolio.example.com, without scheme, "
            "port or path"
        )
    return match["host"]


def _read_origin(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text.lower())
    # Some letters beyond ASCII become others within it in lower case.
    if match is None or not text.isascii():
        return None
    scheme = match["scheme"]
    port = _DEFAULT_PORTS.get(scheme) if match["port"] is None else int(match["port"])
    return _Origin(scheme, match["host"], port)


def _needs_no_dns(host: str) -> bool:
    """Whether a host is what it says, whoever answers for names."""
    return host == "localhost" or host.endswith(".localhost") or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
