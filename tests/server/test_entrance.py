"""All access checks, on a whole server in virtual time: `POST /session`, tokens, rate, keepalive."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio

from portfolio_trio.http import Head, Request
from portfolio_trio.server.session_route import SessionRoute
from portfolio_trio.settings import Settings, SettingsError
from tests.http.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, Answer, frame, head, plain_head
from tests.http.memory_server import VIRTUAL_TIME, Client
from tests.support.app import HOLDINGS, METRICS, App, open_app
from tests.support.logs import events

SECRET = "s" * 40
EVIL = b"https://evil.example"


def knock(app: App) -> Client:
    return Client(app.dial())


async def post(app: App, body: object = None, **headers: bytes) -> Answer:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    size = str(len(content)).encode()
    return await knock(app).ask(
        plain_head(b"/session", method=b"POST", content_length=size, **headers) + content
    )


async def new_session(app: App, body: object = None) -> dict[str, Any]:
    answer = await post(app, body)
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    session: dict[str, Any] = json.loads(answer.body)
    return session


def target(session: dict[str, Any]) -> bytes:
    return f"/ws/{session['session_id']}".encode()


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def request(action: str, **fields: object) -> bytes:
    return frame(TEXT, json.dumps({"action": action, **fields}).encode())


async def answer_to(client: Client, message: bytes) -> dict[str, Any]:
    await client.send(message)
    answer: dict[str, Any] = json.loads((await client.next_frame()).text)
    return answer


@VIRTUAL_TIME
async def test_a_new_session_has_what_was_asked_for() -> None:
    async with open_app() as app:
        first, second = await new_session(app), await new_session(app, {"holdings": {"AAPL": 2.5}})
        assert first["session_id"] != second["session_id"]
        assert (first["holdings"], second["holdings"]) == (HOLDINGS, {"AAPL": 2.5})
        assert first["metrics"] == list(METRICS)
        assert "token" not in first


@VIRTUAL_TIME
@pytest.mark.parametrize(
    "body",
    [
        *({"holdings": {"!": 2}}, {"holdings": 1}, {"nope": 1}, [], {"session_id": "/"}),
        *(b'{"holdings":{"AAPL":1,"AAPL":2}}', b'{"session_id":"a","session_id":"b"}'),
    ],
)
async def test_a_wrong_body_is_explained(body: object) -> None:
    async with open_app() as app:
        assert said(await post(app, body)) == (400, "invalid_message")


@VIRTUAL_TIME
@pytest.mark.parametrize("body", [b"xx", [], b"\xff"])
async def test_what_is_no_object_is_told_what_to_send(body: object) -> None:
    async with open_app() as app:
        detail = json.loads((await post(app, body)).body)["detail"]
        assert detail.endswith('; send a JSON object such as {"holdings": {"AAPL": 100}}, or no body')
        assert not detail.startswith(":")


@VIRTUAL_TIME
async def test_a_token_is_needed_and_is_renewed_with_the_old_one() -> None:
    async with open_app(auth_secret=SECRET) as app:
        session = await new_session(app)
        again = {"session_id": session["session_id"]}
        assert said(await post(app, again)) == (401, "token_missing")
        assert said(await post(app, {**again, "token": "x"})) == (401, "token_malformed")
        renewed = await post(app, {**again, "token": session["token"]})
        assert renewed.status == 200
        assert json.loads(renewed.body)["session_id"] == session["session_id"]
        assert said(await knock(app).ask(head(target(session), authorization=b"Bearer x"))) == (
            401,
            "token_malformed",
        )
        client = knock(app)
        bearer = f"Bearer {session['token']}".encode()
        await client.upgrade(head(target(session), authorization=bearer))
        assert (await answer_to(client, request("get_portfolio")))["session_id"] == session["session_id"]


@VIRTUAL_TIME
async def test_the_portfolio_answers_the_first_message() -> None:
    async with open_app(auth_secret=SECRET) as app:
        session = await new_session(app)
        client = knock(app)
        await client.upgrade(head(target(session)))
        answer = await answer_to(client, request("authenticate", token=session["token"], id=4))
        assert (answer["type"], answer["id"]) == ("portfolio", 4)
        client = knock(app)
        await client.upgrade(head(target(session)))
        await client.send(request("analyze", ticker="AAPL"))
        closed = await client.next_frame()
        assert closed.opcode == CLOSE
        assert closed.payload.startswith(b"\x03\xf0token_missing: ")


@VIRTUAL_TIME
async def test_pages_of_other_sites_get_nothing() -> None:
    async with open_app() as app:
        assert said(await post(app, origin=EVIL)) == (403, "origin_refused")
        assert said(await knock(app).ask(head(origin=EVIL))) == (403, "origin_refused")
        # A name that was made to point at this machine.
        assert said(await knock(app).ask(head(origin=EVIL, host=b"evil.example"))) == (
            403,
            "origin_refused",
        )
    async with open_app(allowed_origins=(EVIL.decode(),)) as app:
        assert (await post(app, origin=EVIL)).headers["access-control-allow-origin"] == EVIL.decode()


@VIRTUAL_TIME
async def test_too_many_requests_are_refused_and_far_too_many_end_the_socket() -> None:
    async with open_app(request_burst=10) as app:
        client = knock(app)
        await client.upgrade()
        for _ in range(21):
            await client.send(request("nope"))
        codes = []
        while (answer := await client.next_frame()).opcode != CLOSE:
            codes.append(json.loads(answer.text)["code"])
        assert codes == ["unknown_action"] * 10 + ["rate_limited"] * 10
        assert answer.code == 1008


@VIRTUAL_TIME
@pytest.mark.parametrize("flood", [frame(PING, b"!"), frame(PONG), frame(CONTINUATION, final=False)])
async def test_control_frames_and_fragments_are_throttled(flood: bytes) -> None:
    async with open_app(request_burst=10, requests_per_second=10) as app:
        client = knock(app)
        await client.upgrade()
        if flood[0] == CONTINUATION:
            await client.send(frame(TEXT, b"{", final=False))
        # As fast as they may come, they do no harm.
        for _ in range(5):
            await client.send(frame(PING, b"?"))
            await trio.sleep(0.1)
            assert (await client.next_frame()).opcode == PONG
        await client.send(flood * 12)
        frames = await client.rest_frames()
        assert (frames[-1].opcode, frames[-1].code) == (CLOSE, 1008)


@VIRTUAL_TIME
async def test_sessions_are_not_made_without_end() -> None:
    async with open_app(sessions_per_second=2) as app:
        for _ in range(3):
            await new_session(app)
        full = await post(app)
        assert said(full) == (429, "rate_limited")
        assert full.headers["retry-after"] == "1"


@VIRTUAL_TIME
async def test_one_address_does_not_use_up_the_sessions_of_the_others() -> None:
    async with open_app() as app:
        ask = SessionRoute(app.server.services, app.server.gate)
        line = Head("POST", "/session", {}, ())
        flood = [await ask(Request(line, peer="127.0.0.1")) for _ in range(50)]
        assert sorted({answer.status for answer in flood}) == [201, 429]
        assert (await ask(Request(line, peer="127.0.0.2"))).status == 201


@VIRTUAL_TIME
async def test_a_vanished_client_is_gone() -> None:
    async with open_app() as app:
        client = knock(app)
        await client.upgrade()
        assert (await client.next_frame()).opcode == PING
        await client.rest()
        assert app.server.services.hub.groups == ()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--auth-secret", "short"], "PORTFOLIO_AUTH_SECRET .* at least 32 bytes, this one has 5"),
        (["--auth-secret", ""], "PORTFOLIO_AUTH_SECRET .* at least 32 bytes, this one has 0"),
        (["--allowed-origins", "x"], "PORTFOLIO_ALLOWED_ORIGINS .* 'x' is not an origin"),
        (["--tls-key", "x"], "go together"),
        (["--host", "0.0.0.0"], "set PORTFOLIO_AUTH_SECRET"),  # noqa: S104 - that it is refused is the point
    ],
)
def test_a_wrong_setting_stops_the_start(flags: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.read(flags)


def test_a_secret_is_enough_to_serve_others() -> None:
    settings = Settings.read(["--host", "0.0.0.0", "--auth-secret", SECRET])  # noqa: S104 - as above
    assert SECRET not in repr(settings)


@VIRTUAL_TIME
async def test_an_address_makes_only_so_many_sessions_by_opening_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portfolio_trio.access._new_sessions.counted_as", lambda _: "one")
    async with open_app(socket_sessions_per_second_per_address=0.1) as app:
        for number in range(3):
            await app.subscribe(f"s{number}")
        late = await app.connect("s3", events=True)
        told = await late.receive()
        assert (told["code"], told["retryable"]) == ("rate_limited", True)
        assert (await late.ask("analyze", ticker="AAPL", id=1))["code"] == "rate_limited"
        # Existing sessions can be opened by authorised clients.
        assert (await (await app.connect("s1", events=True)).receive())["type"] == "portfolio"
        await trio.sleep(11)
        assert (await late.ask("get_portfolio"))["session_id"] == "s3"


@VIRTUAL_TIME
async def test_a_subprotocol_that_nobody_knows_is_told_of_when_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "portfolio_trio.server.server")
    async with open_app() as app:
        for offered, said in ((b"portfolio.v2", 1), (b"portfolio.v2, portfolio.v1", 0), (None, 0)):
            caplog.clear()
            more = {} if offered is None else {"sec_websocket_protocol": offered}
            await knock(app).upgrade(head(**more))
            assert len(events(caplog, "subprotocol_unknown")) == said
