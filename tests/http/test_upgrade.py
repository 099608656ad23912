"""The opening handshake: clients without access are refused before any WebSocket library sees the head."""

import json
import logging

import pytest
import trio
import trio.testing

from portfolio_trio.http import Disconnected, Upgrade, accept_websocket
from tests.http.frames import ACCEPT, CLOSE, KEY, TEXT, close, frame, head, plain_head
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer
from tests.support.streams import SlicingStream

pytestmark = VIRTUAL_TIME

QUERY, HEADER = "from-the-query", "from-the-header"


async def test_a_good_handshake_is_accepted(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    answer = await client.upgrade()
    assert answer.headers["sec-websocket-accept"] == ACCEPT.decode()
    assert "sec-websocket-protocol" not in answer.headers
    assert await client.echoes("hello")
    await client.send(close(1000))
    assert [frame_.code for frame_ in await client.rest_frames()] == [1000]


async def test_the_handler_sees_who_comes(memory_server: MemoryServer) -> None:
    request = head(
        b"/ws/my-session.1~_?token=from-the-query",
        origin=b"https://example.org",
        host=b"example.org:8000",
        sec_websocket_protocol=b"portfolio.v1, other",
    )
    client = memory_server.connect()
    answer = await client.upgrade(request)
    upgrade = memory_server.upgrades[0]
    assert upgrade.session_id == "my-session.1~_"
    assert upgrade.subprotocols == ("portfolio.v1", "other")
    assert (upgrade.origin, upgrade.host) == ("https://example.org", "example.org:8000")
    assert upgrade.token == QUERY
    assert upgrade.peer is None
    assert QUERY not in repr(upgrade)
    assert answer.headers["sec-websocket-protocol"] == "portfolio.v1"


async def test_a_bearer_token_goes_before_the_query(memory_server: MemoryServer) -> None:
    await memory_server.connect().upgrade(
        head(b"/ws/a?token=from-the-query", authorization=b"bearer from-the-header")
    )
    assert memory_server.upgrades[0].token == HEADER
    await memory_server.connect().upgrade(head(b"/ws/a", authorization=b"Basic header"))
    assert memory_server.upgrades[1].token is None


async def test_a_plain_get_is_told_to_upgrade(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().ask(plain_head(b"/ws/session"))
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["connection"] == "upgrade, close"


@pytest.mark.parametrize(
    "request_head",
    [
        head(connection=b"close"),
        head(connection=None),
        head(upgrade=b"h2c"),
        head(upgrade=None),
        head(version=b"1.0"),
    ],
)
async def test_half_an_upgrade_is_none(memory_server: MemoryServer, request_head: bytes) -> None:
    assert (await memory_server.connect().ask(request_head)).status == 426


async def test_an_upgrade_is_found_among_other_tokens(memory_server: MemoryServer) -> None:
    await memory_server.connect().upgrade(head(connection=b"keep-alive,  UPGRADE", upgrade=b"h2c, WebSocket"))


@pytest.mark.parametrize("target", [b"/", b"/health", b"/ws", b"/ws/", b"/ws/a/b", b"/nowhere"])
async def test_an_upgrade_elsewhere_is_not_found(memory_server: MemoryServer, target: bytes) -> None:
    assert (await memory_server.connect().ask(head(target))).status == 404


@pytest.mark.parametrize(
    "session_id", [b"a b".replace(b" ", b"%20"), b"%C3%A9", b"a%2Fb", b"a%0a", b"x" * 129, b"a:b"]
)
async def test_bad_session_ids_are_not_found(memory_server: MemoryServer, session_id: bytes) -> None:
    answer = await memory_server.connect().ask(head(b"/ws/" + session_id))
    assert answer.status in ({400, 404} if b"%0a" in session_id else {404})
    assert not memory_server.upgrades


async def test_the_longest_session_id_is_served(memory_server: MemoryServer) -> None:
    await memory_server.connect().upgrade(head(b"/ws/" + b"x" * 128))


@pytest.mark.parametrize("version", [None, b"8", b"14", b"13, 13", b""])
async def test_another_version_is_told_the_right_one(
    memory_server: MemoryServer, version: bytes | None
) -> None:
    answer = await memory_server.connect().ask(head(sec_websocket_version=version))
    assert answer.status == 426
    assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("key", [None, b"", b"short", b"!" * 24, KEY[:-4], KEY + b", " + KEY])
async def test_a_bad_key_is_refused(memory_server: MemoryServer, key: bytes | None) -> None:
    answer = await memory_server.connect().ask(head(sec_websocket_key=key))
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_handshake")


@pytest.mark.parametrize(
    "header",
    ["connection", "host", "origin", "authorization", "sec_websocket_protocol", "sec_websocket_extensions"],
)
async def test_non_ascii_header_bytes_are_refused(memory_server: MemoryServer, header: str) -> None:
    """Four of these headers make trio-websocket raise UnicodeDecodeError out of its nursery."""
    changes = {header: b"Upgrade, \xe9\xff" if header == "connection" else b"\xe9\xff"}
    answer = await memory_server.connect().ask(head(**changes))
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_handshake")
    assert await _still_serves(memory_server)


@pytest.mark.parametrize("host", [b"xn--a", b"a..b", b"x" * 300, b"xn--0000h", b"", b"[::1"])
async def test_a_host_that_idna_cannot_read_is_no_matter(memory_server: MemoryServer, host: bytes) -> None:
    """ASCII alone is not enough for the library: it decodes Host as IDNA, which raises for some names."""
    client = memory_server.connect()
    await client.upgrade(head(host=host))
    assert await client.echoes("hello")


@pytest.mark.parametrize("protocols", [b"a b", b"a, (b)", b'"quoted"'])
async def test_subprotocols_that_are_no_tokens_are_refused(
    memory_server: MemoryServer, protocols: bytes
) -> None:
    assert (await memory_server.connect().ask(head(sec_websocket_protocol=protocols))).status == 400


async def test_a_handshake_with_a_body_is_refused(memory_server: MemoryServer) -> None:
    assert (await memory_server.connect().ask(head(content_length=b"3") + b"abc")).status == 400
    assert (await memory_server.connect().ask(head(transfer_encoding=b"chunked"))).status == 400
    await memory_server.connect().upgrade(head(content_length=b"0"))


async def test_post_with_an_upgrade_is_the_wrong_method(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().ask(head(method=b"POST", content_length=b"0"))
    assert answer.status == 405


async def test_extensions_are_never_negotiated(memory_server: MemoryServer) -> None:
    answer = await memory_server.connect().upgrade(
        head(sec_websocket_extensions=b"permessage-deflate; client_max_window_bits")
    )
    assert "sec-websocket-extensions" not in answer.headers


async def test_a_handler_can_refuse(memory_server: MemoryServer) -> None:
    async def refuse(upgrade: Upgrade) -> None:
        await upgrade.reject(503, "unavailable", "Draining.", retry_after=1.2)

    memory_server.websocket = refuse
    answer = await memory_server.connect().ask(head())
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert json.loads(answer.body) == {
        "type": "error",
        "code": "unavailable",
        "detail": "Draining.",
        "retryable": True,
    }


async def test_a_handler_that_forgets_to_answer_is_answered_for(memory_server: MemoryServer) -> None:
    async def forget(upgrade: Upgrade) -> None:
        pass

    memory_server.websocket = forget
    assert (await memory_server.connect().ask(head())).status == 500


async def test_a_handler_that_fails_is_answered_for(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(upgrade: Upgrade) -> None:
        raise LookupError("a handler that fails")

    memory_server.websocket = fail
    answer = await memory_server.connect().ask(head())
    assert answer.status == 500
    assert b"a handler" not in answer.body
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    memory_server.websocket = memory_server.accept
    assert await _still_serves(memory_server)


async def test_an_upgrade_is_answered_once(memory_server: MemoryServer) -> None:
    caught: list[Exception] = []

    async def twice(upgrade: Upgrade) -> None:
        await upgrade.reject(401, "unauthorized", "No.")
        for answer in (upgrade.reject(401, "unauthorized", "No."), accept_websocket(upgrade).__aenter__()):
            try:
                await answer
            except RuntimeError as error:
                caught.append(error)

    memory_server.websocket = twice
    assert (await memory_server.connect().ask(head())).status == 401
    assert len(caught) == 2


async def test_a_subprotocol_nobody_offered_is_the_handlers_mistake(
    memory_server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def invent(upgrade: Upgrade) -> None:
        async with accept_websocket(upgrade, subprotocol="invented"):
            pass

    memory_server.websocket = invent
    assert (await memory_server.connect().ask(head())).status == 500
    assert "did not offer" in caplog.text


async def test_a_client_that_left_before_the_answer_is_disconnected(memory_server: MemoryServer) -> None:
    codes: list[int] = []

    async def late(upgrade: Upgrade) -> None:
        await trio.sleep(1)
        try:
            async with accept_websocket(upgrade):
                pass
        except Disconnected as gone:
            codes.append(gone.code)

    memory_server.websocket = late
    client = memory_server.connect()
    await client.send(head())
    await client.stream.aclose()
    await trio.sleep(2)
    assert codes == [1006]


async def test_bytes_behind_the_head_are_the_first_frames(memory_server: MemoryServer) -> None:
    """The library loses what it reads before its handshake is answered; whether it does is a race."""
    for _ in range(20):
        client = memory_server.connect()
        await client.upgrade(head() + frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three")[:4])
        assert [(await client.next_frame()).text for _ in range(2)] == ["one", "two"]
        await client.send(frame(TEXT, b"three")[4:])
        assert (await client.next_frame()).text == "three"


async def test_a_head_in_single_bytes_is_accepted(memory_server: MemoryServer) -> None:
    client = memory_server.connect(lambda stream: SlicingStream(stream, lambda: 1))
    await client.upgrade(head() + frame(TEXT, b"one"))
    assert (await client.next_frame()).text == "one"


async def test_a_slow_upgrade_is_answered_408(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    begun = trio.current_time()
    assert (await client.ask(head()[:-2])).status == 408
    assert trio.current_time() - begun == 10


async def test_connect_upgrade_and_close_ends_the_session(memory_server: MemoryServer) -> None:
    client = memory_server.connect()
    await client.upgrade()
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert memory_server.open == 0
    assert [gone.code for gone in memory_server.disconnects] == [1006]


async def _still_serves(memory_server: MemoryServer) -> bool:
    client = memory_server.connect()
    await client.upgrade()
    alive = await client.echoes("still here")
    await client.send(close())
    return alive and (await client.next_frame()).opcode == CLOSE
