"""A plan of many names is made in a worker thread: nothing waits for it, and it is of one snapshot."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from portfolio_trio.cli.replay_decisions import differences, read_decision
from portfolio_trio.metrics.plan import plan
from portfolio_trio.session import decisions
from tests.support.app import App, Client, open_app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from portfolio_trio.metrics.plan import Plan

pytestmark = pytest.mark.trio

MANY = {f"N{place}": 1 + place for place in range(65)}


class HeldUp:
    """Plans that are made in other threads than the server's wait there until they are let go."""

    def __init__(self) -> None:
        self.at_work = 0
        self.one_more = trio.Event()
        self.let_go = trio.Event()

    def plan(self, *given: Any) -> Plan:
        if threading.current_thread() is not threading.main_thread():
            trio.from_thread.run_sync(self._count)
            trio.from_thread.run(self.let_go.wait)
        return plan(*given)

    def _count(self) -> None:
        self.at_work += 1
        self.one_more.set()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> HeldUp:
    held_up = HeldUp()
    monkeypatch.setattr(decisions, "plan", held_up.plan)
    return held_up


@asynccontextmanager
async def planning(app: App, held_up: HeldUp, order: list[Any]) -> AsyncGenerator[Client]:
    """While a plan of many names is at work; its answer comes into `order`, also where nothing held it up."""
    client = await app.connect("many")

    async def ask() -> None:
        order.append(await client.ask("plan", to="budgets", receipt=True))
        held_up.one_more.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await held_up.one_more.wait()
        yield client
        held_up.let_go.set()


async def test_others_are_served_while_it_is_made(mock_clock: MockClock, held_up: HeldUp) -> None:
    order: list[Any] = []
    async with open_app(default_holdings=MANY) as app:
        quick = await app.connect("few")
        async with planning(app, held_up, order):
            await quick.ask("set_holdings", holdings={"AAPL": 1})
            order.append(await quick.ask("get_risk"))
            order.append(await quick.ask("plan", to="budgets"))
    assert [frame["type"] for frame in order] == ["risk", "plan", "plan"]
    assert [len(frame.get("lines", ())) for frame in order] == [0, 0, 65]


async def test_it_is_of_the_snapshot_at_which_it_was_asked_for(
    mock_clock: MockClock, held_up: HeldUp
) -> None:
    """New holdings and a new tick come while it is made; what it answers is of neither."""
    order: list[Any] = []
    async with open_app(default_holdings=MANY, market_update_interval_seconds=5) as app:
        before = app.server.services.book.current
        async with planning(app, held_up, order):
            editor = await app.connect("many")
            changed = await editor.ask("set_holdings", holdings={"N0": 5})
            mock_clock.jump(6)
            await wait_all_tasks_blocked()
            after = app.server.services.book.current
            assert after.tick_id > before.tick_id
        (answer,) = order
        newer = await editor.ask("plan", to="budgets")
        bars = app.server.services.book.bars
    assert changed["version"] == newer["version"] == answer["version"] + 1
    assert (answer["tick_id"], answer["as_of"]) == (before.tick_id, before.as_of)
    assert newer["tick_id"] == after.tick_id
    assert answer["receipt"]["holdings"] == MANY
    assert answer["receipt"]["prices"] == {name: before.prices[name] for name in MANY}
    read = read_decision(answer)
    assert read is not None
    assert differences(read, answer, bars) == []


async def test_no_more_of_them_than_there_are_threads_for(mock_clock: MockClock, held_up: HeldUp) -> None:
    order: list[Any] = []
    async with open_app(default_holdings=MANY) as app:
        heavy = app.server.services.heavy
        heavy.total_tokens = 2
        async with planning(app, held_up, order):
            others = [await app.connect(f"other{place}") for place in range(3)]
            for client in others:
                await client.send("plan", to="budgets")
            await wait_all_tasks_blocked()
            assert (heavy.borrowed_tokens, heavy.statistics().tasks_waiting) == (2, 2)
            assert held_up.at_work <= 2
        assert {(await client.receive())["type"] for client in others} == {"plan"}
        assert held_up.at_work == 4
