"""Two servers on one store, in virtual time: sockets of a session may be on either."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.canonical import canonical
from portfolio_trio.peers.membership import HEARTBEATS_PER_TTL, WORKER_TTL_SECONDS
from portfolio_trio.redis import EmbeddedServer
from portfolio_trio.redis.errors import Unavailable
from portfolio_trio.settings import Delay
from portfolio_trio.store import StoreUnavailable
from portfolio_trio.supervisor.listeners import StartError
from tests.support.app import METRICS, App, Frame, open_app, open_pair, results
from tests.support.clock import virtual_wall_time
from tests.support.logs import events

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
RUN_EVENTS = {"analysis_started", "analysis_result", "metric_error", "analysis_completed"}


def kinds(frames: list[Frame]) -> list[tuple[str, int | None]]:
    return [(frame["type"], frame.get("run_id")) for frame in frames]


def die(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing of this server reaches the store, as after a kill."""

    async def gone(*_args: object, **_options: object) -> None:
        await trio.lowlevel.checkpoint()
        raise Unavailable("killed")

    monkeypatch.setattr(app.server._redis, "_call", gone)


async def test_the_newest_analyze_wins_whichever_server_it_reached(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        here, there = await one.connect(), await two.connect()
        await here.ask("get_portfolio")
        await there.ask("get_portfolio")
        await here.send("analyze", ticker="AAPL", id=1)
        await trio.sleep(1)
        started = trio.current_time()
        await there.send("analyze", ticker="MSFT")
        told = await here.receive()
        assert (told["type"], told["code"], told["id"]) == ("error", "superseded", 1)
        # Told by the other server, and not found out when the next result was refused.
        assert trio.current_time() - started < 0.1
        assert results(await there.take(5)) != []
        assert await here.silence(20) == []
        document = await one.document()
        assert {result["ticker"] for result in document["analysis_results"]} == {"MSFT"}
        assert document["current_analysis"] is None


async def test_subscribers_of_both_servers_see_the_same(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        requester = await one.connect()
        await requester.send("analyze", ticker="AAPL", id=7)
        seen = [await subscriber.until("analysis_completed") for subscriber in (here, there)]
        assert seen[0] == seen[1]
        assert kinds(seen[0])[0] == ("analysis_started", 1)
        assert len(results(seen[0])) == len(METRICS)
        await requester.send("trade", ticker="AAPL", shares=1)
        changed = [await subscriber.receive() for subscriber in (here, there)]
        assert changed[0] == changed[1]
        assert (changed[0]["type"], changed[0]["version"]) == ("portfolio", 2)


async def test_a_run_of_one_call_is_seen_on_the_other_server(autojump_clock: MockClock) -> None:
    async with open_pair() as (one, two):
        plain, watcher = await one.connect(), await two.subscribe()
        await plain.ask("get_portfolio")
        await plain.send("analyze", ticker="AAPL")
        with trio.fail_after(60):
            frames = await watcher.until("analysis_completed")
        assert frames[0]["type"] == "analysis_started"
        assert len(results(frames)) == len(METRICS)


async def test_an_edit_elsewhere_starts_the_run_again(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        subscriber = await one.subscribe()
        editor = await two.subscribe()
        await subscriber.send("analyze", ticker="AAPL")
        assert (await subscriber.receive())["version"] == 1
        await trio.sleep(1)
        edited = trio.current_time()
        await editor.send("trade", ticker="AAPL", shares=11)
        events = await subscriber.until("analysis_started")
        assert trio.current_time() - edited < 0.1
        assert kinds(events)[-1] == ("analysis_started", 2)
        assert events[-1]["version"] == 2
        assert [e["reason"] for e in events if e["type"] == "analysis_cancelled"] == ["portfolio_changed"]
        assert [e["holdings"]["AAPL"] for e in events if e["type"] == "portfolio"] == [111]
        rest = await editor.until("analysis_completed")
        assert kinds(rest)[-1] == ("analysis_completed", 2)
        assert {f["run_id"] for f in rest if f["type"] == "analysis_result"} == {2}


async def test_cancel_reaches_a_run_on_the_other_server(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner, here, there = await one.connect(), await one.subscribe(), await two.subscribe()
        canceller = await two.connect()
        await runner.send("analyze", ticker="AAPL")
        await here.until("analysis_started")
        await there.until("analysis_started")
        answer = await canceller.ask("cancel", id="c")
        assert (answer["type"], answer["run_id"], answer["ticker"]) == ("analysis_cancelled", 1, "AAPL")
        for subscriber in (here, there):
            (told,) = await subscriber.silence(10)
            assert (told["type"], told["run_id"], told["reason"]) == ("analysis_cancelled", 1, "cancelled")
        (told,) = await runner.silence(10)
        assert (told["type"], told["code"], told["run_id"]) == ("error", "cancelled", 1)
        assert (await one.document())["current_analysis"] is None
        assert (await one.document())["analysis_results"] == []
        # Nothing runs any longer, anywhere.
        assert "run_id" not in await canceller.ask("cancel", id="d")


async def test_a_superseded_run_is_over_for_subscribers_of_both_before_the_new_one(
    autojump_clock: MockClock,
) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        subscribers = [await one.subscribe(), await two.subscribe()]
        here, there = await one.connect(), await two.connect()
        for number in range(6):
            await (here, there)[number % 2].send("analyze", ticker=("AAPL", "MSFT", "GOOGL")[number % 3])
            await trio.sleep(2.5)
        for subscriber in subscribers:
            frames = await subscriber.until("analysis_completed")
            assert_orderly(frames)
            assert kinds(frames)[-1] == ("analysis_completed", 6)


def assert_orderly(frames: list[Frame]) -> None:
    """Runs follow each other: nothing of one before its start, after its end, or inside another."""
    current = None
    for frame in frames:
        kind, run_id = frame["type"], frame.get("run_id")
        if kind == "analysis_started":
            assert current is None, f"run {run_id} started inside run {current}"
            current = run_id
        elif kind in {"analysis_result", "metric_error"}:
            assert run_id == current, f"a result of run {run_id} inside run {current}"
        elif kind in {"analysis_completed", "analysis_cancelled", "analysis_failed"}:
            # A run that was cancelled before it started is reported as well.
            assert run_id == current or kind != "analysis_completed"
            current = None if run_id == current else current


async def test_a_late_subscriber_sees_what_runs_elsewhere_to_its_end(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner = await one.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await runner.until("analysis_started")
        subscriber = await two.connect(events=True)
        assert (await subscriber.receive())["current_analysis"]["run_id"] == 1
        frames = await subscriber.until("analysis_completed")
        assert len(results(frames)) == len(METRICS)
        await runner.until("analysis_completed")

        await runner.send("analyze", ticker="MSFT")
        await runner.until("analysis_started")
        late = await two.connect("s", events=True)
        await late.receive()
        await runner.send("cancel")
        assert kinds(await late.silence(10)) == [("analysis_cancelled", 2)]


async def test_a_socket_that_opens_while_a_run_is_cancelled_sees_its_end(
    autojump_clock: MockClock,
) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner = await one.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await runner.until("analysis_started")
        # The first server has not heard of the second: the cancellation goes to no inbox.
        subscriber = await two.connect(events=True)
        assert (await subscriber.receive())["current_analysis"]["run_id"] == 1
        await runner.send("cancel")
        told = await subscriber.silence(10)
        assert kinds(told) == [("analysis_cancelled", 1)]
        assert told[0]["reason"] == "cancelled"
        assert (await one.document())["current_analysis"] is None


async def test_the_last_socket_that_closes_detaches_its_server(autojump_clock: MockClock) -> None:
    async with open_pair() as (one, two):
        first, second, other = await one.subscribe(), await one.connect(), await two.subscribe()
        await second.ask("get_portfolio")
        assert len((await one.document())["attached"]) == 2
        await first.socket.aclose()
        await trio.sleep(1)
        assert len((await one.document())["attached"]) == 2
        await second.socket.aclose()
        await trio.sleep(1)
        assert (await two.document())["attached"] == [two.store.worker]
        await other.socket.aclose()


async def test_one_ticks_and_sweeps_and_all_have_its_prices(autojump_clock: MockClock) -> None:
    async with open_pair() as (one, two):
        assert (one.server.membership.leads, two.server.membership.leads) == (True, False)
        here, there = await one.subscribe(), await two.subscribe()
        # Not at the very moment of a tick.
        await trio.sleep(1)
        for tick in range(1, 4):
            await trio.sleep(30)
            books = [app.server.services.book.current for app in (one, two)]
            assert books[0].tick_id == books[1].tick_id
            assert books[0].prices == books[1].prices
            assert books[0].as_of == books[1].as_of
            updates = [await here.receive(), await there.receive()]
            assert updates[0] == updates[1]
            assert updates[0]["type"] == "portfolio_update"
            assert updates[0]["tick_id"] == books[0].tick_id, tick


async def test_a_name_that_one_server_admitted_has_one_price_on_both(autojump_clock: MockClock) -> None:
    async with open_pair() as (one, two):
        editor, subscriber = await two.connect(), await one.subscribe()
        changed = await editor.ask("set_holdings", holdings={"ZZTOP": 3})
        assert (await subscriber.receive())["total_value"] == changed["total_value"]
        before = two.server.services.book.current.prices["ZZTOP"]
        assert changed["total_value"] == canonical(3 * before)
        await trio.sleep(31)
        assert (await subscriber.receive())["total_value"] == canonical(3 * before)
        await trio.sleep(30)
        moved = [app.server.services.book.prices_for(["ZZTOP"]) for app in (one, two)]
        assert moved[0] == moved[1] != {"ZZTOP": before}


async def test_the_lease_goes_over_at_once_when_its_holder_ends(autojump_clock: MockClock) -> None:
    shared = EmbeddedServer(virtual_wall_time)
    async with open_app(embedded=shared) as one, open_app(embedded=shared) as two:
        assert one.server.membership.leads
        await one.server.membership.retire()
        # Long before the lease would have ended by itself.
        await trio.sleep(WORKER_TTL_SECONDS / HEARTBEATS_PER_TTL + 0.1)
        assert two.server.membership.leads


@pytest.mark.parametrize("interval", [4.0, 30.0])
async def test_a_killed_leader_is_followed_within_one_interval(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    async with open_pair(market_update_interval_seconds=interval) as (one, two):
        subscriber = await two.subscribe()
        await subscriber.until("portfolio_update")
        ticked = trio.current_time()
        await trio.sleep(interval * 0.9)
        die(one, monkeypatch)
        update = await subscriber.receive()
        # The tick was due at the end of the interval; it comes within one more.
        assert trio.current_time() - ticked <= 2 * interval
        assert two.server.membership.leads
        assert update["tick_id"] == two.server.services.book.current.tick_id
        await trio.sleep(interval)
        assert not one.server.membership.leads
        assert one.server.services.book.current.tick_id < update["tick_id"]


async def test_a_killed_servers_run_is_over_and_its_session_usable(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner, subscriber = await one.connect(), await two.subscribe()
        lonely = await one.connect("lonely")
        await runner.send("analyze", ticker="AAPL")
        await lonely.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        die(one, monkeypatch)
        killed = trio.current_time()
        told = (await subscriber.until("analysis_cancelled"))[-1]
        assert (told["run_id"], told["reason"]) == (1, "disconnected")
        assert trio.current_time() - killed <= WORKER_TTL_SECONDS * 1.5
        await trio.sleep(0.1)
        assert (await two.document())["current_analysis"] is None
        # No socket sees this one; the sweep clears it.
        assert (await two.document("lonely"))["current_analysis"] is not None
        await trio.sleep(60)
        lonely_document = await two.document("lonely")
        assert (lonely_document["current_analysis"], lonely_document["attached"]) == (None, [])
        assert (await two.document())["attached"] == [two.store.worker]


async def test_a_session_is_usable_at_once_when_its_server_was_killed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner, client = await one.connect(), await two.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        die(one, monkeypatch)
        await client.send("analyze", ticker="MSFT")
        frames = await client.until("analysis_completed")
        assert_orderly([{"type": "analysis_started", "run_id": 1}, *frames])
        assert frames[-1]["run_id"] == 2
        assert len(results(frames)) == len(METRICS)


async def test_a_server_that_counted_as_lost_reads_everything_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(metric_delay_seconds=SLOW) as (one, two):
        runner, subscriber, editor = await one.connect(), await one.subscribe(), await two.subscribe()
        await runner.send("analyze", ticker="AAPL", id=1)
        await editor.until("analysis_started")
        with monkeypatch.context() as patch:
            die(one, patch)
            await editor.until("analysis_cancelled")
            # Reading all the while, or the client would answer no ping.
            frames = await subscriber.silence(45)
            await editor.ask("trade", ticker="AAPL", shares=1)
        frames += await subscriber.until("portfolio")
        assert_orderly(frames)
        assert frames[-1]["holdings"]["AAPL"] == 101
        assert (await runner.receive())["id"] == 1
        document = await one.document()
        assert set(document["attached"]) == {one.store.worker, two.store.worker}
        # And hears again what happens elsewhere.
        await editor.send("trade", ticker="AAPL", shares=1)
        assert (await subscriber.until("portfolio"))[-1]["holdings"]["AAPL"] == 102


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_batch_that_could_not_be_sent_is_sent_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, *, arrives: bool
) -> None:
    async with open_pair() as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.ask("trade", ticker="AAPL", shares=1)
        assert (await there.receive())["version"] == 2
        client = one.server._redis
        execute = client.execute_command
        lost: list[object] = []

        async def lose_one(*args: Any, **options: Any) -> Any:
            if args[0] == "PUBLISH" and not lost:
                lost.append(args)
                if arrives:
                    await execute(*args, **options)
                raise Unavailable("it may be lost")
            return await execute(*args, **options)

        monkeypatch.setattr(client, "execute_command", lose_one)
        await here.ask("trade", ticker="AAPL", shares=1)
        frames = await there.silence(5)
        assert lost
        # Once, and without a look into the document.
        assert [(f["type"], f["version"]) for f in frames] == [("portfolio", 3)]


async def test_other_prices_on_the_same_store_are_refused(mock_clock: MockClock, tmp_path: Any) -> None:
    bars = tmp_path / "bars.csv"
    bars.write_text("date,AAPL,GOOGL,MSFT\n2026-11-17,1,2,3\n2026-11-18,1,2,3\n")
    shared = EmbeddedServer(virtual_wall_time)
    async with open_app(embedded=shared):
        with pytest.RaisesGroup(
            pytest.RaisesExc(StartError, match="take their prices from simulated"), flatten_subgroups=True
        ):
            async with open_app(embedded=shared, prices=f"csv:{bars}"):
                pass


async def test_a_store_that_is_away_for_a_while_costs_no_member(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair() as (one, two):
        with monkeypatch.context() as patch:
            die(one, patch)
            die(two, patch)
            await trio.sleep(100)
            with pytest.raises(StoreUnavailable):
                await one.document()
            assert not one.server.membership.leads
        await trio.sleep(40)
        assert [app.server.membership.leads for app in (one, two)].count(True) == 1
        ticks = [app.server.services.book.current for app in (one, two)]
        assert ticks[0].tick_id == ticks[1].tick_id
        assert len(events(caplog, "store_lost")) == 2


async def test_servers_that_drain_together_tell_each_others_subscribers(autojump_clock: MockClock) -> None:
    async with open_pair(metric_delay_seconds=Delay(50, 60), drain_seconds=5) as (one, two):
        runner, subscriber = await one.subscribe(), await two.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        async with trio.open_nursery() as nursery:
            for app in (one, two):
                nursery.start_soon(app.server.drain)
            told = (await subscriber.until("analysis_cancelled"))[-1]
            assert (told["run_id"], told["reason"]) == (1, "draining")
            assert await subscriber.closed() == 1001
            assert (await runner.until("analysis_cancelled"))[-1]["run_id"] == 1
            assert await runner.closed() == 1001


async def test_a_server_that_drains_alone_waits_for_a_run_elsewhere_no_longer_than_for_its_own(
    autojump_clock: MockClock,
) -> None:
    async with open_pair(metric_delay_seconds=SLOW, drain_seconds=1) as (one, two):
        runner, subscriber = await one.subscribe(), await two.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.server.drain)
            assert await subscriber.closed() == 1001
        assert trio.current_time() - began < 1 + 4
        # Running analyses continue.
        assert (await runner.until("analysis_completed"))[-1]["run_id"] == 1
