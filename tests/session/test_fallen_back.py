"""A lagging replica takes over under open sockets: numbers never decrease, and shown holdings are real."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.settings import Delay
from tests.hub.test_order import assert_orderly, versions
from tests.session.test_expired import two_apps
from tests.support.app import METRICS, App, Client, Frame

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)


async def fall_back(app: App, document: Frame) -> None:
    """The document is as it was once, as on a replica that had not got the rest."""
    await app.server._redis.execute_command("JSON.SET", "portfolio:{s}", "$", json.dumps(document))


async def run_of(client: Client, ticker: str = "AAPL") -> int:
    await client.send("analyze", ticker=ticker)
    with trio.fail_after(60):
        run_id: int = (await client.until("analysis_completed"))[-1]["run_id"]
    return run_id


async def advance(client: Client, times: int) -> None:
    """Edits and runs that are going to be lost."""
    for _ in range(times):
        await client.ask("trade", ticker="AAPL", shares=1)
        await run_of(client)


async def assert_shown(frames: list[Frame], app: App) -> None:
    """The last state that was shown is what the document holds."""
    document = await app.document()
    states = [f for f in frames if f["type"] == "portfolio"]
    assert (states[-1]["version"], states[-1]["holdings"]) == (document["version"], document["holdings"])


ASKED: dict[str, dict[str, Any]] = {
    "analyze": {"ticker": "AAPL"},
    "trade": {"ticker": "AAPL", "shares": 10},
    "set_holdings": {"holdings": {"AAPL": 1, "MSFT": 1}},
    "get_portfolio": {},
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("asks_first", ["who knew", "a new subscriber", "the other server"])
async def test_numbers_do_not_fall_and_the_truth_is_shown(
    autojump_clock: MockClock, asked: str, asks_first: str
) -> None:
    async with two_apps() as (one, two):
        client, subscriber, there = await one.subscribe(), await one.subscribe(), await two.subscribe()
        await advance(client, 1)
        lagging = await one.document()
        await advance(client, 3)
        seen = {each: await each.silence(1) for each in (subscriber, there)}
        await fall_back(one, lagging)
        if asks_first == "a new subscriber":
            client = await one.connect(events=True)
            first = await client.receive()
            assert (first["version"], first["holdings"]["AAPL"]) == (6, 101)
        elif asks_first == "the other server":
            client = there
        await client.send(asked, **ASKED[asked], id="mine")
        after = await client.silence(1)
        answered = [f for f in after if f.get("id") == "mine"]
        assert answered
        assert not [f for f in answered if f["type"] in {"error", "analysis_failed"}]
        if asked == "analyze":
            assert {f["run_id"] for f in answered if "run_id" in f and f["run_id"] is not None} == {5}
            assert sum(f["type"] == "analysis_result" for f in answered) == len(METRICS)
        for each, frames in seen.items():
            frames.extend(await each.silence(1))
            if each is client:
                frames.extend(after)
            assert versions(frames) == sorted(versions(frames))
            assert max(versions(frames)) > 5
            runs = [f["run_id"] for f in frames if f["type"] == "analysis_started"]
            assert runs == sorted(set(runs))
            if each is not client:
                await assert_shown(frames, one)
        last = await run_of(there)
        await subscriber.silence(1)
        assert await run_of(subscriber) == last + 1


@pytest.mark.parametrize("survives", ["the run", "some results", "nothing of it", "only its edit is lost"])
async def test_a_run_in_progress_starts_again_by_itself(autojump_clock: MockClock, survives: str) -> None:
    async with two_apps(metric_delay_seconds=SLOW) as (one, two):
        client, plain, subscriber = await one.subscribe(), await two.connect(), await two.subscribe()
        await plain.ask("get_portfolio")
        before = await one.document()
        await client.ask("trade", ticker="AAPL", shares=1)
        edited = await one.document()
        await plain.send("analyze", ticker="AAPL", id="mine")
        await trio.sleep(1)
        started = await one.document()
        await trio.sleep(2)
        assert (await one.document())["current_analysis"]["recorded"] > 0
        lagging = {
            "the run": started,
            "some results": {**await one.document(), "current_analysis": started["current_analysis"]},
            "nothing of it": edited,
            "only its edit is lost": {**started, "version": 1, "holdings": before["holdings"]},
        }[survives]
        await fall_back(one, lagging)
        frames = await plain.silence(30)
        assert not [f for f in frames if "code" in f], frames
        assert [f["run_id"] for f in frames[-5:]] == [2] * 5
        events = await subscriber.silence(1)
        assert_orderly(events)
        assert [f["reason"] for f in events if f["type"] == "analysis_cancelled"] == ["portfolio_changed"]
        await assert_shown(events, one)
        document = await one.document()
        assert document["current_analysis"] is None
        assert [r["metric"] for r in document["analysis_results"] if r["run_id"] == 2] == [
            f["metric"] for f in frames[-5:]
        ]


@pytest.mark.parametrize("asked", ["trade", "get_portfolio"])
@pytest.mark.parametrize("runs_on", [0, 1])
async def test_a_run_starts_again_when_somebody_else_finds_out(
    autojump_clock: MockClock, asked: str, runs_on: int
) -> None:
    async with two_apps(metric_delay_seconds=SLOW) as (one, two):
        client, runner = await one.subscribe(), await (one, two)[runs_on].subscribe()
        await client.ask("trade", ticker="AAPL", shares=1)
        lagging = await one.document()
        await runner.send("analyze", ticker="AAPL", id="mine")
        await trio.sleep(1)
        await fall_back(one, lagging)
        await client.send(asked, **ASKED[asked])
        events = await runner.silence(30)
        assert_orderly(events)
        mine = [f for f in events if f.get("id") == "mine"]
        started = [f["run_id"] for f in mine if f["type"] == "analysis_started"]
        # Once more if it has started again before the trade: on the holdings before that.
        assert started == [1, 2] or (asked == "trade" and started == [1, 2, 3])
        assert (mine[-1]["type"], mine[-1]["run_id"]) == ("analysis_completed", started[-1])
        await assert_shown(events, one)


async def test_a_tick_finds_out_where_nobody_asks(autojump_clock: MockClock) -> None:
    async with two_apps() as (one, two):
        client, subscribers = await one.subscribe(), [await one.subscribe(), await two.subscribe()]
        lagging = await one.document()
        await advance(client, 2)
        frames = [await subscriber.silence(1) for subscriber in subscribers]
        await fall_back(one, lagging)
        await one.server.updater.tick()
        for seen, subscriber in zip(frames, subscribers, strict=True):
            seen.extend(await subscriber.silence(1))
            assert versions(seen) == sorted(versions(seen))
            assert versions(seen)[-1] == 4
            await assert_shown(seen, one)


async def test_a_document_that_went_on_to_the_same_version_is_found_out(autojump_clock: MockClock) -> None:
    """A worker that had not heard of the lost edit makes another one, which gets its number."""
    async with two_apps() as (one, two):
        client, there = await one.subscribe(), await two.subscribe()
        lagging = await one.document()
        group = two.server.services.hub.group("s")
        assert group is not None
        peer_subscriber = two.server.services.peer_subscriber
        take, peer_subscriber._take = peer_subscriber._take, lambda *_: None  # type: ignore[method-assign]
        await client.ask("trade", ticker="AAPL", shares=1)
        await wait_all_tasks_blocked()
        peer_subscriber._take = take  # type: ignore[method-assign]
        await fall_back(one, lagging)
        await there.send("trade", ticker="AAPL", shares=50, id="other")
        seen = [await each.silence(1) for each in (client, there)]
        assert [f["version"] for f in seen[1] if f.get("id") == "other"] == [2]
        for frames in seen:
            assert versions(frames) == sorted(versions(frames))
            assert versions(frames)[-1] == 3
            assert frames[-1]["holdings"]["AAPL"] == 150


async def test_an_edit_for_a_version_that_was_lost_is_refused(autojump_clock: MockClock) -> None:
    async with two_apps() as (one, _):
        client = await one.subscribe()
        lagging = await one.document()
        await client.ask("trade", ticker="AAPL", shares=1)
        await fall_back(one, lagging)
        await client.send("trade", ticker="AAPL", shares=1, version=2, id="mine")
        told = await client.silence(1)
        assert [f.get("code") for f in told if f.get("id") == "mine"] == ["version_conflict"]
        assert versions(told) == [3]
        await assert_shown(told, one)
