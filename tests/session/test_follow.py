"""A followed analysis: a run after each tick and each change, each with one end, until something ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from portfolio_trio.right_of_way import PATIENCE_SECONDS
from portfolio_trio.session.connection import Session
from portfolio_trio.session.run_task import MAX_RESTARTS
from portfolio_trio.session.services import FOLLOWERS_AT_ONCE
from portfolio_trio.settings import Delay
from portfolio_trio.store import Portfolio, PortfolioStore
from tests.support.app import App, Client, open_app

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.support.app import Frame

pytestmark = pytest.mark.trio

INTERVAL = 5.0
ENDS = ("analysis_completed", "analysis_cancelled", "analysis_failed")


async def follow(app: App, *, events: bool = True, ticker: str = "AAPL", **fields: object) -> Client:
    client = await app.connect(events=events)
    if events:
        assert (await client.receive())["type"] == "portfolio"
    await client.send("analyze", ticker=ticker, follow=True, id="f", **fields)
    return client


def ends(frames: list[Frame]) -> list[tuple[str, int, object]]:
    found = [frame for frame in frames if frame["type"] in ENDS and "run_id" in frame]
    return [(frame["type"], frame["run_id"], frame.get("reason")) for frame in found]


def check_laws(frames: list[Frame]) -> None:
    """One end for each start, and nothing of a run after its end or after the start of a newer one."""
    open_run, seen = None, 0
    for frame in frames:
        if frame["type"] == "analysis_started":
            assert open_run is None
            assert frame["run_id"] > seen
            open_run = seen = frame["run_id"]
        elif frame["type"] in {"analysis_result", "metric_error"}:
            assert frame["run_id"] == open_run
        elif frame["type"] in ENDS and frame.get("run_id") is not None:
            # One that ends before it has its snapshot has not started.
            assert frame["run_id"] == open_run or (open_run is None and frame["run_id"] > seen)
            open_run = None


async def test_each_tick_brings_a_run_of_its_own(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        client = await follow(app)
        frames = await client.silence(3.5 * INTERVAL)
        check_laws(frames)
        assert ends(frames) == [("analysis_completed", number, None) for number in (1, 2, 3, 4)]
        completed = [frame for frame in frames if frame["type"] == "analysis_completed"]
        assert all(frame["following"] is True and frame["id"] == "f" for frame in completed)
        ticks = [frame["tick_id"] for frame in frames if frame["type"] == "analysis_started"]
        assert ticks == sorted(set(ticks))
        document = await app.document()
        assert document["run_counter"] == 4
        assert len(document["analysis_results"]) == 20
        assert document["current_analysis"] is None


async def test_a_change_brings_one_at_once(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=600, freshness_tolerance=1.0) as app:
        client, other = await follow(app), await app.connect()
        await client.until("analysis_completed")
        assert (await other.ask("trade", ticker="AAPL", shares=1))["type"] == "portfolio"
        frames = await client.silence(1)
        check_laws(frames)
        assert ends(frames) == [("analysis_completed", 2, None)]
        assert (await other.ask("set_targets", weights={"AAPL": 1}))["version"] == 3
        frames = await client.silence(1)
        assert ends(frames) == [("analysis_completed", 3, None)]
        started = next(frame for frame in frames if frame["type"] == "analysis_started")
        assert started["version"] == 3


@pytest.mark.parametrize(
    ("action", "fields", "asker"),
    [
        ("cancel", {}, "itself"),
        ("cancel", {"of": "f"}, "itself"),
        ("analyze", {"ticker": "MSFT"}, "itself"),
        ("cancel", {}, "another"),
        ("analyze", {"ticker": "MSFT"}, "another"),
    ],
)
async def test_it_ends_while_it_waits(
    action: str, fields: dict[str, object], asker: str, autojump_clock: MockClock
) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        socket = client if asker == "itself" else await app.connect()
        await socket.send(action, **fields)
        frames = await client.silence(4 * INTERVAL)
        check_laws(frames)
        expected = [("analysis_completed", 2, None)] if action == "analyze" else []
        assert ends(frames) == expected
        assert not any(frame.get("following") for frame in frames)


@pytest.mark.parametrize("action", ["cancel", "analyze"])
async def test_it_ends_while_it_runs(action: str, autojump_clock: MockClock) -> None:
    async with open_app(
        market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0, metric_delay_seconds="2,2"
    ) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        await client.until("analysis_started")
        await client.send(action, **({} if action == "cancel" else {"ticker": "MSFT"}))
        frames = await client.silence(4 * INTERVAL)
        reason = "cancelled" if action == "cancel" else "switched"
        assert ends(frames)[0] == ("analysis_cancelled", 2, reason)
        assert len(ends(frames)) == (1 if action == "cancel" else 2)


async def test_ticks_while_it_runs_bring_one_run(autojump_clock: MockClock) -> None:
    async with open_app(
        market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0, metric_delay_seconds="12,12"
    ) as app:
        client = await follow(app)
        frames = await client.silence(38)
        check_laws(frames)
        assert [end[0] for end in ends(frames)] == ["analysis_completed"] * 3


async def test_no_number_of_changes_during_a_run_ends_it(autojump_clock: MockClock) -> None:
    async with open_app(
        market_update_interval_seconds=600, metric_delay_seconds=Delay(10, 10), freshness_tolerance=1.0
    ) as app:
        client, other = await follow(app), await app.connect()
        for _ in range(MAX_RESTARTS + 5):
            await trio.sleep(1)
            assert (await other.ask("trade", ticker="AAPL", shares=1))["type"] == "portfolio"
        frames = await client.silence(15)
        check_laws(frames)
        assert ends(frames)[-1] == ("analysis_completed", MAX_RESTARTS + 6, None)
        assert [frame for frame in frames if frame["type"] == "error"] == []
        assert frames[-1]["following"] is True


async def test_a_client_without_the_subprotocol_gets_the_results_of_each_run(
    autojump_clock: MockClock,
) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        client = await follow(app, events=False)
        frames = await client.silence(2.5 * INTERVAL)
        assert [frame["run_id"] for frame in frames] == [1] * 5 + [2] * 5 + [3] * 5
        other = await app.connect()
        await other.send("analyze", ticker="MSFT")
        (told,) = await client.silence(3 * INTERVAL)
        assert (told["type"], told["code"], told["id"]) == ("error", "superseded", "f")


async def test_what_cannot_be_analysed_any_more_ends_it(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        await client.send("trade", ticker="AAPL", shares=-100)
        frames = await client.silence(4 * INTERVAL)
        check_laws(frames)
        assert [end[0] for end in ends(frames)] == ["analysis_failed"]


async def test_a_drain_ends_it(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=600) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.drain)
            assert await client.closed() == 1001
        assert trio.current_time() - began < 2.0


@pytest.mark.parametrize("way", ["cancel", "disconnect"])
async def test_the_other_sockets_see_that_the_following_ended(way: str, autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=600) as app:
        client = await follow(app)
        other, watcher = await app.connect(events=True), await app.connect(events=True)
        await client.until("analysis_completed")
        await other.silence(1)
        await watcher.silence(1)
        if way == "cancel":
            await other.send("cancel", id="c")
        else:
            await client.socket.aclose()
        told = [frame for frame in await watcher.silence(1) if frame["type"] == "analysis_cancelled"]
        reason = "cancelled" if way == "cancel" else "disconnected"
        assert [(f["ticker"], f["reason"], f.get("run_id")) for f in told] == [("AAPL", reason, None)]
        heard = [frame for frame in await other.silence(1) if frame["type"] == "analysis_cancelled"]
        assert [frame.get("id") for frame in heard] == ["c" if way == "cancel" else None]
        if way == "cancel":
            own = [frame for frame in await client.silence(1) if frame["type"] == "analysis_cancelled"]
            assert [frame["id"] for frame in own] == ["f"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_client_without_the_subprotocol_is_told_that_another_one_cancelled(
    waits: bool,  # noqa: FBT001 - a parameter
    autojump_clock: MockClock,
) -> None:
    slow: dict[str, Any] = {} if waits else {"metric_delay_seconds": "2,2"}
    async with open_app(market_update_interval_seconds=600, **slow) as app:
        client, other = await follow(app, events=False), await app.connect()
        if waits:
            await client.silence(1)
        assert (await other.ask("cancel", id="c"))["type"] == "analysis_cancelled"
        told = await client.silence(5)
        assert [(frame["type"], frame["code"], frame["id"]) for frame in told] == [
            ("error", "cancelled", "f")
        ]


async def test_a_client_without_the_subprotocol_that_cancels_is_answered_once(
    autojump_clock: MockClock,
) -> None:
    async with open_app(market_update_interval_seconds=600) as app:
        client = await follow(app, events=False)
        await client.silence(1)
        await client.send("cancel", id="c")
        assert [(frame["type"], frame.get("id")) for frame in await client.silence(5)] == [
            ("analysis_cancelled", "c")
        ]


async def test_a_disconnect_ends_it(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        await client.socket.aclose()
        await trio.sleep(3 * INTERVAL)
        assert (await app.document())["run_counter"] == 1


async def test_one_that_was_asked_for_meanwhile_is_not_replaced_at_the_next_tick(
    autojump_clock: MockClock,
) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        # By a worker whose report did not arrive.
        await app.store.start_analysis("s", ticker="MSFT", started_at="2026-01-01T00:00:00Z", tick_id=1)
        frames = await client.silence(4 * INTERVAL)
        cancelled = [frame for frame in frames if frame["type"] == "analysis_cancelled"]
        assert [(frame["reason"], frame.get("run_id")) for frame in cancelled] == [("superseded", None)]
        assert (await app.document())["current_analysis"]["ticker"] == "MSFT"


async def test_many_that_follow_all_get_their_run(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        clients = []
        for number in range(12):
            client = await app.connect(f"s{number}", events=True)
            await client.send("analyze", ticker="AAPL", follow=True)
            clients.append(client)
        for client in clients:
            await client.until("analysis_completed")
        with trio.fail_after(3 * INTERVAL):
            for client in clients:
                check_laws(await client.until("analysis_completed"))
        assert app.server.services.followers.free == FOLLOWERS_AT_ONCE


async def test_a_run_that_starts_by_itself_lets_requests_pass(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = PATIENCE_SECONDS / 2
    get = PortfolioStore.get_portfolio

    async def slowly(*args: Any, **options: Any) -> Portfolio:
        await trio.sleep(seconds)
        return await get(*args, **options)

    async with open_app(market_update_interval_seconds=600, freshness_tolerance=1.0) as app:
        client, other = await follow(app), await app.connect("other")
        await client.until("analysis_completed")
        monkeypatch.setattr(PortfolioStore, "get_portfolio", slowly)
        await other.send("get_portfolio")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.server.updater.tick)
            await client.until("analysis_started")
            assert trio.current_time() - began == pytest.approx(seconds)
        assert (await other.receive())["type"] == "portfolio"


async def test_a_waiter_that_leaves_the_queue_delays_nobody(autojump_clock: MockClock) -> None:
    """A tick comes while there is no turn; some are gone when there is one again."""
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        turns = app.server.services.followers
        cancels, leaves, switches, stays, last = clients = [
            await app.connect(f"s{number}", events=True) for number in range(5)
        ]
        for client in clients:
            await client.send("analyze", ticker="AAPL", follow=True)
            await client.until("analysis_completed")
        turns.free = 0
        for client in clients:
            await client.until("portfolio_update")
        await cancels.send("cancel")
        await cancels.until("analysis_cancelled")
        await leaves.socket.aclose()
        await switches.send("analyze", ticker="MSFT")
        await switches.until("analysis_completed")
        await trio.testing.wait_all_tasks_blocked()
        turns.give_back()
        for client in (stays, last):
            with trio.fail_after(INTERVAL / 2):
                check_laws(await client.until("analysis_completed"))
        assert turns.free == 1
        # A socket that has cancelled, or asked for another analysis, is in no line at the next tick.
        for client in (cancels, switches):
            kinds = {frame["type"] for frame in await client.silence(2 * INTERVAL)}
            assert kinds == {"portfolio_update"}
        assert turns.free == 1


async def test_a_turn_that_finds_nothing_newer_is_given_back(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=3_600) as app:
        client = await follow(app)
        await client.until("analysis_completed")
        for group in app.server.services.hub.groups:
            group.runs.renew(0)
        assert await client.silence(1) == []
        assert app.server.services.followers.free == FOLLOWERS_AT_ONCE
        # It waits on, and is woken again.
        await client.send("trade", ticker="AAPL", shares=1)
        check_laws(await client.until("analysis_completed"))


async def test_a_turn_that_comes_while_its_connection_ends_is_given_back(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=INTERVAL, freshness_tolerance=1.0) as app:
        turns = app.server.services.followers
        client = await follow(app)
        await client.until("analysis_completed")
        turns.free = 0
        await client.until("portfolio_update")
        (group,) = app.server.services.hub.groups
        for member in group.members:
            assert isinstance(member, Session)
            member.lose()
        turns.give_back()
        await trio.testing.wait_all_tasks_blocked()
        assert turns.free == 1
        assert (await app.document())["run_counter"] == 1
