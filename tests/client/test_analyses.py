"""Analyses: outcomes, ends, restarts."""

from __future__ import annotations

import ssl

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    Limits,
    Outcome,
    ReceivedResult,
    RequestTimedOut,
    RunCancelled,
    RunFailed,
)
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.protocol.messages import (
    MetricFailure,
)
from portfolio_trio.settings import Delay
from tests.support.app import METRICS, open_app
from tests.support.client import (
    Peer,
    completed,
    enter,
    events_until,
    scripted,
    started,
)

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_outcomes_arrive_one_by_one_with_their_details(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        moments = []
        async with portfolio.analyze("aapl") as results:
            assert results.ticker == "AAPL"
            assert results.started.metrics == METRICS
            assert [portfolio.running] == [results.started]
            async for outcome in results:
                moments.append(trio.current_time())
                assert isinstance(outcome, ReceivedResult)
                assert (outcome.ticker, outcome.run_id) == ("AAPL", results.started.run_id)
                detail = BUILT_IN[outcome.metric].detail
                assert detail is not None
                assert outcome.detail is not None
                assert isinstance(detail.model_validate(outcome.detail.model_extra), detail)
            assert results.ended
            assert set(results.outcomes) == set(METRICS)
        assert len(set(moments)) == 5
        assert portfolio.running is None
        assert (await app.document())["current_analysis"] is None


async def test_a_metric_that_cannot_be_computed_is_an_outcome(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
        await portfolio.set_holdings({"MSFT": 1})
        async with portfolio.analyze("MSFT") as results:
            outcomes = await results.completed()
        failure = outcomes["correlation"]
        assert isinstance(failure, MetricFailure)
        assert failure.code == "no_other_holdings"


async def test_leaving_the_block_cancels_the_run_of_the_server(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        subscriber = await app.connect(events=True)
        async with portfolio.analyze("AAPL") as results:
            first = await anext(results)
            left_at = trio.current_time()
        # Confirmed when the block is over, and no time has passed.
        assert trio.current_time() == left_at
        assert (await app.document())["current_analysis"] is None
        assert portfolio.running is None
        seen = await subscriber.until("analysis_cancelled")
        assert seen[-1]["reason"] == "cancelled"
        assert [f["metric"] for f in seen if f["type"] == "analysis_result"] == [first.metric]
        assert await subscriber.silence(20) == []
        recorded = (await app.document())["analysis_results"]
        assert [r["metric"] for r in recorded] == [first.metric]
        with pytest.raises(RunCancelled):
            await anext(results)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.999, 3.0])
async def test_a_deadline_round_the_block_ends_it_at_that_moment(
    autojump_clock: MockClock, seconds: float
) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        subscriber = await app.connect(events=True)
        begun = trio.current_time()
        with trio.move_on_after(seconds):
            async with portfolio.analyze("AAPL") as results:
                await results.completed()
        assert trio.current_time() == pytest.approx(begun + seconds)
        await trio.sleep(20)
        seen = await subscriber.silence(1)
        assert sum(f["type"] == "analysis_result" for f in seen) < 5
        assert not any(f["type"] == "analysis_completed" for f in seen)
        assert (await app.document())["current_analysis"] is None
        async with portfolio.analyze("MSFT") as results:
            assert len(await results.completed()) == 5


async def test_what_the_block_raises_comes_out_and_the_run_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        with pytest.raises(ZeroDivisionError):
            async with portfolio.analyze("AAPL"):
                _ = 1 / 0
        assert (await app.document())["current_analysis"] is None


async def test_asking_for_another_ends_the_block_of_the_first(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        gone = trio.Event()

        async def first() -> None:
            with pytest.raises(RunCancelled) as cancelled:
                async with portfolio.analyze("AAPL") as results:
                    await results.completed()
            assert (cancelled.value.reason, cancelled.value.retryable) == ("switched", False)
            gone.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.sleep(1)
            async with portfolio.analyze("MSFT") as results:
                await gone.wait()
                assert trio.current_time() == pytest.approx(1)
                # Leaving the first block did not cancel this run.
                assert len(await results.completed()) == 5


async def test_another_client_of_the_session_supersedes(autojump_clock: MockClock) -> None:
    async with (
        open_app(metric_delay_seconds=SLOW) as app,
        enter(app) as one,
        enter(app) as two,
        one.analyze("AAPL") as results,
    ):
        await trio.sleep(1)
        async with two.analyze("AAPL") as newer:
            with pytest.raises(RunCancelled) as cancelled:
                await results.completed()
            assert cancelled.value.reason == "superseded"
            assert len(await newer.completed()) == 5


async def test_cancel_ends_whatever_runs_in_the_session(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as one, enter(app) as two:
        for canceller in (one, two):
            async with one.analyze("AAPL") as results:
                await trio.sleep(1)
                answer = await canceller.cancel()
                assert (answer.ticker, answer.run_id) == ("AAPL", results.started.run_id)
                with pytest.raises(RunCancelled) as cancelled:
                    await results.completed()
                assert cancelled.value.reason == "cancelled"
        assert (await one.cancel()).ticker is None


async def test_what_waits_of_a_cancelled_run_is_not_handed_out(autojump_clock: MockClock) -> None:
    async with (
        open_app(metric_delay_seconds=SLOW) as app,
        enter(app) as portfolio,
        portfolio.analyze("AAPL") as results,
    ):
        await events_until(portfolio, ReceivedResult)
        assert len(results.outcomes) == 1
        await portfolio.cancel()
        with pytest.raises(RunCancelled):
            await anext(results)


async def test_holdings_that_change_start_the_outcomes_over(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app, enter(app) as portfolio:
        got: list[Outcome] = []
        async with portfolio.analyze("AAPL") as results:
            first = results.started
            got.append(await anext(results))
            await portfolio.trade("AAPL", 1)
            await trio.testing.wait_all_tasks_blocked()
            assert results.outcomes == {}
            got += [outcome async for outcome in results]
            assert results.restarts == 1
            assert results.started.run_id == first.run_id + 1
            assert results.started.version == first.version + 1
            assert {outcome.run_id for outcome in results.outcomes.values()} == {results.started.run_id}
        assert [outcome.run_id for outcome in got] == [first.run_id] + [first.run_id + 1] * 5


async def test_a_cancel_right_behind_an_edit_ends_the_analysis(autojump_clock: MockClock) -> None:
    async with (
        open_app(metric_delay_seconds=SLOW) as app,
        enter(app) as portfolio,
        portfolio.analyze("AAPL") as results,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(portfolio.trade, "AAPL", 1)
            nursery.start_soon(portfolio.cancel)
        with pytest.raises(RunCancelled):
            await results.completed()
        assert trio.current_time() == 0


async def test_a_cancel_between_an_end_and_its_restart_ends_the_analysis(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(**started(asked["id"], run_id=1))
        cancel = await peer.receive()
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=1, reason="portfolio_changed")
        await peer.send(type="analysis_cancelled", reason="cancelled", id=cancel["id"])
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        await portfolio.cancel()
        with pytest.raises(RunCancelled):
            await results.completed()


async def test_what_cannot_be_analysed_fails_where_the_block_begins(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
        with pytest.raises(RunFailed) as failed:
            async with portfolio.analyze("JPM"):
                raise AssertionError("it has not started")
        assert (failed.value.code, failed.value.retryable) == ("not_held", False)
        async with portfolio.analyze("AAPL") as results:
            assert len(await results.completed()) == 5


async def test_an_older_run_of_somebody_else_ends_nothing(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(**started(asked["id"], run_id=5))
        await peer.send(**started(None, run_id=4))
        await peer.send(**completed(asked["id"], run_id=5))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        assert await results.completed() == {}


async def test_a_restart_that_was_not_announced_starts_the_outcomes_over(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        failure = {"type": "metric_error", "id": asked["id"], "ticker": "AAPL", "code": "x", "detail": "y"}
        await peer.send(**started(asked["id"], run_id=5))
        await peer.send(**failure, metric="momentum", run_id=5)
        await peer.send(**started(asked["id"], run_id=6))
        await peer.send(**completed(asked["id"], run_id=6))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        await trio.testing.wait_all_tasks_blocked()
        assert await results.completed() == {}
        assert results.restarts == 1


async def test_a_run_that_never_starts_again_is_given_up(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(**started(asked["id"], run_id=1))
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=1, reason="portfolio_changed")
        await peer.until_closed()

    async with scripted(script, limits=Limits(request_seconds=5)) as (portfolio, _):
        async with portfolio.analyze("AAPL") as results:
            with pytest.raises(RequestTimedOut):
                await results.completed()
        assert trio.current_time() == pytest.approx(10)


async def test_a_newer_run_of_somebody_else_ends_one_that_was_to_start_again(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(**started(asked["id"], run_id=5))
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=5, reason="portfolio_changed")
        await peer.send(**started(None, run_id=4))
        await peer.send(**started(None, run_id=6))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        with pytest.raises(RunCancelled) as cancelled:
            await results.completed()
        assert cancelled.value.reason == "superseded"


async def test_a_run_that_ends_before_it_was_announced_is_told_by_its_ticker(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        await peer.receive()
        for ticker, reason in (("MSFT", "superseded"), ("AAPL", "disconnected"), ("AAPL", "superseded")):
            await trio.sleep(1)
            await peer.send(type="analysis_cancelled", ticker=ticker, run_id=9, reason=reason)
        await peer.until_closed()

    async with scripted(script) as (portfolio, _):
        with pytest.raises(RunCancelled, match="superseded"):
            async with portfolio.analyze("AAPL"):
                raise AssertionError("it has not started")
        assert trio.current_time() == pytest.approx(3)


async def test_the_end_of_somebody_elses_run_of_the_same_ticker_is_not_ours(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(**started(None, run_id=4))
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=4, reason="superseded")
        await peer.send(**started(asked["id"], run_id=5))
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=4, reason="superseded")
        await peer.send(**completed(asked["id"], run_id=5))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        assert await results.completed() == {}


async def test_the_end_of_a_run_that_echoes_its_id_is_its_end(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(type="analysis_cancelled", ticker="AAPL", id=asked["id"], reason="superseded")
        await peer.until_closed()

    async with scripted(script) as (portfolio, _):
        with pytest.raises(RunCancelled, match="superseded"):
            async with portfolio.analyze("AAPL"):
                raise AssertionError("it has not started")


async def test_outcomes_of_a_run_before_are_never_handed_out(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        failure = {"type": "metric_error", "id": asked["id"], "ticker": "AAPL", "code": "x", "detail": "y"}
        await peer.send(**started(asked["id"], run_id=1))
        await peer.send(**failure, metric="momentum", run_id=1)
        await peer.send(type="analysis_cancelled", ticker="AAPL", run_id=1, reason="portfolio_changed")
        await peer.send(**failure, metric="correlation", run_id=1)
        await peer.send(**started(asked["id"], run_id=2))
        await peer.send(**failure, metric="concentration", run_id=1)
        await peer.send(**failure, metric="portfolio_risk", run_id=2)
        await peer.send(**completed(asked["id"], run_id=2))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), portfolio.analyze("AAPL") as results:
        await trio.testing.wait_all_tasks_blocked()
        assert [(each.metric, each.run_id) async for each in results] == [("portfolio_risk", 2)]
