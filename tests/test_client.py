"""The typed client against the real server in memory, in virtual time; failures by scripts."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    Backoff,
    ClientError,
    ConnectFailed,
    ConnectionLost,
    Disconnected,
    Event,
    Limits,
    Missed,
    Outcome,
    PortfolioClient,
    ReceivedResult,
    RequestFailed,
    RequestTimedOut,
    RunCancelled,
    RunFailed,
    Unknown,
    connect,
)
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.protocol.messages import (
    AnalysisCompleted,
    AnalysisStarted,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
)
from portfolio_trio.settings import Delay
from tests.support.client import STATE, URL, Peer, Road, enter, scripted
from tests.support.house import HOLDINGS, METRICS, open_house
from tests.support.streams import NarrowStream

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)


async def events_until(portfolio: PortfolioClient, kind: type) -> list[Event]:
    """Events up to and with the first of one type."""
    seen: list[Event] = []
    async for event in portfolio:
        seen.append(event)
        if isinstance(event, kind):
            return seen
    raise AssertionError("the events ended")


async def silence(portfolio: PortfolioClient, seconds: float) -> list[Event]:
    """Events within so many seconds."""
    seen: list[Event] = []
    with trio.move_on_after(seconds):
        async for event in portfolio:
            seen.append(event)
    return seen


# --- state and requests ---


async def test_the_state_is_there_when_the_block_begins(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        assert portfolio.connected
        assert portfolio.state.holdings == HOLDINGS
        assert portfolio.state.version == 1
        assert portfolio.state == await portfolio.get_portfolio()
        assert portfolio.running is None


async def test_the_state_follows_edits_of_this_and_of_other_clients(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as one, enter(house) as two:
        edited = await one.trade("aapl", -100)
        assert edited.holdings == {"GOOGL": 50, "MSFT": 75}
        assert one.state == edited
        await trio.testing.wait_all_tasks_blocked()
        assert two.state == edited
        assert (await two.set_holdings({"MSFT": 2.5}, version=2)).version == 3
        with pytest.raises(RequestFailed) as refused:
            await one.set_holdings({"AAPL": 1}, version=2)
        assert (refused.value.code, refused.value.retryable) == ("version_conflict", True)
        assert one.state.holdings == {"MSFT": 2.5}


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (lambda p: p.trade("A B", 1), "invalid_message"),
        (lambda p: p.trade("AAPL", float("nan")), "invalid_message"),
        (lambda p: p.set_holdings({f"A{n}": 1 for n in range(501)}), "too_many_holdings"),
        (lambda p: p.get_results(limit=0), "invalid_message"),
        (lambda p: p.get_results("?"), "invalid_message"),
    ],
)
async def test_what_the_server_would_not_read_is_not_even_sent(
    autojump_clock: MockClock, request_of: object, code: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        raise AssertionError(await peer.receive())

    async with scripted(script) as (portfolio, _):
        with pytest.raises(RequestFailed) as refused:
            await request_of(portfolio)  # type: ignore[operator]  # each of them is one
        assert (refused.value.code, refused.value.retryable) == (code, False)


async def test_an_error_names_the_tickers_it_is_about(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        with pytest.raises(RequestFailed) as refused:
            await portfolio.trade("MSFT", 1e15)
            await portfolio.trade("MSFT", 1e15)
            await portfolio.set_holdings({"": 1})
        assert refused.value.code
        assert refused.value.detail in str(refused.value)


async def test_answers_find_their_requests_whatever_their_order(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        first, second = await peer.receive(), await peer.receive()
        await peer.send_state(id=second["id"], version=int(second["shares"]))
        await peer.send_state(id=first["id"], version=int(first["shares"]))
        await peer.until_closed()

    async with scripted(script) as (portfolio, _), trio.open_nursery() as nursery:
        got = []

        async def trade(shares: int) -> None:
            got.append((shares, (await portfolio.trade("AAPL", shares)).version))

        for shares in (7, 8):
            nursery.start_soon(trade, shares)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(got) == [(7, 7), (8, 8)]


async def test_a_request_that_is_not_answered_in_time_says_so(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        await peer.receive()
        late = await peer.receive()
        await peer.send_state(id=late["id"], version=9)
        await peer.until_closed()

    async with scripted(script, limits=Limits(request_seconds=5)) as (portfolio, _):
        with pytest.raises(RequestTimedOut, match="trade was not answered within 5 s") as late:
            await portfolio.trade("AAPL", 1)
        assert trio.current_time() == pytest.approx(5)
        assert (late.value.sent, late.value.retryable) == (True, True)
        assert (await portfolio.get_portfolio()).version == 9


async def test_no_more_requests_than_allowed_are_under_way(autojump_clock: MockClock) -> None:
    asked = []

    async def script(peer: Peer) -> None:
        await peer.send_state()
        while True:
            asked.append(await peer.receive())

    limits = Limits(max_requests=3, request_seconds=5)
    async with scripted(script, limits=limits) as (portfolio, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RequestTimedOut) as late:
                await portfolio.get_portfolio()
            sent.append(late.value.sent)

        sent: list[bool] = []
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.sleep(4)
        assert len(asked) == 3
        await trio.sleep(2)
        assert sorted(sent) == [False] * 7 + [True] * 3


async def test_a_cancelled_request_leaves_the_connection_usable(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        with trio.move_on_after(0):
            await portfolio.trade("AAPL", 1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await portfolio.trade("AAPL", 1)
        assert (await portfolio.get_portfolio()).version == 1


async def test_recorded_results_come_back_typed(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        async with portfolio.analyze("AAPL", receipt=True) as results:
            streamed = await results.completed()
        recorded = await portfolio.get_results()
        assert [outcome.model_copy(update={"id": None}) for outcome in streamed.values()] == list(recorded)
        assert await portfolio.get_results("MSFT") == ()
        assert [result.metric for result in await portfolio.get_results(limit=2)] == list(METRICS[-2:])
        kept = (await house.document())["analysis_results"]
        assert [json.loads(result.to_record()) for result in recorded] == kept


# --- analyses ---


async def test_outcomes_arrive_one_by_one_with_their_details(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        moments = []
        async with portfolio.analyze("aapl") as results:
            assert results.ticker == "AAPL"
            assert results.started.metrics == METRICS
            assert portfolio.running == results.started
            async for outcome in results:
                moments.append(trio.current_time())
                assert isinstance(outcome, ReceivedResult)
                assert (outcome.ticker, outcome.run_id) == ("AAPL", results.started.run_id)
                detail = BUILT_IN[outcome.metric].detail
                assert detail is not None
                assert outcome.detail is not None
                assert detail.model_validate(outcome.detail.model_extra)
            assert results.ended
            assert set(results.outcomes) == set(METRICS)
        assert len(set(moments)) == 5
        assert portfolio.running is None
        assert (await house.document())["current_analysis"] is None


async def test_a_metric_that_cannot_be_computed_is_an_outcome(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        await portfolio.set_holdings({"MSFT": 1})
        async with portfolio.analyze("MSFT") as results:
            outcomes = await results.completed()
        failure = outcomes["correlation"]
        assert isinstance(failure, MetricFailure)
        assert failure.code == "no_other_holdings"


async def test_leaving_the_block_cancels_the_run_of_the_server(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        viewer = await house.connect(events=True)
        async with portfolio.analyze("AAPL") as results:
            async for outcome in results:
                first = outcome
                break
            left_at = trio.current_time()
        # Confirmed when the block is over, and no time has passed.
        assert trio.current_time() == left_at
        assert (await house.document())["current_analysis"] is None
        assert portfolio.running is None
        seen = await viewer.until("analysis_cancelled")
        assert seen[-1]["reason"] == "cancelled"
        assert [f["metric"] for f in seen if f["type"] == "analysis_result"] == [first.metric]
        assert await viewer.silence(20) == []
        recorded = (await house.document())["analysis_results"]
        assert [r["metric"] for r in recorded] == [first.metric]
        with pytest.raises(RunCancelled):
            await anext(results)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.999, 3.0])
async def test_a_deadline_round_the_block_ends_it_at_that_moment(
    autojump_clock: MockClock, seconds: float
) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        viewer = await house.connect(events=True)
        begun = trio.current_time()
        with trio.move_on_after(seconds):
            async with portfolio.analyze("AAPL") as results:
                await results.completed()
        assert trio.current_time() == pytest.approx(begun + seconds)
        await trio.sleep(20)
        seen = await viewer.silence(1)
        assert sum(f["type"] == "analysis_result" for f in seen) < 5
        assert not any(f["type"] == "analysis_completed" for f in seen)
        assert (await house.document())["current_analysis"] is None
        async with portfolio.analyze("MSFT") as results:
            assert len(await results.completed()) == 5


async def test_what_the_block_raises_comes_out_and_the_run_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        with pytest.raises(ZeroDivisionError):
            async with portfolio.analyze("AAPL"):
                _ = 1 / 0
        assert (await house.document())["current_analysis"] is None


async def test_asking_for_another_ends_the_block_of_the_first(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
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
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as one, enter(house) as two:
        async with one.analyze("AAPL") as results:
            await trio.sleep(1)
            async with two.analyze("AAPL") as newer:
                with pytest.raises(RunCancelled) as cancelled:
                    await results.completed()
                assert cancelled.value.reason == "superseded"
                assert len(await newer.completed()) == 5


async def test_cancel_ends_whatever_runs_in_the_session(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as one, enter(house) as two:
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
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        async with portfolio.analyze("AAPL") as results:
            while not results.outcomes:
                await trio.sleep(0.1)
            await portfolio.cancel()
            with pytest.raises(RunCancelled):
                await anext(results)
            assert results.outcomes


async def test_holdings_that_change_start_the_outcomes_over(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
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


async def test_a_cancel_between_an_end_and_its_restart_ends_the_analysis(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house, enter(house) as portfolio:
        with trio.fail_after(5), pytest.raises(RunCancelled):
            async with portfolio.analyze("AAPL") as results, trio.open_nursery() as nursery:
                nursery.start_soon(portfolio.trade, "AAPL", 1)
                nursery.start_soon(portfolio.cancel)
                nursery.start_soon(portfolio.cancel)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await results.completed()


async def test_what_cannot_be_analysed_fails_where_the_block_begins(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        with pytest.raises(RunFailed) as failed:
            async with portfolio.analyze("JPM"):
                raise AssertionError("it has not started")
        assert (failed.value.code, failed.value.retryable) == ("not_held", False)
        async with portfolio.analyze("AAPL") as results:
            assert len(await results.completed()) == 5


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


# --- connections that are lost ---


async def test_a_broken_stream_cancels_the_run_and_the_client_comes_back_with_the_state(
    autojump_clock: MockClock,
) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house:
        road = Road(house)
        viewer = await house.connect(events=True)
        async with enter(house, road) as portfolio:
            with pytest.raises(Disconnected) as lost:
                async with portfolio.analyze("AAPL") as results:
                    await trio.sleep(1)
                    await road.cut()
                    await results.completed()
            assert (lost.value.retryable, lost.value.ending.code) == (True, 1006)
            assert trio.current_time() == pytest.approx(1)
            assert not portfolio.connected
            assert (await viewer.until("analysis_cancelled"))[-1]["reason"] == "disconnected"
            await viewer.send("trade", ticker="AAPL", shares=1)

            seen = await events_until(portfolio, ConnectionLost)
            assert isinstance(seen[-1], ConnectionLost)
            assert 0.125 <= seen[-1].retry_in <= 0.25
            state = (await events_until(portfolio, Portfolio))[-1]
            assert trio.current_time() == pytest.approx(1 + seen[-1].retry_in)
            assert isinstance(state, Portfolio)
            assert state.version == 2
            assert portfolio.state == state
            assert state.current_analysis is None
            assert road.dialled == 2
            async with portfolio.analyze("AAPL") as results:
                assert len(await results.completed()) == 5
        assert [r["run_id"] for r in (await house.document())["analysis_results"]] == [2] * 5


async def test_a_request_under_way_at_the_loss_says_that_it_may_have_been_carried_out(
    autojump_clock: MockClock,
) -> None:
    async def lose(peer: Peer) -> None:
        await peer.send_state()
        await peer.receive()

    async def answer(peer: Peer) -> None:
        await peer.send_state(version=2)
        await peer.send_state(version=3, id=(await peer.receive())["id"])
        await peer.until_closed()

    async with scripted(lose, answer) as (portfolio, server):
        with pytest.raises(Disconnected) as lost:
            await portfolio.trade("AAPL", 1)
        assert (lost.value.retryable, lost.value.sent) == (True, True)
        assert trio.current_time() == 0
        # The next one waits for the new connection.
        assert (await portfolio.get_portfolio()).version == 3
        assert server.dialled == 2


async def test_a_server_that_stays_away_is_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        road = Road(house)
        backoff = Backoff(first=1, longest=8)
        async with enter(house, road, backoff=backoff, limits=Limits(request_seconds=10)) as portfolio:
            road.house = None
            await road.cut()
            begun = trio.current_time()
            with pytest.raises(RequestTimedOut) as late:
                await portfolio.trade("AAPL", 1)
            assert late.value.sent is False
            assert trio.current_time() == pytest.approx(begun + 10)
            with pytest.raises(RequestTimedOut):
                async with portfolio.analyze("AAPL"):
                    raise AssertionError("there is no connection")
            await trio.sleep(100)
            # 1 + 2 + 4 seconds, then 8 at most and 4 at least each time.
            assert 1 + 3 + 110 // 8 <= road.dialled <= 1 + 4 + 120 // 4
            # One loss, however many attempts.
            assert [e for e in await silence(portfolio, 1) if isinstance(e, ConnectionLost)] != []
            assert await silence(portfolio, 50) == []
            road.house = house
            await trio.sleep(8)
            assert portfolio.connected
            assert portfolio.state.version == 1


async def test_a_server_that_always_closes_again_is_not_stormed(autojump_clock: MockClock) -> None:
    async def overloaded(peer: Peer) -> None:
        await peer.send_state()
        await peer.socket.aclose(1013, "too much")

    async with scripted(overloaded, backoff=Backoff(first=1, longest=16)) as (_, server):
        await trio.sleep(31)
        assert server.dialled <= 1 + 5 + 2


async def test_a_drained_server_is_left_for_the_next(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=Delay(60, 60), drain_seconds=10) as house, open_house() as new:
        road = Road(house)
        async with enter(house, road) as portfolio:
            with pytest.raises(RunCancelled) as cancelled:
                async with portfolio.analyze("AAPL") as results:
                    await trio.sleep(1)
                    house.nursery.start_soon(house.server.drain)
                    await results.completed()
            assert (cancelled.value.reason, cancelled.value.retryable) == ("draining", True)
            lost = (await events_until(portfolio, ConnectionLost))[-1]
            assert isinstance(lost, ConnectionLost)
            assert lost.code == 1001
            # It answers 503 until its place is taken.
            await trio.sleep(10)
            assert not portfolio.connected
            tried = road.dialled
            assert tried > 2
            road.house = new
            async with portfolio.analyze("AAPL") as results:
                assert len(await results.completed()) == 5


async def test_a_draining_server_takes_no_analysis(autojump_clock: MockClock) -> None:
    async with (
        open_house(metric_delay_seconds=SLOW) as house,
        enter(house) as portfolio,
        portfolio.analyze("AAPL") as results,
    ):
        house.nursery.start_soon(house.server.drain)
        await trio.testing.wait_all_tasks_blocked()
        other = await house.connect()
        assert other is None or len(await results.completed()) == 5


async def test_a_policy_close_is_final(autojump_clock: MockClock) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.send_state()
        await peer.receive()
        await peer.socket.aclose(1008, "the token has expired")

    async with scripted(refuse) as (portfolio, server):
        with pytest.raises(Disconnected, match="1008: the token has expired") as first:
            await portfolio.get_portfolio()
        assert first.value.retryable is False
        assert isinstance(await anext(portfolio), Portfolio)
        for request in (portfolio.get_portfolio, portfolio.cancel, portfolio.__anext__):
            with pytest.raises(Disconnected) as later:
                await request()
            assert (later.value.ending.code, later.value.retryable) == (1008, False)
            assert later.value.sent is False
        with pytest.raises(Disconnected):
            async with portfolio.analyze("AAPL"):
                raise AssertionError("there is no connection")
        await trio.sleep(100)
        assert server.dialled == 1


@pytest.mark.parametrize(("code", "again"), [(1000, 0), (1001, 1), (1009, 0), (1011, 1), (1012, 1), (1013, 1)])
async def test_close_codes_decide_about_connecting_again(
    autojump_clock: MockClock, code: int, again: int
) -> None:
    async def close(peer: Peer) -> None:
        await peer.send_state()
        await peer.socket.aclose(code)

    async def stay(peer: Peer) -> None:
        await peer.send_state(version=2)
        await peer.until_closed()

    async with scripted(close, stay) as (portfolio, server):
        await trio.sleep(5)
        assert server.dialled == 1 + again
        assert portfolio.state.version == 1 + again


async def test_a_server_that_takes_nothing_is_given_up_and_connected_to_again(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        capacity = iter([400, 100_000])
        road = Road(house, lambda stream: NarrowStream(stream, next(capacity)))
        async with enter(house, road, limits=Limits(send_seconds=5)) as portfolio:
            with pytest.raises(Disconnected):
                await portfolio.set_holdings({f"A{n}": 1 for n in range(100)})
            assert trio.current_time() == pytest.approx(5)
            assert (await portfolio.get_portfolio()).version == 1
            assert road.dialled == 2


# --- the first connection ---


async def test_a_server_that_cannot_be_reached_is_an_error_at_once(autojump_clock: MockClock) -> None:
    road = Road(None)
    with pytest.raises(ConnectFailed, match="nobody listens") as failed:
        async with connect(URL, open_stream=road.dial):
            raise AssertionError("there is no server")
    assert failed.value.retryable is True
    assert road.dialled == 1


async def test_a_server_that_goes_silent_in_the_handshake_is_an_error_in_time(
    autojump_clock: MockClock,
) -> None:
    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return trio.testing.memory_stream_pair()[0]

    with pytest.raises(ConnectFailed, match="did not answer within 3 s"):
        async with connect(URL, open_stream=dial, limits=Limits(connect_seconds=3)):
            raise AssertionError("there is no server")
    assert trio.current_time() == pytest.approx(3)


async def test_a_server_that_hangs_up_in_the_handshake_is_an_error_at_once(autojump_clock: MockClock) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_eof()
        return ours

    with pytest.raises(ConnectFailed, match="closed the connection during the handshake"):
        async with connect(URL, open_stream=dial):
            raise AssertionError("there is no server")
    assert trio.current_time() == 0


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "wait"),
    [
        (b"503 No\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\ndraining", 503, True, 7),
        (b"401 No\r\nContent-Length: 0\r\n\r\n", 401, False, 0),
        (b"404 No\r\nRetry-After: soon\r\nContent-Length: 4\r\n\r\nnope", 404, False, 0),
    ],
)
async def test_a_refused_upgrade_says_with_what(
    autojump_clock: MockClock, answer: bytes, status: int, retryable: bool, wait: int
) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(b"HTTP/1.1 " + answer)
        return ours

    with pytest.raises(ConnectFailed, match=f"HTTP {status}") as failed:
        async with connect(URL, open_stream=dial):
            raise AssertionError("it was refused")
    ending = failed.value.ending
    assert (ending.status, ending.retryable, ending.retry_after) == (status, retryable, wait)


async def test_a_server_without_the_subprotocol_is_an_error(autojump_clock: MockClock) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        # The key that belongs to the answer is not known before; a wrong one is refused as well.
        await theirs.send_all(b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await theirs.send_eof()
        return ours

    with pytest.raises(ConnectFailed):
        async with connect(URL, open_stream=dial):
            raise AssertionError("it was refused")


async def test_a_store_that_is_away_when_the_session_opens_is_an_error(autojump_clock: MockClock) -> None:
    async def away(peer: Peer) -> None:
        await peer.send(type="error", code="unavailable", detail="no Redis", retryable=True)
        await peer.until_closed()

    with pytest.raises(ConnectFailed, match="unavailable: no Redis") as failed:
        async with scripted(away):
            raise AssertionError("there is no state")
    assert failed.value.retryable is True


@pytest.mark.parametrize("url", ["http://h/ws/s", "ws:///ws/s", "ws://h/s", "h", "ws://h:port/ws/s"])
async def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        async with connect(url):
            raise AssertionError("it leads nowhere")


async def test_the_token_travels_in_a_header(autojump_clock: MockClock) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.extend(peer.request.headers)
        await peer.send_state()
        await peer.until_closed()

    async with trio.open_nursery() as nursery:
        from tests.support.client import ScriptedServer

        server = ScriptedServer(nursery, script)
        async with connect(URL, open_stream=server.dial, token="abc"):
            assert (b"authorization", b"Bearer abc") in seen
        nursery.cancel_scope.cancel()


# --- events ---


async def test_events_are_the_models_of_the_protocol_in_order(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        viewer = await house.connect()
        await viewer.send("analyze", ticker="AAPL")
        seen = await events_until(portfolio, AnalysisCompleted)
        assert [type(event) for event in seen] == [
            Portfolio,
            AnalysisStarted,
            *[ReceivedResult] * 5,
            AnalysisCompleted,
        ]


async def test_bare_answers_are_no_events(autojump_clock: MockClock) -> None:
    async with open_house() as house, enter(house) as portfolio:
        await portfolio.get_results()
        with pytest.raises(RequestFailed):
            await portfolio.set_holdings({"MSFT": 1}, version=7)
        await portfolio.trade("AAPL", 1)
        assert [type(event) for event in await silence(portfolio, 1)] == [Portfolio, Portfolio]


async def test_a_type_of_a_newer_server_is_passed_through(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        await peer.send(type="dividend", ticker="AAPL", amount=0.25)
        await peer.until_closed()

    async with scripted(script) as (portfolio, _):
        event = (await events_until(portfolio, Unknown))[-1]
        assert isinstance(event, Unknown)
        assert (event.type, event.model_extra) == ("dividend", {"ticker": "AAPL", "amount": 0.25})


@pytest.mark.parametrize(
    "frame", ["{", "[]", "{}", '{"type":3}', '{"type":"portfolio"}', b"\x00", '{"type":"x","id":[]}']
)
async def test_a_server_that_breaks_the_protocol_is_left(
    autojump_clock: MockClock, frame: str | bytes
) -> None:
    codes = []

    async def script(peer: Peer) -> None:
        await peer.send_state()
        await peer.socket.send_message(frame)
        codes.append(await peer.until_closed())

    async with scripted(script) as (portfolio, server):
        with pytest.raises(Disconnected, match="the server broke the protocol"):
            await events_until(portfolio, Unknown)
        assert codes == [1002]
        assert server.dialled == 1


async def test_a_slow_loop_misses_the_oldest_and_is_told_how_many(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        for version in range(1, 26):
            await peer.send_state(version=version)
        await peer.until_closed()

    async with scripted(script, limits=Limits(max_events=10)) as (portfolio, _):
        await trio.testing.wait_all_tasks_blocked()
        seen = await silence(portfolio, 1)
        assert seen[0] == Missed(15)
        assert [e.version for e in seen[1:] if isinstance(e, Portfolio)] == list(range(16, 26))
        assert portfolio.state.version == 25


async def test_of_portfolio_updates_only_the_newest_waits(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        for tick in range(2, 6):
            await peer.send(**update(tick))
            await peer.send(type="other", tick=tick)
        await go_on.wait()
        await peer.send(**update(6))
        await peer.until_closed()

    go_on = trio.Event()
    async with scripted(script) as (portfolio, _):
        await trio.testing.wait_all_tasks_blocked()
        assert portfolio.state.total_value == 5
        assert portfolio.state.valued.tick_id == 5
        assert portfolio.values == {"AAPL": 5.0}
        seen = await silence(portfolio, 1)
        assert [type(e) for e in seen] == [Portfolio, *[Unknown] * 3, PortfolioUpdate, Unknown]
        go_on.set()
        last = (await events_until(portfolio, PortfolioUpdate))[-1]
        assert isinstance(last, PortfolioUpdate)
        assert last.tick_id == 6


async def test_an_edit_forgets_the_values_of_the_old_holdings(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        await peer.send(**update(2))
        await peer.send_state(version=2)
        await peer.until_closed()

    async with scripted(script) as (portfolio, _):
        await trio.testing.wait_all_tasks_blocked()
        assert portfolio.values == {}
        assert portfolio.state.version == 2


async def test_two_loops_share_the_events(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        for version in range(1, 7):
            await peer.send_state(version=version)
            await trio.sleep(1)
        await peer.until_closed()

    got: list[Event] = []

    async def loop(portfolio: PortfolioClient) -> None:
        async for event in portfolio:
            got.append(event)

    async with scripted(script) as (portfolio, _), trio.open_nursery() as nursery:
        nursery.start_soon(loop, portfolio)
        nursery.start_soon(loop, portfolio)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [e.version for e in got if isinstance(e, Portfolio)] == [1, 2, 3, 4, 5, 6]


# --- the block ---


async def test_nothing_outlives_the_block(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=SLOW) as house:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with enter(house) as portfolio:
            with trio.move_on_after(1):
                async with portfolio.analyze("AAPL") as results:
                    await results.completed()
        with trio.move_on_after(1):
            async with enter(house) as portfolio, portfolio.analyze("AAPL") as results:
                await results.completed()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert house.server.services.hub.rooms == ()
        assert (await house.document())["current_analysis"] is None
        with pytest.raises(ClientError):
            await portfolio.get_portfolio()


async def test_a_block_that_ends_says_goodbye_and_ends_the_loops(autojump_clock: MockClock) -> None:
    codes = []
    ended = []

    async def script(peer: Peer) -> None:
        await peer.send_state()
        codes.append(await peer.until_closed())

    async def loop(portfolio: PortfolioClient) -> None:
        async for _ in portfolio:
            pass
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with scripted(script) as (portfolio, _):
            nursery.start_soon(loop, portfolio)
            await trio.sleep(1)
    assert codes == [1000]
    assert ended == [1]


async def test_a_server_that_does_not_say_goodbye_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        road = Road(house, lambda stream: NarrowStream(stream, 300))
        async with enter(house, road, limits=Limits(close_seconds=2)):
            road.stream.capacity = 0  # type: ignore[attr-defined]  # it is a NarrowStream
        assert trio.current_time() == pytest.approx(2)


async def test_what_the_block_raises_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(ZeroDivisionError):
            async with enter(house):
                _ = 1 / 0


async def test_a_failure_is_not_lost_in_a_cancellation(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(ZeroDivisionError), trio.CancelScope() as scope:
            async with enter(house):
                scope.cancel()
                _ = 1 / 0


def update(tick: int) -> dict[str, object]:
    return {
        "type": "portfolio_update",
        "total_value": float(tick),
        "values": {"AAPL": float(tick)},
        "tick_id": tick,
        "as_of": "2026-01-01T00:00:00.000Z",
        "stale": False,
    }


def started(request_id: int | None, run_id: int) -> dict[str, object]:
    return {
        "type": "analysis_started",
        "id": request_id,
        "ticker": "AAPL",
        "run_id": run_id,
        "metrics": list(METRICS),
        "snapshot": "x",
        "version": STATE.version,
        "tick_id": 1,
        "as_of": "2026-01-01T00:00:00.000Z",
    }
