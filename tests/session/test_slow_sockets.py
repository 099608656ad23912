"""A socket whose peer does not read delays only itself, in virtual time over memory streams."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.settings import Delay
from tests.support.app import open_app, results

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
