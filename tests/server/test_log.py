"""The log of a night with trouble: each condition has one line when it begins and one when it ends."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.logs import JsonFormatter
from portfolio_trio.redis.errors import Unavailable
from tests.support.app import App, open_app

pytestmark = pytest.mark.trio

TICK: Final = 5.0
NIGHT: Final = 600.0


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log in JSON, at its usual level."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("portfolio_trio")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield written
    log.removeHandler(handler)
    log.setLevel(level)


def read(lines: io.StringIO) -> list[dict[str, Any]]:
    """All of it; each line is an object."""
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert all({"time", "level", "event", "message", "logger"} <= line.keys() for line in found)
    return found


async def fail(*_: object, **__: object) -> Any:
    await trio.lowlevel.checkpoint()
    raise Unavailable("away")


async def ask_all_night(app: App) -> None:
    clients = [await app.connect(f"s{number}") for number in range(5)]
    while True:
        for client in clients:
            await client.ask("get_portfolio")
        await trio.sleep(10)


async def test_an_outage_of_the_store_for_hours_is_a_few_lines(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    async with open_app(market_update_interval_seconds=TICK) as app:
        await trio.sleep(2 * TICK)
        app.nursery.start_soon(ask_all_night, app)
        await trio.sleep(1)
        for method in ("run_script", "run_script_each"):
            monkeypatch.setattr(app.server._redis, method, fail)
        await trio.sleep(NIGHT)
        monkeypatch.undo()
        await trio.sleep(4 * TICK)
    found = read(lines)
    failed = [line for line in found if line["event"] == "request_failed"]
    assert [line["event"] for line in found if line not in failed] == [
        *("leader_began", "store_lost", "leader_ended"),
        *("store_back", "worker_given_up", "leader_began"),
    ]
    assert len(failed) <= NIGHT / 60 + 1
    assert sum(line.get("held_back", 0) for line in failed) > 200
    (back,) = (line for line in found if line["event"] == "store_back")
    assert back["seconds"] == pytest.approx(NIGHT, abs=10)


async def test_an_outage_of_the_prices_for_hours_is_a_few_lines(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    async with open_app(market_update_interval_seconds=TICK) as app:
        await trio.sleep(2 * TICK)
        monkeypatch.setattr(app.server.services.book._calls._source, "quote", fail)
        await trio.sleep(NIGHT)
        monkeypatch.undo()
        await trio.sleep(2 * TICK)
    found = read(lines)
    assert [(line["event"], line["level"]) for line in found] == [
        ("leader_began", "info"),
        ("prices_stale_begin", "warning"),
        ("prices_stale_end", "info"),
    ]
    assert found[2]["seconds"] == NIGHT
    assert found[2]["times"] == NIGHT / TICK
