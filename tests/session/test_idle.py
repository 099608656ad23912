"""The parts of an idle connection, and events that arrive while it ends."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.session.runner import Runner
from tests.support.app import App, open_app

pytestmark = pytest.mark.trio


def tasks_of_sockets(app: App) -> list[int]:
    """How many tasks each socket has."""
    return [1 + below(task) for task in app.server.connections.child_tasks]


def below(task: trio.lowlevel.Task) -> int:
    return sum(1 + below(child) for nursery in task.child_nurseries for child in nursery.child_tasks)


async def test_an_idle_connection_has_one_task(autojump_clock: MockClock) -> None:
    """It reads the socket and carries out requests."""
    async with open_app() as app:
        clients = [await app.connect(events=events) for events in (False, True)]
        await clients[1].receive()
        await wait_all_tasks_blocked()
        assert tasks_of_sockets(app) == [1, 1]
        for client in clients:
            await client.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        assert tasks_of_sockets(app) == [1, 1]


async def test_pings_add_a_task_only_while_they_are_being_sent(autojump_clock: MockClock) -> None:
    async with open_app(ping_interval_seconds=20) as app:
        await app.connect()
        await trio.sleep(20 * 10 + 1)
        assert tasks_of_sockets(app) == [1]
        assert len(app.server.services.keep_alive) == 1


async def test_who_leaves_is_not_watched_any_more(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.ask("get_portfolio")
        assert len(app.server.services.keep_alive) == 1
        await client.stream.aclose()
        await wait_all_tasks_blocked()
        assert len(app.server.services.keep_alive) == 0
        assert tasks_of_sockets(app) == []


async def test_events_for_a_socket_that_ends_are_dropped(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its nursery is closed while its last run is being cleared from the document; the others continue."""

    async def clear_slowly(_: Runner) -> None:
        await trio.sleep(1)

    monkeypatch.setattr(Runner, "clear", clear_slowly)
    async with open_app() as app:
        leaving, staying = await app.connect(events=True), await app.connect(events=True)
        await leaving.receive()
        await staying.receive()
        await leaving.stream.aclose()
        await wait_all_tasks_blocked()
        (group,) = app.server.services.hub.groups
        assert len(group.members) == 2
        assert (await staying.ask("trade", ticker="AAPL", shares=1))["type"] == "portfolio"
        await trio.sleep(2)
        assert len(group.members) == 1
