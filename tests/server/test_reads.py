"""HTTP reads of a session, their access control, and the OpenAPI document against a real server."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from portfolio_trio.http import Request
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.server.openapi_route import document
from portfolio_trio.server.routes import routes
from tests.http.frames import Answer, head
from tests.http.memory_server import VIRTUAL_TIME, Client
from tests.support.app import METRICS, open_app
from tests.support.logs import log_text

SECRET = "s" * 40
EVIL = b"https://evil.example"
DOCUMENT = document(BUILT_IN)


def fits(path: str, answer: Answer) -> Any:
    """What an answer says, held against the document."""
    said = json.loads(answer.body)
    responses = DOCUMENT["paths"][path]["get"]["responses"]
    schema = responses[str(answer.status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(said)
    return said


@VIRTUAL_TIME
async def test_what_a_socket_is_told_can_be_read() -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        frames = await client.take(len(METRICS))
        answer = await app.get("/session/s")
        assert answer.headers["cache-control"] == "no-store"
        assert fits("/session/{session_id}", answer) == await client.ask("get_portfolio")
        read = fits("/session/{session_id}/results", await app.get("/session/s/results"))
        assert read == await client.ask("get_results")
        assert [each["metric"] for each in read["results"]] == [each["metric"] for each in frames]
        one = json.loads((await app.get("/session/s/results?ticker=aapl&limit=1")).body)
        assert (one["ticker"], one["results"], one["more"]) == ("AAPL", read["results"][-1:], True)
        assert json.loads((await app.get("/session/s/results?ticker=JPM")).body)["results"] == []


@VIRTUAL_TIME
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "ticker=A%20B"])
async def test_a_wrong_query_is_explained(query: str) -> None:
    async with open_app() as app:
        await app.connect()
        answer = await app.get(f"/session/s/results?{query}")
        told = fits("/session/{session_id}/results", answer)
        assert answer.status == 400
        assert told["detail"].startswith(query.partition("=")[0])


@VIRTUAL_TIME
async def test_reading_makes_no_session() -> None:
    async with open_app() as app:
        for path in ("/session/none", "/session/none/results"):
            answer = await app.get(path)
            assert answer.status == 404
            assert fits(path.replace("none", "{session_id}"), answer)["code"] == "not_found"
        for path in ("/session/", "/session/a%20b", "/session/s/other", "/session/s/results/", "/session/s/"):
            assert (await app.get(path)).status == 404
        assert (await app.get("/session/s", b"DELETE")).status == 405


@VIRTUAL_TIME
async def test_reading_needs_the_token_of_the_session() -> None:
    async with open_app(auth_secret=SECRET) as app:
        gate = app.server.gate
        assert gate.tokens is not None
        token, other = gate.tokens.issue("s"), gate.tokens.issue("t")
        await app.server.services.open_session("s")
        for path in ("/session/s", "/session/s/results"):
            assert (await app.get(path)).status == 401
            assert (await app.get(path, authorization=f"Bearer {other}".encode())).status == 401
            assert (await app.get(path, authorization=f"Bearer {token}".encode())).status == 200
            assert (await app.get(f"{path}?token={token}")).status == 200


@VIRTUAL_TIME
async def test_pages_read_where_they_may_connect() -> None:
    page = "http://localhost:5173"
    async with open_app(allowed_origins=(page,)) as app:
        await app.connect()
        for path in (
            "/health",
            "/ready",
            "/asyncapi.json",
            "/openapi.json",
            "/session/s",
            "/session/s/results",
        ):
            answer = await app.get(path, origin=page.encode())
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == page
            refused = await app.get(path, origin=EVIL)
            assert "access-control-allow-origin" not in refused.headers
            assert refused.status == (403 if path.startswith("/session") else 200)
        asked = await app.get("/session/s", b"OPTIONS", origin=page.encode())
        assert asked.headers["access-control-allow-methods"] == "GET"
        assert "authorization" in asked.headers["access-control-allow-headers"]


@VIRTUAL_TIME
async def test_who_runs_the_server_reads_why_a_page_cannot_connect(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with open_app() as app:

        async def connect(**headers: bytes) -> str:
            caplog.clear()
            assert (await Client(app.dial()).ask(head(**headers))).status == 403
            return log_text(caplog)

        page = b"http://localhost:5173"
        said = await connect(origin=page)
        assert 'flag="--allowed-origins http://localhost:5173"' in said
        # One refusal is one line.
        assert len(said.splitlines()) == 1
        # It tries again at once.
        assert await connect(origin=page) == ""
        policy = app.server.gate.origins
        assert policy.flag_for("null", "localhost:8000") == "--allowed-origins null"
        assert policy.flag_for("https://p.example", "p.example") == "--allowed-hosts p.example"


def test_the_document_has_each_route_and_each_reference_leads_somewhere() -> None:
    for place in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found: Any = DOCUMENT
        for part in place.split("/"):
            found = found[part]
    assert DOCUMENT["openapi"] == "3.1.0"


@VIRTUAL_TIME
async def test_the_document_is_of_this_server() -> None:
    async with open_app(dashboard=False) as app:
        assert json.loads((await app.get("/openapi.json")).body) == DOCUMENT
        served = routes(app.server.services, app.server.gate, ready)
        listed = {(method.upper(), path) for path, each in DOCUMENT["paths"].items() for method in each}
        assert {each for each in listed if each[0] != "PARAMETERS"} == {
            each for each in served if each[0] != "OPTIONS"
        }
        fits("/ready", await app.get("/ready"))


async def ready(_request: Request) -> Any:
    raise AssertionError("nobody asks")
