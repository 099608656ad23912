"""What clients are told when the store fails: what to do, without hosts, logins and scripts."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import trio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from portfolio_trio.http import Head, Request
from portfolio_trio.redis.errors import Unavailable
from portfolio_trio.server.session_route import SessionRoute
from portfolio_trio.store import StoreError, errors
from portfolio_trio.store._calls import translate
from tests.http.memory_server import VIRTUAL_TIME
from tests.support.app import open_app
from tests.support.logs import events

PRIVATE = "db.internal:6379 as hunter2, script 1f8a0c"
FAILURES: list[RedisError] = [
    Unavailable(f"{PRIVATE} is away"),
    RedisConnectionError(PRIVATE),
    ReadOnlyError(PRIVATE),
    OutOfMemoryError(PRIVATE),
    NoPermissionError(PRIVATE),
    NoScriptError(PRIVATE),
    ResponseError(f"LOADING {PRIVATE}"),
    ResponseError(f"ERR {PRIVATE}"),
]


@VIRTUAL_TIME
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_error_texts_of_redis_go_to_the_log_only(
    failure: RedisError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise translate(failure)

    async with open_app() as app:
        client = await app.connect()
        await client.ask("trade", ticker="AAPL", shares=1)
        for method in ("get_portfolio", "set_holdings", "newest_results", "start_analysis", "open_session"):
            monkeypatch.setattr(app.store, method, fail)
        answers = [
            await client.ask("get_portfolio"),
            await client.ask("set_holdings", holdings={"AAPL": 1}),
            await client.ask("get_results"),
            await client.ask("analyze", ticker="AAPL"),
        ]
        ask = SessionRoute(app.server.services, app.server.gate)
        over_http = await ask(Request(Head("POST", "/session", {}, ())))
        monkeypatch.undo()
    said = " ".join(str(answer) for answer in [*answers, over_http.body])
    assert all(answer["type"] == "error" for answer in answers)
    for private in ("db.internal", "hunter2", "1f8a0c"):
        assert private not in said
    # One line a minute, which says it all.
    (said_here,) = events(caplog, "request_failed")
    assert PRIVATE in said_here[1]["error"]


def test_only_error_texts_of_the_store_reach_clients() -> None:
    """Whose text is told as it is writes it itself, out of what the client knows."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, StoreError) and kind.for_clients is None:
            assert "message" not in inspect.signature(kind).parameters


def test_a_node_of_a_cluster_is_reported_as_such() -> None:
    for error in (MovedError("1234 10.0.0.7:6379"), ResponseError("MOVED 1234 10.0.0.7:6379")):
        said = translate(error)
        assert "use redis+cluster://" in str(said)
        assert "10.0.0.7" not in str(said)


@VIRTUAL_TIME
async def test_a_drain_without_a_store_is_a_line_of_each_kind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise translate(Unavailable("away"))

    async with open_app() as app:
        for number in range(50):
            client = await app.connect(f"s{number}")
            await client.ask("get_portfolio")
        for method in ("leave_session", "finish_analysis"):
            monkeypatch.setattr(app.store, method, fail)
        await app.server.drain()
        monkeypatch.undo()
    assert 1 <= len(events(caplog, "session_not_left", "run_not_cleared")) <= 3
