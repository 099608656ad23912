"""The loop over the events."""

from __future__ import annotations

import ssl

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    Disconnected,
    Event,
    Limits,
    Missed,
    PortfolioClient,
    ReceivedResult,
    RequestFailed,
    Unknown,
)
from portfolio_trio.protocol.messages import (
    AnalysisCompleted,
    AnalysisStarted,
    Portfolio,
    PortfolioUpdate,
)
from portfolio_trio.settings import Delay
from tests.support.app import open_app
from tests.support.client import (
    Peer,
    enter,
    events_until,
    scripted,
    silence,
    update,
)

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_events_are_the_models_of_the_protocol_in_order(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
        subscriber = await app.connect()
        await subscriber.send("analyze", ticker="AAPL")
        seen = await events_until(portfolio, AnalysisCompleted)
        assert [type(event) for event in seen] == [
            Portfolio,
            AnalysisStarted,
            *[ReceivedResult] * 5,
            AnalysisCompleted,
        ]


async def test_bare_answers_are_no_events(autojump_clock: MockClock) -> None:
    async with open_app() as app, enter(app) as portfolio:
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
        with pytest.raises(Disconnected, match="the server violated the protocol"):
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


async def test_the_values_come_with_the_state_and_follow_it(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state(values={"AAPL": 9.0})
        await go_on.wait()
        await peer.send(**update(2))
        await peer.until_closed()

    go_on = trio.Event()
    async with scripted(script) as (portfolio, _):
        assert portfolio.values == portfolio.state.values == {"AAPL": 9.0}
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert portfolio.values == portfolio.state.values == {"AAPL": 2.0}
        assert portfolio.state.valued.tick_id == 2


async def test_two_loops_share_the_events(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        for version in range(1, 7):
            await peer.send_state(version=version)
            await trio.sleep(1)
        await peer.until_closed()

    got: list[Event] = []

    async def loop(portfolio: PortfolioClient) -> None:
        async for event in portfolio:
            got.append(event)  # noqa: PERF401  # a comprehension would lose what it has when it is cancelled

    async with scripted(script) as (portfolio, _), trio.open_nursery() as nursery:
        nursery.start_soon(loop, portfolio)
        nursery.start_soon(loop, portfolio)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [e.version for e in got if isinstance(e, Portfolio)] == [1, 2, 3, 4, 5, 6]
