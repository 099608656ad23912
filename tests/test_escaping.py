"""Untrusted text is escaped in the log and in answers."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.escaping import LogFormatter, echo, escaped
from portfolio_trio.log_throttle import MOST_KINDS, Lasting, Seldom
from tests.http.frames import TEXT, frame, head, plain_head
from tests.http.memory_server import VIRTUAL_TIME, Client
from tests.support.app import open_app
from tests.support.logs import events

if TYPE_CHECKING:
    from collections.abc import Iterator

# Erases the screen; forges a line; turns the direction of writing; ends a line without LF; half a pair.
HOSTILE = "\x1b[2J\r\n2026-11-27 00:00:00 INFO forged\u202egnol\u2028\x85\x00\ud800"
NASTY = "\x1b[2J\r\n\u202e\u2028\x85\x00\x7f"
DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

texts = st.text(st.characters(), max_size=200) | st.text(HOSTILE, max_size=50)


def harmless(text: str) -> bool:
    return not any(unicodedata.category(char) in DANGEROUS for char in text)


@given(texts)
def test_what_is_escaped_prints_and_what_prints_stays(text: str) -> None:
    assert escaped(text).isprintable()
    assert harmless(escaped(text))
    assert escaped(escaped(text)) == escaped(text)
    if text.isprintable():
        assert escaped(text) == text


@given(texts, st.integers(1, 100))
def test_an_echo_is_short_and_says_where_it_is_cut(text: str, most: int) -> None:
    shown = echo(text, most)
    assert len(shown) <= most + 3
    assert shown.isprintable()
    assert shown == text or shown.endswith("...") or shown == escaped(text)


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """What the program's own log says, line by line, at the end of the block."""
    lines: list[str] = []
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        lines += stream.getvalue().split("\n")[:-1]


@given(texts)
def test_a_record_is_one_line_and_its_traceback_stands_behind_a_margin(text: str) -> None:
    log = logging.getLogger("tests.shown")
    with log_lines() as lines:
        log.warning("somebody said %s", text)
        log.error("%s", text, exc_info=ValueError(text))
    records = [line for line in lines if not line.startswith("  | ")]
    assert [line.split(": ")[0] for line in records] == ["WARNING tests.shown", "ERROR tests.shown"]
    assert all(harmless(line) for line in lines)


def knocks() -> list[bytes]:
    nasty = NASTY.encode()
    long = b"x" * 9_000
    return [
        b"GET /" + nasty + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /" + long + b" HTTP/9.9\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + long + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: " + long + b"\r\n\r\n",
        plain_head(b"/%1b[2J%0a%e2%80%ae"),
        plain_head(b"/session", method=b"POST", transfer_encoding=b"chunked") + b"zz\x1b[2J\r\n",
        plain_head(b"/session", method=b"POST", content_length=b"2") + b"{]",
        body({NASTY: 1}),
        body({"x" * 5_000: 1}),
        body({"holdings": {NASTY: 1}}),
        body({"session_id": NASTY}),
        head(origin=b"http://\xc2\x9b" + long),
        head(host=b"\x9b2J"),
        head(**{"sec_websocket_" + "x" * 5_000: b"\xff"}),
        head(f"/ws/{'x' * 500}".encode()),
        plain_head(b"/asyncapi.json", x=b"1").replace(b"Host: localhost", b"Host: \x9b" + long[:500]),
    ]


def body(value: object) -> bytes:
    text = json.dumps(value).encode()
    return plain_head(b"/session", method=b"POST", content_length=str(len(text)).encode()) + text


@VIRTUAL_TIME
async def test_no_answer_over_http_repeats_what_was_sent() -> None:
    with log_lines() as lines:
        async with open_app() as app:
            for request in knocks():
                answer = await Client(app.dial()).ask(request)
                if answer.status != 200:
                    detail = json.loads(answer.body)["detail"]
                    assert len(detail) < 250, request[:40]
                    assert harmless(detail), request[:40]
                assert b"x" * 200 not in answer.body
                assert b"\\u009b" not in answer.body
    assert all(harmless(line) for line in lines)


def requests() -> list[Any]:
    return [
        {"action": NASTY},
        {"action": "x" * 50_000},
        {"action": "analyze", "ticker": NASTY},
        {"action": "analyze", "ticker": "x" * 50_000},
        {"action": "set_holdings", "holdings": {NASTY: 1}},
        {"action": "set_holdings", "holdings": {"X" * 50_000: 1}},
        {"action": "trade", "ticker": "AAPL", "shares": NASTY},
        {"action": "cancel", NASTY: 1},
        {"action": "cancel", "x" * 50_000: 1},
        {"action": "get_results", "limit": "x" * 50_000},
        {"action": "cancel", "id": {"x" * 50_000: 1}},
        [NASTY],
    ]


@VIRTUAL_TIME
async def test_no_answer_on_a_socket_repeats_what_was_sent() -> None:
    said = [json.dumps(request, ensure_ascii=False) for request in requests()]
    said += [NASTY, '{"' + NASTY, '{"action":"analyze","action":"' + "x" * 50_000 + '","x":1}']
    with log_lines() as lines:
        async with open_app() as app:
            client = Client(app.dial())
            await client.upgrade(head(b"/ws/s"))
            for text in said:
                await client.send(frame(TEXT, text.encode("utf-8", "replace")))
                answer = json.loads((await client.next_frame()).text)
                assert answer["type"] == "error", text[:40]
                assert len(answer["detail"]) < 250, text[:40]
                assert harmless(answer["detail"]), text[:40]
    assert all(harmless(line) for line in lines)


def test_a_flood_is_a_line_for_each_period(caplog: pytest.LogCaptureFixture) -> None:
    moment = 0.0
    log_throttle = Seldom(logging.getLogger("tests.log_throttle"), seconds=1.0, clock=lambda: moment)
    for number in range(1_000):
        moment = number / 100
        log_throttle.warning("it happened", extra={"event": "it", "number": number})
    said = [fields for _, fields in events(caplog)]
    assert said[:2] == [{"number": 0}, {"number": 100, "held_back": 99}]
    assert len(said) == 10


def test_one_kind_does_not_hold_another_back(caplog: pytest.LogCaptureFixture) -> None:
    moment = 0.0
    seldom = Seldom(logging.getLogger("tests.log_throttle"), clock=lambda: moment)
    for number in range(1_000):
        seldom.warning("it happened", extra={"event": "it", "number": number}, alike=number // 2)
    said = [fields["number"] for _, fields in events(caplog)]
    # Beyond a number of kinds all count as one, so that memory is bounded.
    assert said == [*range(0, 2 * MOST_KINDS, 2), 2 * MOST_KINDS]
    assert len(seldom._kinds) == MOST_KINDS + 1
    # And none is kept forever.
    caplog.clear()
    moment = 10.0
    for number in range(10):
        seldom.warning("it happened", extra={"event": "it", "number": number}, alike=f"new {number // 2}")
    assert [fields["number"] for _, fields in events(caplog)] == [0, 2, 4, 6, 8]
    assert len(seldom._kinds) == 5


def test_a_lasting_condition_is_a_line_at_its_start_and_one_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    moment = 0.0
    lasting = Lasting(logging.getLogger("tests.log_throttle"), clock=lambda: moment)
    lasting.ends("it is over", extra={"event": "over"})
    for number in range(1_000):
        moment = number / 100
        lasting.begins("it is so", extra={"event": "begun", "number": number})
    lasting.ends("it is over", extra={"event": "over"})
    lasting.ends("it is over", extra={"event": "over"})
    assert events(caplog) == [
        ("begun", {"number": 0}),
        ("over", {"seconds": 9.99, "times": 1_000}),
    ]


@VIRTUAL_TIME
async def test_the_asyncapi_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from portfolio_trio.protocol import asyncapi  # noqa: PLC0415 - what is counted

    made: list[object] = []
    make = asyncapi.document

    def counted(**arguments: Any) -> Any:
        made.append(arguments)
        return make(**arguments)

    monkeypatch.setattr(asyncapi, "document", counted)
    async with open_app() as app:
        for host in (b"one.example:8000", b"two.example", b"[::1]:1", b"a b", b"x" * 400, b'"'):
            asked = plain_head(b"/asyncapi.json").replace(b"Host: localhost", b"Host: " + host)
            told = json.loads((await Client(app.dial()).ask(asked)).body)["servers"]["server"]["host"]
            assert told == (host.decode() if host[:1] in b"ot[" else "localhost")
            await trio.lowlevel.checkpoint()
    assert len(made) == 1
