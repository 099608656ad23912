"""All access checks, over the HTTP server: slots, origin, token, first message."""

from __future__ import annotations

import json
from typing import Final

import pytest
import trio
import trio.testing

from portfolio_trio.access import (
    ConnectionLimits,
    Gate,
    Limit,
    NewSessionLimit,
    OriginPolicy,
    Refused,
    SessionTokens,
    Slots,
    TokenFault,
    TokenRefused,
    first_message,
)
from portfolio_trio.http import Upgrade, accept_websocket
from portfolio_trio.protocol.requests import Authenticate
from tests.http.frames import BINARY, CLOSE, TEXT, Answer, Frame, close, frame, head
from tests.http.memory_server import VIRTUAL_TIME, Client, MemoryServer, echo

SECRET: Final = "x" * 32
AUTH_SECONDS = 5.0
TOKENS = SessionTokens(SECRET, ttl_seconds=1e9, now=lambda: 0.0)
MINE = TOKENS.issue("session")
OTHERS = TOKENS.issue("another")


class Guarded:
    """An HTTP server whose upgrades pass a gate, as in the server; inside, it echoes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.peer: str | None = None
        self.memory_server = MemoryServer(nursery)
        self.memory_server.websocket = self.welcome
        self.use(TOKENS)

    def use(self, tokens: SessionTokens | None) -> None:
        connection_limits = ConnectionLimits(per_session=2, per_address=3, total=4)
        limit = NewSessionLimit(per_address=None, total=1, clock=trio.current_time)
        self.gate = Gate(
            connection_limits=connection_limits,
            origins=OriginPolicy(),
            new_sessions=limit,
            new_by_socket=limit,
            clock=trio.current_time,
            tokens=tokens,
        )

    async def welcome(self, upgrade: Upgrade) -> None:
        upgrade.peer = self.peer
        try:
            slots = self.gate.admit(upgrade)
        except Refused as refused:
            await upgrade.reject(
                refused.status, refused.code, refused.detail, retry_after=refused.retry_after
            )
            return
        with slots:
            await self._serve(upgrade, slots)

    async def _serve(self, upgrade: Upgrade, slots: Slots) -> None:
        async with accept_websocket(upgrade) as transport:
            if self.gate.asks_for_token(upgrade):
                try:
                    message = await first_message(transport, timeout=AUTH_SECONDS)
                    token = message.token.get_secret_value()
                    self.gate.join(slots, upgrade.session_id, token)
                except Refused as refused:
                    await transport.close(refused.close_code, refused.close_reason)
                    return
            await echo(transport)

    async def enter(self, **headers: bytes) -> Client:
        client = self.memory_server.connect()
        await client.upgrade(handshake(**headers))
        return client

    async def refused(self, **headers: bytes) -> Answer:
        return await self.memory_server.connect().ask(handshake(**headers))

    def taken(self, limit: Limit = Limit.SERVER, key: str = "") -> int:
        return self.gate.connection_limits.count(limit, key)


@pytest.fixture
def guarded(nursery: trio.Nursery) -> Guarded:
    return Guarded(nursery)


def handshake(*, origin: bytes | None = None, authorization: bytes | None = None) -> bytes:
    return head(origin=origin, authorization=authorization)


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def authentication(token: object, **fields: object) -> bytes:
    message = {"action": "authenticate", "token": token, **fields}
    return frame(TEXT, json.dumps(message).encode())


async def ending(client: Client) -> tuple[int, str]:
    ended = await client.next_frame()
    assert ended.opcode == CLOSE
    await client.send(close())
    await client.rest()
    return ended.code, ended.payload[2:].decode().partition(":")[0]


@VIRTUAL_TIME
async def test_a_token_in_the_head_opens_the_session(guarded: Guarded) -> None:
    async with await guarded.enter(authorization=bearer(MINE)) as client:
        assert await client.echoes("hello")
        assert guarded.taken(Limit.SESSION, "session") == 1
    target = f"/ws/session?token={MINE}".encode()
    client = guarded.memory_server.connect()
    await client.upgrade(head(target))
    assert await client.echoes("hello")
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert len(guarded.gate.connection_limits) == 0


@VIRTUAL_TIME
async def test_without_tokens_the_id_opens_the_session(guarded: Guarded) -> None:
    guarded.use(None)
    async with await guarded.enter() as client, await guarded.enter(authorization=b"Bearer x") as other:
        assert await client.echoes("hello")
        assert await other.echoes("hello")


@VIRTUAL_TIME
async def test_the_order_of_refusals(guarded: Guarded) -> None:
    """The first that applies is told: slots, then origin, then token, then the session's slots."""
    guarded.peer = "192.0.2.1"
    evil = b"https://evil.com"
    assert said(await guarded.refused(origin=evil, authorization=bearer(OTHERS))) == (403, "origin_refused")
    assert said(await guarded.refused(authorization=bearer(OTHERS))) == (401, "token_other_session")
    clients = [await guarded.enter(authorization=bearer(MINE)) for _ in range(2)]
    assert said(await guarded.refused(authorization=bearer(OTHERS))) == (401, "token_other_session")
    full = await guarded.refused(authorization=bearer(MINE))
    assert said(full) == (429, "session_full")
    assert full.headers["retry-after"] == "1"
    clients.append(await guarded.enter())
    assert said(await guarded.refused(origin=evil, authorization=bearer(OTHERS))) == (429, "address_full")
    guarded.peer = "192.0.2.2"
    clients.append(await guarded.enter())
    full = await guarded.refused(origin=evil, authorization=bearer(OTHERS))
    assert said(full) == (503, "overloaded")
    assert full.headers["retry-after"] == "5"
    for client in clients:
        await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert len(guarded.gate.connection_limits) == 0


@VIRTUAL_TIME
async def test_the_first_message_opens_the_session(guarded: Guarded) -> None:
    async with await guarded.enter() as client:
        assert guarded.taken(Limit.SESSION, "session") == 0
        await client.send(authentication(MINE, id=7))
        assert await client.echoes("hello")
        assert guarded.taken(Limit.SESSION, "session") == 1


@VIRTUAL_TIME
@pytest.mark.parametrize(
    ("first", "code"),
    [
        (authentication(OTHERS), "token_other_session"),
        (authentication(MINE[:-4] + "AAAA"), "token_bad_signature"),
        (authentication("no token"), "token_malformed"),
        (authentication(""), "token_missing"),
        (authentication(None), "token_missing"),
        (authentication([MINE]), "token_missing"),
        (authentication("x" * 3_000), "token_missing"),
        (frame(TEXT, b'{"action":"analyze","ticker":"AAPL"}'), "token_missing"),
        (frame(TEXT, b"[" * 2_000), "token_missing"),
        (frame(BINARY, b'{"action":"authenticate","token":"' + MINE.encode() + b'"}'), "token_missing"),
    ],
)
async def test_a_wrong_first_message_closes_with_1008(guarded: Guarded, first: bytes, code: str) -> None:
    async with await guarded.enter() as client:
        await client.send(first)
        assert await ending(client) == (1008, code)
    await trio.testing.wait_all_tasks_blocked()
    assert len(guarded.gate.connection_limits) == 0


@VIRTUAL_TIME
async def test_a_socket_that_sends_nothing_is_closed_at_the_deadline(guarded: Guarded) -> None:
    async with await guarded.enter() as client:
        start = trio.current_time()
        # Half a message does not count.
        await client.send(frame(TEXT, b'{"action":', final=False))
        assert await ending(client) == (1008, "token_missing")
        assert trio.current_time() == start + AUTH_SECONDS


@VIRTUAL_TIME
async def test_who_is_not_authenticated_keeps_nobody_out(guarded: Guarded) -> None:
    strangers = [await guarded.enter() for _ in range(2)]
    async with await guarded.enter(authorization=bearer(MINE)) as client:
        assert await client.echoes("hello")
        async with await guarded.enter(authorization=bearer(MINE)):
            # With the session full, the right first message comes too late, and is told to come again.
            await strangers[0].send(authentication(MINE))
            assert await ending(strangers[0]) == (1013, "session_full")
    await strangers[1].stream.aclose()


@VIRTUAL_TIME
async def test_a_client_that_leaves_first_is_no_failure(guarded: Guarded) -> None:
    client = await guarded.enter()
    await client.send(close())
    assert Frame(CLOSE, b"\x03\xe8") == await client.next_frame()
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert len(guarded.gate.connection_limits) == 0
    assert guarded.memory_server.open == 0


# --- texts ---


@pytest.mark.parametrize("fault", TokenFault)
def test_a_close_reason_fits_its_frame(fault: TokenFault) -> None:
    assert len(TokenRefused(fault).close_reason.encode()) <= 123
    assert TokenRefused(fault).close_code == 1008


def test_the_message_does_not_show_its_token() -> None:
    message = Authenticate.model_validate_json(json.dumps({"action": "authenticate", "token": MINE}))
    assert message.token.get_secret_value() == MINE
    assert MINE not in f"{message!r} {message} {message.model_dump()} {message.model_dump_json()}"
