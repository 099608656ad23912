"""A session that expires under open sockets: reported once, and working again at the next request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.settings import Delay
from portfolio_trio.store import SessionMissing
from tests.support.app import HOLDINGS, METRICS, App, Frame, open_app, open_pair, results

pytestmark = pytest.mark.trio

TTL = 100


@asynccontextmanager
async def two_apps(**settings: Any) -> AsyncIterator[tuple[App, App]]:
    idle = {"session_ttl_seconds": TTL, "market_update_interval_seconds": 10_000}
    async with open_pair(**{**idle, **settings}) as apps:
        yield apps


async def lose(app: App) -> None:
    """The document is gone, as after FLUSHALL or a restart without persistence."""
    await app.server._redis.delete("portfolio:{s}")


def gist(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [
        (f["type"], f.get("code") or f.get("reason") or f.get("version"), f.get("run_id"))
        for f in frames
        if f["type"] != "analysis_result"
    ]


RUN_ONE = [("analysis_started", 1, 1), ("analysis_completed", None, 1)]
EXPIRED = ("error", "session_expired", None)


async def test_a_client_that_only_analyzes_is_told_once(autojump_clock: MockClock) -> None:
    async with open_app(session_ttl_seconds=TTL) as app:
        client = await app.connect()
        for _ in range(3):
            for run_id in (1, 2):
                await client.send("analyze", ticker="AAPL")
                with trio.fail_after(60):
                    frames = await client.take(len(METRICS))
                assert [f["run_id"] for f in frames] == [run_id] * len(METRICS)
            await trio.sleep(TTL + 1)
            with trio.fail_after(60):
                assert (await client.ask("analyze", ticker="AAPL"))["code"] == "session_expired"


async def test_earlier_edits_and_runs_do_not_matter_in_the_new_document(autojump_clock: MockClock) -> None:
    async with two_apps() as (one, two):
        client, subscriber = await one.subscribe(), await two.subscribe()
        for _ in range(3):
            await client.ask("trade", ticker="AAPL", shares=1)
            await client.send("analyze", ticker="AAPL")
            await client.until("analysis_completed")
        await subscriber.silence(1)
        await lose(one)
        assert (await client.ask("get_portfolio"))["code"] == "session_expired"
        assert gist(await subscriber.silence(1)) == []
        await client.send("get_portfolio", id=1)
        made = await client.silence(1)
        assert [(f["version"], f["holdings"]["AAPL"], f.get("id")) for f in made][-1] == (1, 100, 1)
        await client.send("analyze", ticker="AAPL")
        assert gist(await client.silence(1)) == RUN_ONE
        # The subscriber on the other worker asked nothing, and is told all of it.
        assert gist(await subscriber.silence(1)) == [EXPIRED, ("portfolio", 1, None), *RUN_ONE]
        await subscriber.send("trade", ticker="AAPL", shares=1, id=2)
        assert gist(await subscriber.silence(1)) == [("portfolio", 2, None)]
        assert gist(await client.silence(1)) == [("portfolio", 2, None)]


async def test_each_state_names_the_document_it_is_of(autojump_clock: MockClock) -> None:
    """A version or run id of before the loss may come again: only this tells them apart."""
    async with two_apps() as (one, two):
        client, subscriber = await one.connect(events=True), await two.subscribe()
        states = [await client.receive(), await client.ask("get_portfolio")]
        states.append(await client.ask("trade", ticker="AAPL", shares=1))
        states.append(await client.ask("set_holdings", holdings={"AAPL": 3}))
        states.append(await client.ask("set_targets", weights={"AAPL": 1}))
        before = {state["incarnation"] for state in (*states, *await subscriber.silence(1))}
        assert len(before) == 1
        await lose(one)
        assert (await client.ask("get_portfolio"))["code"] == "session_expired"
        again = await client.ask("get_portfolio")
        assert again["version"] == 1
        assert again["incarnation"] not in before
        later = [frame for frame in await subscriber.silence(1) if frame["type"] == "portfolio"]
        assert {frame["incarnation"] for frame in later} == {again["incarnation"]}


@pytest.mark.parametrize("request_of", ["analyze", "trade", "get_portfolio", "set_holdings"])
@pytest.mark.parametrize("events", [False, True])
async def test_each_socket_is_told_once_whatever_it_asks(
    autojump_clock: MockClock, request_of: str, *, events: bool
) -> None:
    fields: dict[str, dict[str, Any]] = {
        "analyze": {"ticker": "AAPL"},
        "trade": {"ticker": "AAPL", "shares": 1},
        "get_portfolio": {},
        "set_holdings": {"holdings": {"AAPL": 1}},
    }
    async with two_apps() as (one, two):
        sockets = [await app.connect(events=events) for app in (one, one, two)]
        for socket in sockets:
            await socket.ask("get_portfolio")
            await socket.send("analyze", ticker="AAPL")
            await socket.silence(1)
        for socket in sockets:
            await socket.silence(1)
        await lose(one)
        seen: list[list[Frame]] = [[] for _ in sockets]
        for _ in range(3):
            for place, socket in enumerate(sockets):
                await socket.send(request_of, **fields[request_of], id=place)
                seen[place] += await socket.silence(1)
        for place, socket in enumerate(sockets):
            frames = [*seen[place], *await socket.silence(1)]
            told = [f for f in frames if f.get("code") == "session_expired"]
            assert len(told) == 1, gist(frames)
            versions = [f["version"] for f in frames if f["type"] == "portfolio"]
            assert versions == sorted(versions)
            assert not [f for f in frames if f["type"] == "error" and f["code"] != "session_expired"]
        if request_of == "analyze":
            assert len(results(seen[0])) >= 2 * len(METRICS)


async def test_a_reset_in_the_middle_of_a_run(autojump_clock: MockClock) -> None:
    async with two_apps(metric_delay_seconds=Delay(2, 5)) as (one, two):
        client, other, subscriber = await one.subscribe(), await two.subscribe(), await two.subscribe()
        await client.send("analyze", ticker="AAPL", id="old")
        await client.until("analysis_started")
        await subscriber.until("analysis_started")
        await lose(one)
        # Created again by the other worker, with a run of the same number on the same version.
        assert (await other.until("analysis_started"))[-1]["run_id"] == 1
        assert (await other.ask("get_portfolio"))["code"] == "session_expired"
        await other.send("analyze", ticker="MSFT", id="new")
        frames = await other.silence(20)
        assert {f["ticker"] for f in frames if f["type"] == "analysis_result"} == {"MSFT"}
        assert gist(frames)[-2:] == RUN_ONE
        assert {r["ticker"] for r in (await one.document())["analysis_results"]} == {"MSFT"}
        told = await client.silence(1)
        assert sum(f.get("code") == "session_expired" for f in told if f["type"] == "error") == 1
        assert sum(f["type"] in {"analysis_failed", "analysis_cancelled"} for f in told) == 1
        assert gist(told)[-1] == RUN_ONE[-1]
        assert [f["type"] for f in told if f.get("id") == "old"][-1] in {
            "analysis_failed",
            "analysis_cancelled",
        }


async def test_an_answer_of_the_old_document_that_comes_late_is_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        subscriber, late = await app.subscribe(), await app.connect()
        await subscriber.ask("trade", ticker="AAPL", shares=1)
        store, arrived = app.store, trio.Event()

        class Late:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            async def get_portfolio(self, *args: Any, **more: Any) -> Any:
                app.server.services.store = store
                opened = await store.get_portfolio(*args, **more)
                await arrived.wait()
                return opened

        app.server.services.store = Late()  # type: ignore[assignment]
        late = await app.connect(events=True)
        await wait_all_tasks_blocked()
        await lose(app)
        assert (await subscriber.ask("get_portfolio"))["code"] == "session_expired"
        assert (await subscriber.ask("get_portfolio"))["version"] == 1
        arrived.set()
        assert (await late.receive())["version"] == 1
        await subscriber.send("analyze", ticker="AAPL")
        assert gist(await late.silence(1)) == RUN_ONE


async def test_a_session_expires_when_idle_and_market_ticks_do_not_keep_it(
    autojump_clock: MockClock,
) -> None:
    async with open_app(session_ttl_seconds=3_600, market_update_interval_seconds=600) as app:
        client = await app.connect()
        await client.ask("set_holdings", holdings={"MSFT": 1})
        await trio.sleep(3_600 - 1)
        assert (await client.ask("get_portfolio"))["version"] == 2
        await trio.sleep(3_600 - 1)
        assert (await app.document())["version"] == 2
        await trio.sleep(2)
        answer = await client.ask("analyze", ticker="MSFT")
        assert answer["code"] == "session_expired"
        assert answer["retryable"] is True
        portfolio = await client.ask("get_portfolio")
        assert (portfolio["version"], portfolio["holdings"]) == (1, HOLDINGS)


async def test_what_an_expired_session_left_is_never_shown_as_the_clients_portfolio(
    autojump_clock: MockClock,
) -> None:
    async with open_app(session_ttl_seconds=3_600) as app:
        client = await app.connect()
        await client.ask("set_holdings", holdings={"MSFT": 1})
        await trio.sleep(3_601)
        answer = await client.ask("get_portfolio", id=1)
        assert (answer["id"], answer["code"]) == (1, "session_expired")
        # Reported once; the next request opens it again.
        portfolio = await client.ask("get_portfolio", id=2)
        assert (portfolio["version"], portfolio["holdings"]) == (1, HOLDINGS)
        assert (await client.ask("trade", ticker="MSFT", shares=1))["version"] == 2


async def test_who_only_watches_is_told_at_the_next_market_update(autojump_clock: MockClock) -> None:
    async with open_pair(session_ttl_seconds=TTL, market_update_interval_seconds=30) as (one, two):
        watchers = [await one.subscribe(), await two.subscribe()]
        plain = await one.connect()
        for watcher in watchers:
            await watcher.silence(1)
        await lose(one)
        for watcher in watchers:
            frames = await watcher.silence(61)
            # Once, and nothing that looks like a live value.
            assert gist(frames) == [EXPIRED]
        assert await plain.silence(1) == []
        await watchers[0].send("get_portfolio", id=1)
        for watcher in watchers:
            assert gist(await watcher.silence(1))[-1] == ("portfolio", 1, None)
        await watchers[0].send("analyze", ticker="AAPL", id=2)
        for watcher in watchers:
            assert gist(await watcher.silence(1)) == RUN_ONE
        assert (await plain.ask("get_portfolio"))["code"] == "session_expired"
        assert (await plain.ask("get_portfolio"))["version"] == 1


async def test_a_session_that_was_created_again_during_the_market_update_has_not_expired(
    autojump_clock: MockClock,
) -> None:
    async with open_app(session_ttl_seconds=TTL, market_update_interval_seconds=30) as app:
        watcher, other = await app.subscribe(), await app.connect()
        await watcher.silence(1)
        store, peek = app.server.services.store, app.server.services.store.peek_portfolio

        async def late(session_id: str) -> Any:
            try:
                return await peek(session_id)
            except SessionMissing:
                # The reply is read only after a request has been answered.
                assert (await other.ask("get_portfolio"))["code"] == "session_expired"
                assert (await other.ask("get_portfolio"))["version"] == 1
                raise

        store.peek_portfolio = late  # type: ignore[method-assign]
        await lose(app)
        # Told once, with the new state; not again for the document that the sweep looked for.
        frames = gist(await watcher.silence(31))
        assert frames[:2] == [EXPIRED, ("portfolio", 1, None)]
        assert EXPIRED not in frames[2:]
