"""A page whose host name points at this server (DNS rebinding): real sockets, settings of compose.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings
from tests.http.frames import Answer, head
from tests.http.memory_server import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COMPOSE = Path(__file__).parents[2] / "compose.yaml"


def compose_settings() -> dict[str, str]:
    """The server's environment there."""
    text = COMPOSE.read_text()
    found = dict(re.findall(r"^      (PORTFOLIO_[A-Z_]+): (.+)$", text, re.MULTILINE))
    assert {"PORTFOLIO_HOST", "PORTFOLIO_INSECURE", "PORTFOLIO_REDIS_URL"} <= found.keys()
    return {name: value.strip('"') for name, value in found.items()}


async def answers(ask: Callable[[Client, bytes], Awaitable[Answer]], hosts: list[bytes]) -> list[Answer]:
    """What is answered to pages of each host, with the settings of compose but for Redis and port."""
    given = []
    with trio.fail_after(30):
        async with open_server(Settings.read()) as server, trio.open_nursery() as nursery:
            _, port = await nursery.start(listen, server, trio.CancelScope())
            for host in hosts:
                client = Client(await trio.open_tcp_stream("127.0.0.1", port))
                async with client:
                    given.append(await ask(client, host.replace(b"PORT", str(port).encode())))
            nursery.cancel_scope.cancel()
    return given


@pytest.fixture(autouse=True)
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose_settings().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORTFOLIO_REDIS_URL", "embedded://")
    monkeypatch.setenv("PORTFOLIO_PORT", "0")


async def upgrade(client: Client, host: bytes) -> Answer:
    asked = head(host=host, origin=b"http://" + host)
    return await (client.ask(asked) if b"evil" in host else client.upgrade(asked))


async def new_session(client: Client, host: bytes) -> Answer:
    lines = [b"POST /session HTTP/1.1", b"Host: " + host, b"Origin: http://" + host, b"Content-Length: 0"]
    return await client.ask(b"\r\n".join([*lines, b"", b""]))


REBOUND = [b"evil.com", b"evil.com:PORT", b"localhost.evil.com:PORT"]
OWN = [b"localhost:PORT", b"127.0.0.1:PORT", b"[::1]:PORT"]


@pytest.mark.trio
@pytest.mark.parametrize(("ask", "granted"), [(upgrade, 101), (new_session, 201)])
async def test_only_pages_of_this_machine_get_in(
    ask: Callable[[Client, bytes], Awaitable[Answer]], granted: int
) -> None:
    for answer in await answers(ask, REBOUND):
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers
    assert [answer.status for answer in await answers(ask, OWN)] == [granted] * 3


async def read(client: Client, host: bytes) -> Answer:
    """As a page of that host reads, for which browsers send no Origin."""
    return await client.ask(b"\r\n".join([b"GET /session/s HTTP/1.1", b"Host: " + host, b"", b""]))


async def read_results(client: Client, host: bytes) -> Answer:
    return await client.ask(b"\r\n".join([b"GET /session/s/results HTTP/1.1", b"Host: " + host, b"", b""]))


@pytest.mark.trio
@pytest.mark.parametrize("ask", [read, read_results])
async def test_a_page_that_sends_no_origin_reads_under_our_own_names_only(
    ask: Callable[[Client, bytes], Awaitable[Answer]],
) -> None:
    for answer in await answers(ask, REBOUND):
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "host_refused")
    assert [answer.status for answer in await answers(ask, OWN)] == [404] * 3


@pytest.mark.trio
async def test_a_listed_name_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_ALLOWED_HOSTS", "portfolio.example.com")
    hosts = [b"portfolio.example.com", b"evil.com"]
    assert [answer.status for answer in await answers(upgrade, hosts)] == [101, 403]
