"""A socket whose peer does not read delays only itself, in virtual time over memory streams."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.settings import Delay
from tests.support.app import open_app, results
from tests.support.streams import NarrowStream

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
ENDS = ("analysis_completed", "analysis_cancelled")


async def test_a_switch_on_a_socket_that_is_not_read_holds_up_no_other_socket(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=SLOW, send_seconds=1000) as app:
        slow, transport = await app.connect_stalling()
        other = await app.connect(events=True)
        await slow.send("analyze", ticker="AAPL")
        transport.stall_sending()
        await trio.sleep(10)
        await slow.send("analyze", ticker="GOOGL")
        await trio.testing.wait_all_tasks_blocked()
        asked_at = trio.current_time()
        await other.send("analyze", ticker="MSFT", id=1)
        while (await other.until("analysis_started"))[-1]["ticker"] != "MSFT":
            pass
        assert trio.current_time() == asked_at
        assert len(results(await other.until("analysis_completed"))) == 5


async def test_a_socket_that_is_not_read_answers_nobody_elses_cancel_late(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW, send_seconds=1000) as app:
        slow, transport = await app.connect_stalling()
        other = await app.connect()
        await slow.send("analyze", ticker="AAPL")
        transport.stall_sending()
        await trio.sleep(10)
        await slow.send("analyze", ticker="GOOGL")
        await trio.testing.wait_all_tasks_blocked()
        asked_at = trio.current_time()
        assert (await other.ask("cancel", id=1))["id"] == 1
        assert trio.current_time() == asked_at


async def test_many_switches_on_a_socket_that_is_not_read_wait_for_its_one_frame(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=SLOW, send_seconds=1000) as app:
        slow, transport = await app.connect_stalling()
        await slow.send("analyze", ticker="AAPL")
        transport.stall_sending()
        await trio.sleep(10)
        for ticker in ("GOOGL", "MSFT", "GOOGL", "MSFT"):
            await slow.send("analyze", ticker=ticker)
            await trio.sleep(1)
        # The first one's frame in flight must be sent before any of them takes its snapshot.
        assert (await app.document())["run_counter"] == 1
        transport.resume()
        assert [ticker for ticker, _ in results(await slow.take(6))] == ["AAPL"] + ["MSFT"] * 5
        assert (await app.document())["run_counter"] == 2


async def test_a_run_is_not_complete_while_its_results_wait_behind_others(autojump_clock: MockClock) -> None:
    async with open_app(send_seconds=1000) as app:
        slow, transport = await app.connect_stalling(events=True)
        await slow.receive()
        transport.stall_sending()
        await slow.send("get_portfolio")
        for ticker in ("AAPL", "GOOGL"):
            await slow.send("analyze", ticker=ticker)
            await trio.sleep(1)
        transport.resume()
        frames = await slow.until("analysis_completed")
        # Those of the first were recorded, and could still be dropped.
        assert [ticker for ticker, _ in results(frames)] == ["GOOGL"] * 5
        ends = [(frame["type"], frame["ticker"]) for frame in frames if frame["type"] in ENDS]
        assert ends == [("analysis_cancelled", "AAPL"), ("analysis_completed", "GOOGL")]


async def test_a_client_that_never_reads_is_closed_and_no_other_notices(autojump_clock: MockClock) -> None:
    async with open_app(max_queue_bytes=20_000, send_seconds=5) as app:
        ours = app.dial(lambda theirs: NarrowStream(theirs, 3_000))
        deaf = await app.connect_through(ours, "deaf")
        other = await app.connect("other")
        for _ in range(50):
            await deaf.send("analyze", ticker="AAPL")
            await other.send("analyze", ticker="MSFT")
            assert len(results(await other.take(5))) == 5
        # Nothing more can be said to it, so nothing more is waited for.
        await trio.sleep(5)
        await trio.testing.wait_all_tasks_blocked()
        assert [group.session_id for group in app.server.services.hub.groups] == ["other"]
        assert len(app.server.connections.child_tasks) == 1
        await other.send("analyze", ticker="MSFT")
        assert len(results(await other.take(5))) == 5
        assert (await app.document("deaf"))["current_analysis"] is None


async def test_what_a_slow_client_has_not_got_yet_of_the_old_run_it_never_gets(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=SLOW, send_seconds=1000) as app:
        client, transport = await app.connect_stalling()
        subscriber = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        transport.stall_sending()
        # All five are computed and recorded now: one is half-way out, four wait.
        await trio.sleep(10)
        assert len((await app.document())["analysis_results"]) == 5
        assert "analysis_completed" not in [f["type"] for f in await subscriber.silence(1)]

        await client.send("analyze", ticker="GOOGL")
        await trio.sleep(10)
        # The frame in flight must be sent before the new run takes its snapshot.
        assert (await app.document())["run_counter"] == 1
        assert [f["reason"] for f in await subscriber.until("analysis_cancelled")] == ["switched"]

        transport.resume()
        frames = await client.take(6)
        assert [ticker for ticker, _ in results(frames)] == ["AAPL"] + ["GOOGL"] * 5
        assert await client.silence(10) == []


async def test_a_restart_waits_for_the_frame_that_is_being_sent(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW, send_seconds=1000) as app:
        slow, transport = await app.connect_stalling()
        other = await app.connect()
        await slow.send("analyze", ticker="AAPL")
        transport.stall_sending()
        await trio.sleep(4)
        await other.ask("trade", ticker="AAPL", shares=1)
        await trio.sleep(10)
        assert (await app.document())["run_counter"] == 1
        transport.resume()
        runs = [frame["run_id"] for frame in await slow.take(6)]
        assert runs == [1, 2, 2, 2, 2, 2]


async def test_a_client_past_its_budget_is_closed_with_1013_and_all_of_it_is_freed(
    autojump_clock: MockClock,
) -> None:
    async with open_app(max_queue_bytes=5_000, send_seconds=1000, metric_delay_seconds=SLOW) as app:
        slow, transport = await app.connect_stalling()
        await slow.ask("get_portfolio")
        transport.stall_sending()
        for _ in range(100):
            await slow.send("get_portfolio")
        await trio.testing.wait_all_tasks_blocked()
        (session,) = app.server._sessions
        assert session.subscriber._outbox.overflowed
        assert session.subscriber._outbox._bytes == 0
        transport.resume()
        assert await slow.closed() == 1013
        await trio.testing.wait_all_tasks_blocked()
        assert app.server.services.hub.groups == ()


async def test_a_peer_that_vanishes_is_gone_within_the_deadline_and_its_run_cancelled(
    autojump_clock: MockClock,
) -> None:
    async with open_app(
        metric_delay_seconds=Delay(500, 500), ping_interval_seconds=20, ping_timeout_seconds=10
    ) as app:
        vanishing, transport = await app.connect_stalling()
        subscriber = await app.connect(events=True)
        await vanishing.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        # Nothing more arrives from it, and nothing says that it is gone.
        transport.stall_receiving()
        gone = (await subscriber.until("analysis_cancelled"))[-1]
        assert gone["reason"] == "disconnected"
        # The read in progress still brings one pong; the second ping gets no answer.
        assert trio.current_time() == pytest.approx(20 + 20 + 10)
        assert (await app.document())["current_analysis"] is None
