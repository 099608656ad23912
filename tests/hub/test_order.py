"""One order for all subscribers, whatever the order in which replies wake their tasks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.http.frames import TEXT
from tests.http.frames import frame as sent
from tests.support.app import METRICS, App, Client, Frame, open_app
from tests.support.observer import ENDS
from tests.support.redis_servers import NO_PRIVATE_JSON_SERVER, Server, json_command, private_server

pytestmark = pytest.mark.trio


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    command = json_command()
    if command is None:
        pytest.skip(NO_PRIVATE_JSON_SERVER)
    with private_server(command) as server:
        yield server


class Replies:
    """A store whose calls are carried out at once, and whose replies come when the test releases them."""

    def __init__(self, app: App, *calls: str) -> None:
        self._store = app.store
        self._calls = calls
        self._waiting: list[trio.Event] = []
        app.server.services.store = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in self._calls:
            return method

        async def late(*args: Any, **more: Any) -> Any:
            outcome = await method(*args, **more)
            arrived = trio.Event()
            self._waiting.append(arrived)
            await arrived.wait()
            return outcome

        return late

    async def come(self, *order: int) -> None:
        """Let the replies that wait come, in this order of the calls."""
        await wait_all_tasks_blocked()
        waiting, self._waiting = self._waiting, []
        assert sorted(order) == list(range(len(waiting)))
        for place in order:
            waiting[place].set()
            await wait_all_tasks_blocked()


async def test_replies_in_the_wrong_order_show_no_old_holdings(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        one, two, subscriber, plain = *[await app.subscribe() for _ in range(3)], await app.connect()
        replies = Replies(app, "trade")
        for number, client in enumerate((one, two, plain)):
            await client.send("trade", ticker="AAPL", shares=1, id=number)
            await wait_all_tasks_blocked()
        await replies.come(2, 0, 1)
        assert versions(await subscriber.silence(1)) == [4]
        # Each has its answer, at its version or a later one.
        told = [
            [(f["version"], f.get("id")) for f in await client.silence(1)] for client in (one, two, plain)
        ]
        assert told == [[(4, None), (4, 0)], [(4, None), (4, 1)], [(4, 2)]]


async def test_a_state_that_was_read_before_an_edit_is_not_the_answer_after_it(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        reader, editor = await app.subscribe(), await app.subscribe()
        plain = await app.connect()
        await plain.ask("get_portfolio")
        replies = Replies(app, "get_portfolio")
        await reader.send("get_portfolio", id="r")
        await plain.send("get_portfolio", id="p")
        await wait_all_tasks_blocked()
        await editor.ask("trade", ticker="AAPL", shares=1)
        await replies.come(0, 1)
        assert [(f["version"], f.get("id")) for f in await reader.silence(1)] == [(2, None), (2, "r")]
        assert versions(await plain.silence(1)) == [2]


async def test_a_client_without_events_gets_no_results_on_holdings_before_its_own_edit(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        client = await app.connect()
        replies = Replies(app, "start_analysis", "trade")
        await client.send("analyze", ticker="AAPL")
        await wait_all_tasks_blocked()
        await client.send("trade", ticker="AAPL", shares=1)
        await replies.come(1, 0)
        await replies.come(0)
        frames = await client.silence(1)
        assert [f.get("version") for f in frames if f["type"] == "portfolio"] == [2]
        results = [f for f in frames if f["type"] == "analysis_result"]
        assert [f["run_id"] for f in results] == [2] * len(METRICS)


async def test_who_comes_during_an_edit_gets_the_newest(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        editor = await app.subscribe()
        replies = Replies(app, "get_portfolio", "trade")
        app.server.services.store, store = app.store._store, app.store
        app.server.services.store = store
        late = await app.connect(events=True)
        await wait_all_tasks_blocked()
        await editor.send("trade", ticker="AAPL", shares=1)
        await replies.come(1, 0)
        assert versions(await late.silence(1)) == [2]


async def test_a_value_of_older_holdings_is_not_shown(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=10_000) as app:
        subscriber, editor = await app.subscribe(), await app.subscribe()
        replies = Replies(app, "peek_portfolio")
        feed: Any = app.server.updater._audience
        feed._store = replies
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.updater.tick)
            await wait_all_tasks_blocked()
            await editor.ask("trade", ticker="AAPL", shares=1)
            await replies.come(0)
        frames = await subscriber.silence(1)
        assert [f["type"] for f in frames] == ["portfolio"]


async def test_an_end_that_was_decided_is_told_and_so_is_the_next(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        for shares in range(1, 30):
            client = await app.subscribe()
            await client.send("analyze", ticker="AAPL", id="a")
            await client.until("analysis_started")
            await client.send("trade", ticker="AAPL", shares=shares, id="t")
            await client.send("cancel", id="c")
            assert_orderly(await client.silence(2), begun=True)
            await client.stream.aclose()


@asynccontextmanager
async def watched(app: App, count: int) -> AsyncIterator[tuple[list[Client], list[list[Frame]]]]:
    """So many sockets and what each of them sees."""
    clients = [await app.connect(events=True) for _ in range(count)]
    seen: list[list[Frame]] = [[] for _ in clients]

    async def read(client: Client, frames: list[Frame]) -> None:
        while True:
            frames.append(await client.receive())

    async with trio.open_nursery() as nursery:
        for client, frames in zip(clients, seen, strict=True):
            nursery.start_soon(read, client, frames)
        yield clients, seen
        nursery.cancel_scope.cancel()


async def test_versions_never_fall_on_genuine_redis(redis: Server) -> None:
    """Replies that come in one read wake their tasks in no fixed order; only a real server sends them so."""
    sockets, rounds = 8, 50
    limits: dict[str, Any] = {"requests_per_second": 1e6, "request_burst": 1_000}
    with trio.fail_after(60):
        async with (
            open_app(redis_url=redis.url, **limits) as app,
            watched(app, sockets) as (clients, seen),
        ):
            for number in range(rounds):
                for client in clients:
                    await client.send("trade", ticker="AAPL", shares=1, id=number)
                while not all(any(f.get("id") == number for f in frames) for frames in seen):  # noqa: ASYNC110 - real
                    await trio.sleep(0.001)
            last = 1 + sockets * rounds
            while not all(frames[-1]["version"] == last for frames in seen):  # noqa: ASYNC110 - real
                await trio.sleep(0.001)
            for frames in seen:
                assert versions(frames) == sorted(versions(frames))
                assert [f["id"] for f in frames if "id" in f] == list(range(rounds))


async def test_runs_and_edits_of_many_sockets_on_genuine_redis(redis: Server) -> None:
    limits: dict[str, Any] = {"requests_per_second": 1e6, "request_burst": 1_000}
    with trio.fail_after(60):
        async with open_app(redis_url=redis.url, **limits) as app, watched(app, 6) as (clients, seen):
            for number in range(60):
                async with trio.open_nursery() as nursery:
                    for place, client in enumerate(clients[:4]):
                        action = ("analyze", "trade", "analyze", "cancel")[(place + number) % 4]
                        fields = {} if action == "cancel" else {"ticker": "AAPL"}
                        fields |= {"shares": 1} if action == "trade" else {}  # type: ignore[dict-item]
                        nursery.start_soon(lambda c, a, f: c.send(a, **f), client, action, fields)
            await clients[0].send("analyze", ticker="MSFT", id="last")
            while not all(frames[-1]["type"] == "analysis_completed" for frames in seen):  # noqa: ASYNC110 - real
                await trio.sleep(0.001)
            for frames in seen:
                assert_orderly(frames)
            assert len({tuple(turns(frames)) for frames in seen}) == 1


def versions(frames: list[Frame]) -> list[int]:
    return [frame["version"] for frame in frames if frame["type"] == "portfolio"]


def turns(frames: list[Frame]) -> list[tuple[int, str, str | None]]:
    """Every start and end of a run that began, in order."""
    began = {f["run_id"] for f in frames if f["type"] == "analysis_started"}
    kinds = {"analysis_started", "analysis_completed", "analysis_cancelled", "analysis_failed"}
    return [
        (f["run_id"], f["type"], f.get("reason"))
        for f in frames
        if f["type"] in kinds and f.get("run_id") in began
    ]


def assert_orderly(frames: list[Frame], *, begun: bool = False) -> None:
    """Versions rise, each run that began ends once, and nothing of it comes outside its turn."""
    assert versions(frames) == sorted(versions(frames))
    current, outcomes = None, 0
    if begun:
        current = 0
    for frame in frames:
        kind, run_id = frame["type"], frame.get("run_id")
        if kind == "analysis_started":
            assert current is None
            current, outcomes = run_id, 0
        elif kind in {"analysis_result", "metric_error"}:
            assert current in {run_id, 0}
            outcomes += 1
        elif kind == "portfolio":
            named = frame["current_analysis"]
            assert current == 0 or (named and named["run_id"]) == current
        elif kind in {"analysis_completed", "analysis_cancelled", "analysis_failed"} and run_id is not None:
            assert kind != "analysis_completed" or current == 0 or outcomes == len(METRICS)
            current = None if current in {run_id, 0} else current
    assert current is None


async def test_who_cancels_right_after_an_edit_sees_the_end_that_the_edit_brought(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=(2, 5)) as app:
        editor, subscriber = await app.subscribe(), await app.subscribe()
        await editor.send("analyze", ticker="AAPL", id="a")
        await editor.until("analysis_started")
        # In one piece, so that the run's task has not ended when the cancellation is read.
        both = [
            {"action": "trade", "ticker": "AAPL", "shares": 1, "id": "t"},
            {"action": "cancel", "id": "c"},
        ]
        await editor.stream.send_all(b"".join(sent(TEXT, json.dumps(each).encode()) for each in both))
        for client in (editor, subscriber):
            frames = await client.silence(1)
            ends = [(f["type"], f["reason"]) for f in frames if f.get("run_id") == 1 and f["type"] in ENDS]
            assert ends == [("analysis_cancelled", "portfolio_changed")]
            assert frames[-1]["reason"] == "cancelled"
