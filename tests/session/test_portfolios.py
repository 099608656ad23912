"""The portfolio of a session: what it holds, edits of it, and the runs that they restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.settings import Delay
from portfolio_trio.store import StoreUnavailable
from tests.support.app import HOLDINGS, open_app, results

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)


async def test_portfolio_of_a_new_session_is_worth_its_holdings(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        portfolio = await client.ask("get_portfolio", id=1)
        prices = app.server.services.book.current.prices
        assert portfolio["holdings"] == HOLDINGS
        assert portfolio["version"] == 1
        assert portfolio["total_value"] == pytest.approx(sum(n * prices[t] for t, n in HOLDINGS.items()))
        assert portfolio["current_analysis"] is None


async def test_holdings_can_be_short_fractional_or_zero(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        portfolio = await client.ask("set_holdings", holdings={"AAPL": -2.5, "MSFT": 0, "JPM": 1})
        assert portfolio["holdings"] == {"AAPL": -2.5, "MSFT": 0, "JPM": 1}
        assert portfolio["version"] == 2
        await client.send("analyze", ticker="AAPL")
        assert len(results(await client.take(5))) == 5
        assert (await client.ask("analyze", ticker="MSFT"))["code"] == "not_held"


async def test_an_empty_portfolio_is_an_error_and_not_a_number(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        assert (await client.ask("set_holdings", holdings={}))["total_value"] == 0
        assert (await client.ask("analyze", ticker="AAPL"))["code"] == "empty_portfolio"
        assert (await app.document())["current_analysis"] is None


async def test_a_trade_changes_one_line(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        assert (await client.ask("trade", ticker="AAPL", shares=-100))["holdings"] == {
            "GOOGL": 50,
            "MSFT": 75,
        }
        assert (await client.ask("trade", ticker="JPM", shares=4))["holdings"]["JPM"] == 4


async def test_a_value_beyond_all_numbers_is_refused_and_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        book = app.server.services.book
        book._tick = replace(book.current, prices={**book.current.prices, "AAPL": 1e300})
        answer = await client.ask("trade", ticker="AAPL", shares=1e15)
        assert (answer["code"], answer["retryable"]) == ("value_overflow", False)
        assert (await app.document())["holdings"] == HOLDINGS


async def test_a_version_that_is_gone_is_refused(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        assert (await client.ask("set_holdings", holdings={"MSFT": 1}, version=1))["version"] == 2
        answer = await client.ask("set_holdings", holdings={"AAPL": 1}, version=1)
        assert answer["code"] == "version_conflict"
        assert (await app.document())["holdings"] == {"MSFT": 1}


async def test_holdings_that_change_restart_the_run_on_the_new_snapshot(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL", id=5)
        first = (await client.until("analysis_started"))[-1]
        await client.until("analysis_result")
        await client.send("set_holdings", holdings={"AAPL": 1, "JPM": 1})
        frames = await client.until("analysis_completed")
        changed = next(n for n, f in enumerate(frames) if f["type"] == "portfolio")
        after = frames[changed:]
        cancelled = next(f for f in frames if f["type"] == "analysis_cancelled")
        assert cancelled["reason"] == "portfolio_changed"
        assert {f["run_id"] for f in after if f["type"] == "analysis_result"} == {first["run_id"] + 1}
        assert len(results(after)) == 5
        assert {f["id"] for f in after if f["type"] == "analysis_result"} == {5}
        recorded = [r["run_id"] for r in (await app.document())["analysis_results"]]
        assert recorded == sorted(recorded)
        assert recorded.count(first["run_id"] + 1) == 5


async def test_an_edit_ends_the_run_at_once_and_not_at_its_next_write(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(100, 100)) as app:
        client, subscriber = await app.connect(), await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        started = trio.current_time()
        await client.ask("trade", ticker="AAPL", shares=1)
        assert (await subscriber.until("analysis_cancelled"))[-1]["reason"] == "portfolio_changed"
        assert (await subscriber.until("analysis_started"))[-1]["version"] == 2
        assert trio.current_time() == started


async def test_cancel_right_behind_an_edit_leaves_nothing_running(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client, subscriber = await app.connect(), await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        await client.send("trade", ticker="AAPL", shares=1)
        await client.send("cancel", id=1)
        await trio.sleep(10)
        events = await subscriber.silence(1)
        ends = [f["run_id"] for f in events if f["type"] == "analysis_cancelled"]
        starts = [f["run_id"] for f in events if f["type"] == "analysis_started"]
        # The second run may have been cancelled before its start had left.
        assert ends[0] == 1
        assert set(starts) <= set(ends) <= {1, 2}
        assert len(ends) == len(set(ends))
        assert results(events) == []
        assert (await app.document())["current_analysis"] is None


async def test_a_change_whose_reply_was_lost_is_not_called_retryable(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app() as app:
        client = await app.connect()
        run = app.store._run

        async def lossy(*args: object, **options: object) -> None:
            await run(*args, **options)
            raise StoreUnavailable("the connection was lost", sent=True)

        with monkeypatch.context() as without:
            without.setattr(app.store, "_run", lossy)
            for change in (
                {"action": "trade", "ticker": "AAPL", "shares": 1},
                {"action": "set_holdings", "holdings": {"AAPL": 1}},
            ):
                answer = await client.ask(**change)
                assert (answer["code"], answer["retryable"]) == ("outcome_unknown", False)
                assert "read the portfolio" in answer["detail"]
            # What may be asked again without harm is.
            answer = await client.ask("get_portfolio")
            assert (answer["code"], answer["retryable"]) == ("unavailable", True)
        assert (await client.ask("get_portfolio"))["version"] == 3


async def test_a_trade_that_states_its_version_is_made_once(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        trade = {"ticker": "AAPL", "shares": 1, "version": 1}
        assert (await client.ask("trade", **trade))["holdings"]["AAPL"] == 101
        assert (await client.ask("trade", **trade))["code"] == "version_conflict"
        assert (await app.document())["holdings"]["AAPL"] == 101


async def test_a_trade_that_changes_nothing_is_refused_and_the_run_goes_on(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(1, 2)) as app:
        client = await app.connect(events=True)
        await client.receive()
        await client.send("set_holdings", holdings={"AAPL": 1e12, "MSFT": 1})
        await client.until("portfolio")
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        refused = await client.ask("trade", ticker="AAPL", shares=1e-9, id=7)
        assert (refused["code"], refused["retryable"], refused["id"]) == ("invalid_message", False, 7)
        assert "trade more at once" in refused["detail"]
        assert {frame["type"] for frame in await client.until("analysis_completed")} == {
            "analysis_result",
            "analysis_completed",
        }
        assert (await app.document())["version"] == 2


async def test_two_sockets_that_edit_at_once_lose_nothing(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        sockets = [await app.connect(), await app.connect()]
        for n in range(40):
            for socket, ticker in zip(sockets, ("AAPL", "JPM"), strict=True):
                await socket.send("trade", ticker=ticker, shares=1, id=n)
        answers = [await socket.take(40) for socket in sockets]
        versions = sorted(frame["version"] for frames in answers for frame in frames)
        assert versions == list(range(2, 82))
        holdings = (await app.document())["holdings"]
        assert (holdings["AAPL"], holdings["JPM"]) == (140, 40)
