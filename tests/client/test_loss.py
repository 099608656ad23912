"""Connections that are lost, and opened again."""

from __future__ import annotations

import ssl

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    Backoff,
    ConnectionLost,
    Disconnected,
    Limits,
    RequestTimedOut,
    RunCancelled,
    RunFailed,
    connect,
)
from portfolio_trio.protocol.messages import (
    Portfolio,
)
from portfolio_trio.settings import Delay
from tests.support.app import open_app
from tests.support.client import (
    URL,
    Peer,
    Transport,
    enter,
    events_until,
    scripted,
    silence,
)
from tests.support.streams import NarrowStream

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_a_broken_stream_cancels_the_run_and_the_client_comes_back_with_the_state(
    autojump_clock: MockClock,
) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        transport = Transport(app)
        subscriber = await app.connect(events=True)
        async with enter(app, transport) as portfolio:
            async with portfolio.analyze("AAPL") as results:
                await trio.sleep(1)
                await transport.cut()
                with pytest.raises(Disconnected) as lost:
                    await results.completed()
            assert (lost.value.retryable, lost.value.ending.code) == (True, 1006)
            assert trio.current_time() == pytest.approx(1)
            assert not portfolio.connected
            assert (await subscriber.until("analysis_cancelled"))[-1]["reason"] == "disconnected"
            await subscriber.send("trade", ticker="AAPL", shares=1)

            seen = await events_until(portfolio, ConnectionLost)
            assert isinstance(seen[-1], ConnectionLost)
            assert 0.125 <= seen[-1].retry_in <= 0.25
            state = (await events_until(portfolio, Portfolio))[-1]
            assert trio.current_time() == pytest.approx(1 + seen[-1].retry_in)
            assert isinstance(state, Portfolio)
            assert state.version == 2
            assert portfolio.state == state
            assert state.current_analysis is None
            assert transport.dialled == 2
            async with portfolio.analyze("AAPL") as results:
                assert len(await results.completed()) == 5
        assert [r["run_id"] for r in (await app.document())["analysis_results"]] == [2] * 5


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
            await portfolio.set_holdings({"AAPL": 1})
        assert (lost.value.retryable, lost.value.sent) == (True, True)
        assert trio.current_time() == 0
        # The next one waits for the new connection.
        assert (await portfolio.get_portfolio()).version == 3
        assert server.dialled == 2


async def test_a_server_that_stays_away_is_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        transport = Transport(app)
        backoff = Backoff(first=1, longest=8)
        async with enter(app, transport, backoff=backoff, limits=Limits(request_seconds=10)) as portfolio:
            transport.app = None
            await transport.cut()
            await trio.testing.wait_all_tasks_blocked()
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
            assert 1 + 3 + 110 // 8 <= transport.dialled <= 1 + 4 + 120 // 4
            # One loss, however many attempts.
            assert [e for e in await silence(portfolio, 1) if isinstance(e, ConnectionLost)] != []
            assert await silence(portfolio, 50) == []
            transport.app = app
            await trio.sleep(8)
            assert portfolio.connected
            assert portfolio.state.version == 1


async def test_a_server_that_always_closes_again_is_tried_at_growing_intervals(
    autojump_clock: MockClock,
) -> None:
    async def overloaded(peer: Peer) -> None:
        await peer.send_state()
        await peer.socket.aclose(1013, "too much")

    async with scripted(overloaded, backoff=Backoff(first=1, longest=16)) as (_, server):
        await trio.sleep(31)
        assert 1 + 5 <= server.dialled <= 1 + 5 + 2


async def test_a_connection_that_lasted_starts_the_pauses_over(autojump_clock: MockClock) -> None:
    async def fall(peer: Peer) -> None:
        await peer.send_state()

    async def last(peer: Peer) -> None:
        await peer.send_state()
        await trio.sleep(20)

    backoff = Backoff(first=1, longest=16)
    async with scripted(fall, fall, fall, fall, last, fall, backoff=backoff) as (portfolio, _):
        pauses: list[float] = []
        while len(pauses) < 6:
            lost = (await events_until(portfolio, ConnectionLost))[-1]
            assert isinstance(lost, ConnectionLost)
            pauses.append(lost.retry_in)
    for pause, whole in zip(pauses, (1, 2, 4, 8, 1, 2), strict=True):
        assert whole / 2 <= pause <= whole


async def test_a_server_that_names_a_pause_is_given_it(autojump_clock: MockClock) -> None:
    moments = []

    async def dial() -> trio.abc.Stream:
        moments.append(trio.current_time())
        if len(moments) != 2:
            return await transport.dial()
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(b"HTTP/1.1 503 No\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n")
        return ours

    async with open_app() as app:
        transport = Transport(app)
        async with connect(URL, open_stream=dial) as portfolio:
            await transport.cut()
            await trio.sleep(30)
            assert portfolio.connected
    assert len(moments) == 3
    assert moments[2] - moments[1] == pytest.approx(20)


async def test_a_drained_server_is_left_for_the_next(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(60, 60), drain_seconds=10) as app, open_app() as new:
        transport = Transport(app)
        async with enter(app, transport) as portfolio:
            async with portfolio.analyze("AAPL") as results:
                await trio.sleep(1)
                app.nursery.start_soon(app.server.drain)
                with pytest.raises(RunCancelled) as cancelled:
                    await results.completed()
            assert (cancelled.value.reason, cancelled.value.retryable) == ("draining", True)
            lost = (await events_until(portfolio, ConnectionLost))[-1]
            assert isinstance(lost, ConnectionLost)
            assert lost.code == 1001
            # It answers 503 until its place is taken.
            await trio.sleep(10)
            assert not portfolio.connected
            tried = transport.dialled
            assert tried > 2
            transport.app = new
            async with portfolio.analyze("AAPL") as results:
                assert len(await results.completed()) == 5


async def test_a_draining_server_takes_no_analysis_and_finishes_the_one_it_has(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_app(metric_delay_seconds=SLOW) as app,
        enter(app) as one,
        enter(app, session_id="other") as two,
        one.analyze("AAPL") as results,
    ):
        app.nursery.start_soon(app.server.drain)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RunFailed) as failed:
            async with two.analyze("AAPL"):
                raise AssertionError("it has not started")
        assert (failed.value.code, failed.value.retryable) == ("draining", True)
        assert len(await results.completed()) == 5


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


@pytest.mark.parametrize(
    ("code", "again"), [(1000, 0), (1001, 1), (1009, 0), (1011, 1), (1012, 1), (1013, 1)]
)
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
    async with open_app() as app:
        capacity = iter([400, 100_000])
        transport = Transport(app, lambda stream: NarrowStream(stream, next(capacity)))
        async with enter(app, transport, limits=Limits(send_seconds=5)) as portfolio:
            with pytest.raises(Disconnected):
                await portfolio.set_holdings({f"A{n}": 1 for n in range(100)})
            assert trio.current_time() == pytest.approx(5)
            assert (await portfolio.get_portfolio()).version == 1
            assert transport.dialled == 2
