"""Serving the page: to which hosts, how it is cached, and its content security policy."""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.access import OriginPolicy
from portfolio_trio.http import HttpServer
from portfolio_trio.server.page_route import page_routes
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings
from portfolio_trio.web import open_page
from tests.http.frames import Answer, plain_head, read_answer
from tests.http.memory_server import Client
from tests.support.streams import stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from portfolio_trio.http import Upgrade

pytestmark = pytest.mark.trio

PAGE = open_page()
MAIN = next(asset for asset in PAGE.assets if asset.path.endswith("/main.js"))


async def no_websocket(_upgrade: Upgrade) -> None:
    raise AssertionError


class Visitor:
    """Sends requests to an HTTP server with the routes of the page."""

    def __init__(self, nursery: trio.Nursery) -> None:
        routes = page_routes(PAGE, OriginPolicy(hosts=("risk.example",)))
        self._server = HttpServer(routes=routes, websocket=no_websocket)
        self._nursery = nursery

    async def ask(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        ours, theirs = stream_pair()
        self._nursery.start_soon(self._server.serve, theirs)
        lines = {"host": "127.0.0.1:8000", "connection": "close"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {it}\r\n" for name, it in lines.items())
        client = Client(ours)
        async with client:
            await client.send(f"{head}\r\n".encode())
            return read_answer(await client.rest(), head_only=method == "HEAD")


@asynccontextmanager
async def visitor() -> AsyncGenerator[Visitor]:
    async with trio.open_nursery() as nursery:
        yield Visitor(nursery)


async def test_the_page_and_all_that_it_wants_are_there() -> None:
    async with visitor() as her:
        page = await her.ask()
        assert (page.status, page.body) == (200, PAGE.index.plain)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for asset in PAGE.assets:
            answer = await her.ask(asset.path)
            assert (answer.status, answer.body) == (200, asset.plain)
            assert answer.headers["content-type"] == asset.content_type


async def test_head_tells_the_same_without_the_bytes() -> None:
    async with visitor() as her:
        answer = await her.ask(method="HEAD")
        assert answer.headers["content-length"] == str(len(PAGE.index.plain))
        assert answer.body == b""


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("deflate, x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
async def test_who_takes_gzip_gets_it(accepts: str, *, packed: bool) -> None:
    async with visitor() as her:
        answer = await her.ask(MAIN.path, accept_encoding=accepts)
        assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
        assert (gzip.decompress(answer.body) if packed else answer.body) == MAIN.plain
        assert answer.headers["vary"] == "Accept-Encoding"


async def test_what_a_browser_has_is_not_sent_again() -> None:
    async with visitor() as her:
        for path in ("/", MAIN.path):
            for accepts in ("gzip", "identity"):
                first = await her.ask(path, accept_encoding=accepts)
                tag = first.headers["etag"]
                for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                    again = await her.ask(path, accept_encoding=accepts, if_none_match=known)
                    assert again.status == 304
                    for name in ("etag", "cache-control", "vary"):
                        assert again.headers[name] == first.headers[name]
                assert (await her.ask(path, accept_encoding=accepts, if_none_match='"other"')).status == 200


async def test_the_two_forms_have_tags_of_their_own() -> None:
    async with visitor() as her:
        plain, packed = await her.ask(), await her.ask(accept_encoding="gzip")
        assert plain.headers["etag"] != packed.headers["etag"]


async def test_files_are_kept_for_ever_and_the_document_is_asked_for_again() -> None:
    async with visitor() as her:
        assert (await her.ask()).headers["cache-control"] == "no-cache"
        assert "immutable" in (await her.ask(MAIN.path)).headers["cache-control"]
        assert (await her.ask("/page/0123456789abcdef/main.js")).status == 404


async def test_the_policy_lets_in_nothing_but_the_page_and_its_own_socket() -> None:
    async with visitor() as her:
        answer = await her.ask(host="risk.example:8443")
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self' ws://risk.example:8443 wss://risk.example:8443",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "a b", "x;script-src *", "", "[::1"])
async def test_a_strangers_name_gets_no_page(host: str) -> None:
    """A name that was made to point here (DNS rebinding), and what is no name at all."""
    async with visitor() as her:
        answer = await her.ask(host=host)
        assert answer.status == 403
        assert b"PORTFOLIO_ALLOWED_HOSTS" in answer.body
        assert "content-security-policy" not in answer.headers


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "RISK.example"])
async def test_the_servers_own_names_do(host: str) -> None:
    async with visitor() as her:
        assert (await her.ask(host=host)).status == 200


async def test_with_a_secret_each_name_is_the_servers() -> None:
    secret = Settings(auth_secret="x" * 16 + "y" * 16 + "z", port=0)
    async with open_server(secret) as server:
        assert server.gate.origins.is_own("any.example")


@pytest.mark.parametrize("on", [True, False])
async def test_the_page_can_be_turned_off(*, on: bool) -> None:
    settings = Settings.read([] if on else ["--no-dashboard"])
    async with open_server(settings) as server:
        ours, theirs = stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.http_server.serve, theirs)
            client = Client(ours)
            async with client:
                answer = await client.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.status == (200 if on else 404)


async def test_the_files_of_a_visit_come_over_one_connection(nursery: trio.Nursery) -> None:
    """Also those that the browser already has; what the client may not ask for closes it."""
    ours, theirs = stream_pair()
    server = HttpServer(routes=page_routes(PAGE, OriginPolicy()), websocket=no_websocket)
    nursery.start_soon(server.serve, theirs)
    async with Client(ours) as client:
        for asset in (PAGE.index, *PAGE.assets):
            await client.send(plain_head(asset.path.encode()))
            answer = await client.next_answer()
            assert (answer.status, answer.body) == (200, asset.plain)
        await client.send(plain_head(MAIN.path.encode(), if_none_match=b"*"))
        assert (await client.next_answer()).status == 304
        await client.send(plain_head(b"/session", method=b"POST"))
        assert read_answer(await client.rest()).headers["connection"] == "close"
