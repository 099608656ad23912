"""Scenarios of one session, in virtual time over memory streams."""

from __future__ import annotations

import json
import re

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.settings import Delay
from portfolio_trio.store import StoreUnavailable
from tests.support.app import HOLDINGS, METRICS, open_app, results
from tests.support.clock import START

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)


async def test_five_results_stream_back_each_as_it_finishes(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        arrived = []
        for _ in METRICS:
            frame = await client.receive()
            arrived.append((trio.current_time(), frame["metric"]))
            assert set(frame) >= {"type", "ticker", "metric", "value", "timestamp", "run_id", "snapshot"}
            assert frame["type"] == "analysis_result"
            assert frame["ticker"] == "AAPL"
        assert {metric for _, metric in arrived} == set(METRICS)
        times = [moment for moment, _ in arrived]
        assert len(set(times)) == len(METRICS)
        assert 2 <= min(times) <= max(times) <= 5


async def test_results_that_are_ready_together_come_in_one_order(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        assert results(await client.take(5)) == [("AAPL", metric) for metric in METRICS]


async def test_all_results_of_a_run_name_one_snapshot(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW, market_update_interval_seconds=1) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        frames = await client.take(5)
        assert len({(f["run_id"], f["snapshot"], f["tick_id"], f["as_of"]) for f in frames}) == 1


async def test_a_lower_case_ticker_is_accepted(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.send("analyze", ticker="aapl")
        assert results(await client.take(5)) == [("AAPL", metric) for metric in METRICS]


async def test_switch_ends_the_old_run_before_the_new_one_starts(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_result")
        await client.send("analyze", ticker="GOOGL")
        frames = await client.until("analysis_completed")
        kinds = [frame["type"] for frame in frames]
        cancelled = kinds.index("analysis_cancelled")
        assert frames[cancelled]["ticker"] == "AAPL"
        assert frames[cancelled]["reason"] == "switched"
        assert kinds[cancelled + 1] == "analysis_started"
        assert {frame["ticker"] for frame in frames[cancelled + 1 :]} == {"GOOGL"}
        assert len(results(frames[cancelled:])) == 5


async def test_cancel_answers_ends_the_run_and_clears_the_document(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        assert (await app.document())["current_analysis"]["ticker"] == "AAPL"
        answer = await client.ask("cancel", id=9)
        assert answer["type"] == "analysis_cancelled"
        assert (answer["ticker"], answer["reason"], answer["id"]) == ("AAPL", "cancelled", 9)
        assert await client.silence(10) == []
        assert (await app.document())["current_analysis"] is None


async def test_cancel_without_a_run_says_so(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        answer = await client.ask("cancel", id="x")
        assert answer == {"id": "x", "type": "analysis_cancelled", "reason": "cancelled"}


async def test_cancel_of_one_request_leaves_another_alone(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        one, two = await app.connect(), await app.connect()
        await one.send("analyze", ticker="AAPL", id="first")
        await trio.sleep(1)
        await one.send("analyze", ticker="MSFT", id="second")
        assert "ticker" not in await one.ask("cancel", of="first")
        # Ids belong to the socket that chose them.
        assert "ticker" not in await two.ask("cancel", of="second")
        await trio.sleep(1)
        assert (await one.ask("cancel", of="second", id=3))["ticker"] == "MSFT"
        assert await one.silence(10) == []


async def test_a_subscriber_gets_the_state_and_then_events(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        one = await app.connect()
        await one.ask("get_portfolio")
        subscribers = []
        for _ in range(10):
            # Each joins while the portfolio changes.
            await one.send("trade", ticker="AAPL", shares=1)
            subscribers.append(await app.connect(events=True))
            await one.send("trade", ticker="AAPL", shares=1)
        await trio.testing.wait_all_tasks_blocked()
        for subscriber in subscribers:
            versions = [f["version"] for f in await subscriber.silence(1) if f["type"] == "portfolio"]
            assert versions == list(range(versions[0], 22))


async def test_a_request_that_is_one_too_many_is_refused_by_its_id(autojump_clock: MockClock) -> None:
    async with open_app(requests_per_second=1, request_burst=2) as app:
        client = await app.connect()
        for n in range(3):
            await client.send("get_portfolio", id=n)
        frames = await client.take(3)
        assert [(f["type"], f["id"]) for f in frames] == [("portfolio", 0), ("portfolio", 1), ("error", 2)]
        assert (frames[2]["code"], frames[2]["retryable"]) == ("rate_limited", True)


async def test_disconnect_cancels_at_once_and_clears_the_document(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        watcher = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await watcher.until("analysis_started")
        left_at = trio.current_time()
        await trio.aclose_forcefully(client.stream)
        cancelled = (await watcher.until("analysis_cancelled"))[-1]
        assert cancelled["reason"] == "disconnected"
        assert trio.current_time() == left_at
        await trio.testing.wait_all_tasks_blocked()
        assert (await app.document())["current_analysis"] is None


async def test_completion_clears_the_document(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        await client.take(5)
        document = await app.document()
        assert document["current_analysis"] is None
        assert document["run_counter"] == 1


async def test_recorded_results_are_the_streamed_ones(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL", id=3)
        streamed = await client.take(5)
        assert [frame.pop("id") for frame in streamed] == [3] * 5
        assert [frame.pop("type") for frame in streamed] == ["analysis_result"] * 5
        assert (await app.document())["analysis_results"] == streamed
        assert (await client.ask("get_results"))["results"] == streamed
        assert (await client.ask("get_results", limit=2))["results"] == streamed[-2:]
        assert (await client.ask("get_results", ticker="MSFT"))["results"] == []


async def test_the_newest_thousand_results_are_kept(autojump_clock: MockClock) -> None:
    async with open_app(max_results=12) as app:
        client = await app.connect()
        streamed = []
        for _ in range(4):
            await client.send("analyze", ticker="AAPL")
            streamed += [(f["run_id"], f["metric"]) for f in await client.take(5)]
        kept = (await app.document())["analysis_results"]
        assert [(r["run_id"], r["metric"]) for r in kept] == streamed[-12:]


@pytest.mark.parametrize(
    ("frame", "code", "detail"),
    [
        ('{"action":"analyze"}', "invalid_message", "Invalid message: ticker: Field required"),
        ('{"action":"delete"}', "unknown_action", "Unknown action: delete"),
        (
            '{"action":"analyze","ticker":""}',
            "invalid_message",
            "Invalid message: ticker: '' is not a ticker",
        ),
        ('{"action":"analyze","ticker":"A B"}', "invalid_message", "Invalid message: ticker: 'A B' is not"),
        ("{nonsense", "invalid_message", "Invalid message: not JSON"),
        ("[" * 10_000, "invalid_message", "Invalid message: not JSON"),
        (b'{"action":"analyze","ticker":"AAPL"}', "invalid_message", "Invalid message: binary"),
        ('{"action":"set_holdings","holdings":{"AAPL":NaN}}', "invalid_message", "Invalid message: holdings"),
        (
            '{"action":"set_holdings","holdings":{"AAPL":1e999}}',
            "invalid_message",
            "Invalid message: holdings",
        ),
        (
            '{"action":"set_holdings","holdings":{"AAPL":1,"aapl":2}}',
            "invalid_message",
            "Invalid message: hold",
        ),
        (
            json.dumps({"action": "set_holdings", "holdings": {f"A{n}": 1 for n in range(10_000)}}),
            "too_many_holdings",
            "Too many holdings: 10000 holdings; at most 500",
        ),
        ('{"action":"analyze","ticker":"TSLA"}', "not_held", "TSLA is not in the portfolio"),
    ],
)
async def test_an_error_is_answered_and_the_socket_stays_open(
    autojump_clock: MockClock, frame: str | bytes, code: str, detail: str
) -> None:
    async with open_app() as app:
        client = await app.connect()
        await client.socket.send_message(frame)
        answer = await client.receive()
        assert (answer["type"], answer["code"]) == ("error", code)
        assert answer["detail"].startswith(detail)
        await client.send("analyze", ticker="AAPL")
        assert len(results(await client.take(5))) == 5


async def test_an_error_does_not_disturb_the_running_analysis(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        assert (await client.ask("analyze", ticker="A B", id=1))["code"] == "invalid_message"
        assert len(results(await client.take(5))) == 5


async def test_a_single_holding_completes_with_an_error_in_place_of_the_correlation(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        client = await app.connect()
        subscriber = await app.connect(events=True)
        await client.ask("set_holdings", holdings={"MSFT": -3})
        await client.send("analyze", ticker="MSFT")
        frames = await client.take(5)
        assert [(f["type"], f["metric"]) for f in frames] == [
            ("error" if metric == "correlation" else "analysis_result", metric) for metric in METRICS
        ]
        assert frames[2]["code"] == "no_other_holdings"
        seen = await subscriber.until("analysis_completed")
        assert [f["type"] for f in seen if f.get("metric") == "correlation"] == ["metric_error"]
        assert (seen[-1]["results"], seen[-1]["errors"]) == (4, 1)


async def test_the_newest_analyze_wins_whichever_socket_sent_it(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        one, two = await app.connect(), await app.connect()
        await one.send("analyze", ticker="AAPL", id=1)
        await trio.sleep(1)
        await two.send("analyze", ticker="MSFT")
        assert results(await two.take(5)) != []
        told = await one.silence(20)
        assert [f["code"] for f in told if f["type"] == "error"] == ["superseded"]
        assert results(told) == []


async def test_two_sessions_do_not_notice_each_other(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        one, two = await app.connect("one"), await app.connect("two")
        await one.send("analyze", ticker="AAPL")
        await two.send("analyze", ticker="MSFT")
        await trio.aclose_forcefully(one.stream)
        assert {ticker for ticker, _ in results(await two.take(5))} == {"MSFT"}


async def test_a_cancel_is_answered_once_though_the_store_drops_in_between(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(1)

        async def lost(*_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("the connection was lost", sent=True)

        with monkeypatch.context() as without:
            without.setattr(app.store, "finish_analysis", lost)
            answer = await client.ask("cancel", id=1)
            assert (answer["id"], answer["type"], answer["ticker"]) == (1, "analysis_cancelled", "AAPL")
            assert await client.silence(10) == []


@pytest.mark.parametrize("version", ["1.5", "1e300", "-1", '"x"'])
async def test_a_document_that_nobody_wrote_like_this_is_named_and_the_socket_stays(
    autojump_clock: MockClock, version: str
) -> None:
    async with open_app() as app:
        client, subscriber = await app.connect(), await app.connect(events=True)
        await subscriber.receive()
        redis = app.store._client
        await redis.execute_command("JSON.SET", "portfolio:{s}", "$.version", version)
        for request in (
            {"action": "get_portfolio"},
            {"action": "analyze", "ticker": "AAPL"},
            {"action": "trade", "ticker": "AAPL", "shares": 1},
            {"action": "set_holdings", "holdings": {}, "version": 1},
            {"action": "get_results"},
        ):
            assert (await client.ask(**request))["code"] == "session_broken"
        other = await app.connect(events=True)
        assert (await other.receive())["code"] == "session_broken"
        await redis.execute_command("JSON.SET", "portfolio:{s}", "$.version", "1")
        assert (await client.ask("get_portfolio"))["version"] == 1


async def test_every_tick_revalues_every_session(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        clients = [await app.connect(f"s{n}") for n in range(3)]
        for client in clients:
            await client.ask("get_portfolio")
        before = await app.document("s1")
        await trio.sleep(30.5)
        tick = app.server.services.book.current
        for n in range(3):
            valued = await app.document(f"s{n}")
            assert valued["valued"] == {"tick_id": tick.tick_id, "as_of": tick.as_of}
            assert valued["total_value"] == pytest.approx(
                sum(n * tick.prices[t] for t, n in HOLDINGS.items())
            )
        after = await app.document("s1")
        assert after["total_value"] != before["total_value"]
        assert after["last_activity"] == before["last_activity"]
        assert tick.tick_id == int((START + 30) * 1000)


async def test_every_subscriber_sees_the_same_events_in_the_same_order(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        subscribers = [await app.connect(events=True) for _ in range(3)]
        one, two, _ = subscribers
        await one.send("analyze", ticker="AAPL", id=1)
        await trio.sleep(3)
        await two.send("analyze", ticker="MSFT", id=2)
        await trio.sleep(3)
        await one.send("trade", ticker="MSFT", shares=1, id=3)
        await trio.sleep(1)
        await two.send("cancel", id=4)
        await one.send("analyze", ticker="GOOGL", id=5)
        await trio.sleep(30)
        seen = [await subscriber.silence(1) for subscriber in subscribers]
        assert {frame.pop("id", None) for frame in seen[0]} == {None, 1, 3, 5}
        assert {frame.pop("id", None) for frame in seen[1]} == {None, 2, 4}
        assert seen[0] == seen[1] == seen[2]
        kinds = [frame["type"] for frame in seen[2] if frame["type"] != "analysis_result"]
        assert kinds[-2:] == ["analysis_completed", "portfolio_update"] or kinds[-1] == "analysis_completed"


async def test_drain_lets_a_run_finish_and_closes_with_1001(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW, drain_seconds=10) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        app.nursery.start_soon(app.server.drain)
        assert len(results(await client.take(5))) == 5
        assert await client.closed() == 1001
        closed = client.socket.closed
        assert closed is not None
        assert re.search(r"retry_after=[0-3]\.\d$", closed.reason or "")


async def test_drain_cancels_what_takes_too_long(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(60, 60), drain_seconds=10) as app:
        client = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        started = trio.current_time()
        app.nursery.start_soon(app.server.drain)
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask("analyze", ticker="MSFT"))["code"] == "draining"
        frames = await client.until("analysis_cancelled")
        assert frames[-1]["reason"] == "draining"
        assert trio.current_time() - started == pytest.approx(10)
        assert await client.closed() == 1001
        assert (await app.document())["current_analysis"] is None
