"""Orphaned runs in a document: cleared automatically, and their end is reported."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.peers.orphans import ORPHANS, Orphan, Orphans
from portfolio_trio.session.analysis import START_SECONDS
from portfolio_trio.settings import Delay
from portfolio_trio.store import StoreUnavailable
from tests.session.test_expired import two_apps
from tests.support.app import App, open_app

pytestmark = pytest.mark.trio


class Wire:
    """A store whose calls may be carried out although no caller gets the reply, as with a real connection."""

    def __init__(self, app: App) -> None:
        self._store = app.store
        self._app = app
        self.lag = 0.0
        self.lost: set[str] = set()
        self.away: set[str] = set()
        services: Any = app.server.services
        services.store = self
        services.peer_subscriber._orphans._store = self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in {"start_analysis", "record_results", "finish_analysis"}:
            return method

        async def call(*args: Any, **more: Any) -> Any:
            await trio.lowlevel.checkpoint()
            if name in self.away:
                raise StoreUnavailable("away", sent=False)
            replies: list[Any] = []
            arrived = trio.Event()

            async def carry_out() -> None:
                # The caller may be gone; a call that was sent is carried out.
                await trio.sleep(self.lag)
                replies.append(await method(*args, **more))
                arrived.set()

            self._app.nursery.start_soon(carry_out)
            await arrived.wait()
            if name in self.lost:
                raise StoreUnavailable("the connection was lost", sent=True)
            return replies[0]

        return call


async def current_of(app: App) -> Any:
    return (await app.document())["current_analysis"]


async def test_a_start_that_comes_too_late_does_not_stay(autojump_clock: MockClock) -> None:
    # With metrics that take their time: a start that takes all results leaves no run behind.
    async with two_apps(metric_delay_seconds=Delay(2, 2)) as (one, two):
        client, subscriber = await one.subscribe(), await two.subscribe()
        wire = Wire(one)
        wire.lag = START_SECONDS + 1
        await client.send("analyze", ticker="AAPL", id=1)
        failed = await client.receive()
        assert (failed["type"], failed["code"]) == ("analysis_failed", "unavailable")
        await trio.sleep(2 * wire.lag)
        assert await current_of(one) is None
        wire.lag = 0
        await client.send("analyze", ticker="AAPL", id=2)
        assert (await client.until("analysis_completed"))[-1]["run_id"] == 2
        await subscriber.until("analysis_completed")


async def test_a_start_whose_reply_is_lost_does_not_stay(autojump_clock: MockClock) -> None:
    async with two_apps(metric_delay_seconds=Delay(2, 2)) as (one, two):
        client = await one.subscribe()
        wire = Wire(one)
        wire.lost, wire.away = {"start_analysis"}, {"finish_analysis"}
        await client.send("analyze", ticker="AAPL")
        assert (await client.receive())["type"] == "analysis_failed"
        await trio.sleep(1)
        # A new socket is shown the state in the document.
        subscriber = await two.connect(events=True)
        assert (await subscriber.receive())["current_analysis"]["run_id"] == 1
        assert await current_of(one) is not None
        wire.away = set()
        await one.server.updater.tick()
        with trio.fail_after(60):
            ended = await subscriber.until("analysis_cancelled")
        assert (ended[-1]["run_id"], ended[-1]["reason"]) == (1, "disconnected")
        assert await current_of(one) is None
        assert not len(one.server.services.peer_subscriber._orphans)
        began = trio.current_time()
        await two.server.drain()
        assert trio.current_time() - began < 1


async def test_a_start_that_took_all_results_and_whose_reply_is_lost_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        client = await app.subscribe()
        wire = Wire(app)
        wire.lost = {"start_analysis"}
        await client.send("analyze", ticker="AAPL")
        assert (await client.receive())["type"] == "analysis_failed"
        assert await current_of(app) is None
        wire.lost = set()
        await client.send("analyze", ticker="AAPL")
        frames = await client.until("analysis_completed")
        assert {frame["run_id"] for frame in frames} == {2}
        await trio.sleep(1)
        # Recorded first, streamed second: unseen results of the first run are in the document, once.
        recorded = [result["run_id"] for result in (await app.document())["analysis_results"]]
        assert recorded == [1] * 5 + [2] * 5


async def test_cancel_clears_what_nobody_carries_out(autojump_clock: MockClock) -> None:
    async with two_apps() as (one, two):
        client, subscriber = await one.subscribe(), await two.subscribe()
        await one.store.start_analysis("s", ticker="AAPL", started_at="2026-11-18T11:06:40.000Z", tick_id=1)
        late = await two.connect("s", events=True)
        await late.receive()
        answer = await client.ask("cancel", id=1)
        assert (answer["type"], answer["run_id"], answer["reason"]) == ("analysis_cancelled", 1, "cancelled")
        assert await current_of(one) is None
        assert [f["run_id"] for f in await subscriber.silence(1)] == [1]
        assert "run_id" not in await client.ask("cancel", id=2)


async def test_a_run_that_could_not_be_cleared_when_its_socket_went_is_cleared_later(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=Delay(1, 1), market_update_interval_seconds=10_000) as app:
        client = await app.subscribe()
        wire = Wire(app)
        store: Any = wire

        async def fail(*_args: Any, **_more: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("away", sent=False)

        wire.away = {"finish_analysis"}
        store.record_results = fail
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_failed")
        await client.stream.aclose()
        await trio.sleep(5)
        assert await current_of(app) is not None
        wire.away = set()
        await app.server.updater.tick()
        await trio.sleep(1)
        assert await current_of(app) is None


async def test_few_are_remembered() -> None:
    orphans = Orphans(None)  # type: ignore[arg-type] # nothing is asked
    for number in range(ORPHANS + 10):
        orphans.adopt(Orphan("s", "x", number))
    assert len(orphans) == ORPHANS
    assert orphans.all[0].run_id == 10


async def test_who_has_seen_a_run_end_does_not_cancel_it_again(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 5)) as app:
        client, subscriber = await app.subscribe(), await app.subscribe()
        wire = Wire(app)
        wire.away |= {"record_results", "finish_analysis"}
        await client.send("analyze", ticker="AAPL")
        assert (await client.until("analysis_failed"))[-1]["run_id"] == 1
        wire.away.clear()
        assert await current_of(app) is not None
        answer = await client.ask("cancel", id="c")
        assert answer == {"id": "c", "type": "analysis_cancelled", "reason": "cancelled"}
        assert await current_of(app) is None
        assert [f["type"] for f in await subscriber.silence(1)] == ["analysis_started", "analysis_failed"]
