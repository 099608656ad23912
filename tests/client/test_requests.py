"""Requests, answers and the state."""

from __future__ import annotations

import json
import ssl

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    Disconnected,
    Limits,
    PortfolioClient,
    RequestFailed,
    RequestTimedOut,
)
from portfolio_trio.protocol.messages import (
    AnalysisCompleted,
)
from portfolio_trio.settings import Delay
from tests.support.app import HOLDINGS, METRICS, open_app
from tests.support.client import (
    Peer,
    Transport,
    enter,
    events_until,
    scripted,
)
from tests.support.streams import Kept, StallingStream

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_the_state_is_there_when_the_block_begins(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
        assert portfolio.connected
        assert portfolio.state.holdings == HOLDINGS
        assert portfolio.state.version == 1
        assert portfolio.state == await portfolio.get_portfolio()
        assert portfolio.running is None


async def test_the_state_follows_edits_of_this_and_of_other_clients(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as one, enter(app) as two:
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


async def test_who_comes_during_a_run_knows_it(autojump_clock: MockClock) -> None:
    async with (
        open_app(metric_delay_seconds=SLOW) as app,
        enter(app) as one,
        one.analyze("AAPL") as results,
        enter(app) as two,
    ):
        assert two.running is not None
        assert two.running.run_id == results.started.run_id
        assert two.state.current_analysis == two.running
        await results.completed()
        await events_until(two, AnalysisCompleted)
        assert [two.running] == [None]


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
    async def script(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        error = {"code": "bad_price", "detail": "no live price for MSFT", "retryable": True}
        await peer.send(type="error", id=asked["id"], tickers=["MSFT"], **error)
        await peer.until_closed()

    async with scripted(script) as (portfolio, _):
        with pytest.raises(RequestFailed, match="bad_price: no live price for MSFT") as refused:
            await portfolio.trade("MSFT", 1)
        assert (refused.value.tickers, refused.value.retryable) == (("MSFT",), True)


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
        with pytest.raises(RequestTimedOut, match="set_holdings was not answered within 5 s") as late:
            await portfolio.set_holdings({"AAPL": 1})
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
    async with open_app() as app, enter(app) as portfolio:
        with trio.move_on_after(0):
            await portfolio.trade("AAPL", 1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await portfolio.trade("AAPL", 1)
        assert (await portfolio.get_portfolio()).version == 1


async def test_what_was_not_sent_yet_is_not_sent_after_all(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        kept = Kept(StallingStream)
        transport = Transport(app, kept)
        async with enter(app, transport) as portfolio, trio.open_nursery() as nursery:
            kept.stream.stall_sending()
            nursery.start_soon(portfolio.get_portfolio)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1):
                await portfolio.trade("AAPL", 1)
            with trio.move_on_after(1):
                async with portfolio.analyze("AAPL"):
                    raise AssertionError("it cannot have been sent")
            kept.stream.resume()
            assert (await portfolio.get_portfolio()).version == 1
            await trio.sleep(10)
        assert (await app.document())["run_counter"] == 0


async def test_what_waited_at_the_loss_is_not_sent_over_the_next_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        kept = Kept(StallingStream)
        transport = Transport(app, kept)
        sent = []

        async def edit(portfolio: PortfolioClient) -> None:
            with pytest.raises(Disconnected) as lost:
                await portfolio.set_holdings({"AAPL": 1})
            sent.append(lost.value.sent)

        async with enter(app, transport) as portfolio, trio.open_nursery() as nursery:
            kept.stream.stall_sending()
            for _ in range(3):
                nursery.start_soon(edit, portfolio)
            await trio.testing.wait_all_tasks_blocked()
            await transport.cut()
            await trio.sleep(1)
            assert sorted(sent) == [False, False, True]
            assert (await portfolio.get_portfolio()).version == 1
            await trio.sleep(10)
            assert (await app.document())["version"] == 1


async def test_a_cancel_that_was_not_sent_cancels_nothing_over_the_next_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        kept = Kept(StallingStream)
        transport = Transport(app, kept)

        async def ask(portfolio: PortfolioClient) -> None:
            with pytest.raises(Disconnected):
                await portfolio.get_portfolio()

        async with enter(app, transport) as portfolio, trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                async with portfolio.analyze("AAPL") as results:
                    kept.stream.stall_sending()
                    nursery.start_soon(ask, portfolio)
                    await results.completed()
            await transport.cut()
            other = await app.connect()
            await other.send("analyze", ticker="MSFT")
            assert {frame["type"] for frame in await other.take(5)} == {"analysis_result"}
            assert transport.dialled == 2


async def test_recorded_results_come_back_typed(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
        async with portfolio.analyze("AAPL", receipt=True) as results:
            streamed = await results.completed()
        recorded = await portfolio.get_results()
        assert [outcome.model_copy(update={"id": None}) for outcome in streamed.values()] == list(recorded)
        assert await portfolio.get_results("MSFT") == ()
        assert [result.metric for result in await portfolio.get_results(limit=2)] == list(METRICS[-2:])
        kept = (await app.document())["analysis_results"]
        # The document keeps the receipt with the first result of the run only.
        texts = [result.to_record(receipt=place == 0) for place, result in enumerate(recorded)]
        assert [json.loads(text) for text in texts] == kept
