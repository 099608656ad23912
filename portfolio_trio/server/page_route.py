"""``GET /``: the page and its files, with a content security policy that permits nothing else."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from portfolio_trio.access import HostRefused
from portfolio_trio.http import Response
from portfolio_trio.server.session_route import refusal_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.access import OriginPolicy
    from portfolio_trio.http import Head, Request, Route
    from portfolio_trio.web import Asset, Page

# Only the page's own scripts and styles run; text of messages can never become markup.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
SHIELDS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
ASK_AGAIN: Final = "no-cache"
_NEVER: Final = re.compile(r"q=0(?:\.0{0,3})?")
KEEP: Final = "public, max-age=31536000, immutable"


def page_routes(page: Page, origins: OriginPolicy) -> Mapping[tuple[str, str], Route]:
    """The route of the page and of each of its files."""
    routes: dict[tuple[str, str], Route] = {("GET", "/"): partial(_index, page.index, origins)}
    for asset in page.assets:
        routes["GET", asset.path] = partial(_asset, asset)
    return routes


async def _index(asset: Asset, origins: OriginPolicy, request: Request) -> Response:
    """The document, if the host name is the server's own: under another name it could open no session."""
    host = request.head.header("host") or ""
    if not origins.is_own(host):
        return refusal_of(HostRefused(), SHIELDS)
    policy = ("Content-Security-Policy", POLICY.format(host=host))
    return _answer(asset, request.head, ASK_AGAIN, policy)


async def _asset(asset: Asset, request: Request) -> Response:
    return _answer(asset, request.head, KEEP)


def _answer(asset: Asset, head: Head, caching: str, *more: tuple[str, str]) -> Response:
    packed = takes_gzip(head)
    tag = f'"{asset.digest}{"-gzip" if packed else ""}"'
    headers = (("ETag", tag), ("Cache-Control", caching), ("Vary", "Accept-Encoding"), *SHIELDS, *more)
    if knows(head, tag):
        return Response(status=304, content_type=asset.content_type, headers=headers, keeps=True)
    if packed:
        headers = (("Content-Encoding", "gzip"), *headers)
    return Response(
        body=asset.packed if packed else asset.plain,
        content_type=asset.content_type,
        headers=headers,
        # A page asks for thirty files at once: over a few connections rather than one for each.
        keeps=True,
    )


def takes_gzip(head: Head) -> bool:
    """Whether the client accepts gzip (RFC 9110, 12.5.3): listed, and not with weight zero."""
    for item in head.tokens("accept-encoding"):
        coding, *parameters = (part.strip().lower() for part in item.split(";"))
        if coding in {"gzip", "x-gzip"}:
            return not any(_NEVER.fullmatch(each) for each in parameters)
    return False


def knows(head: Head, tag: str) -> bool:
    """Whether the client already has this version (RFC 9110, 13.1.2)."""
    return any(each == "*" or each.removeprefix("W/") == tag for each in head.tokens("if-none-match"))
