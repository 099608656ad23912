"""The block of a client: how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import ssl

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.client import (
    ClientError,
    Limits,
    PortfolioClient,
)
from portfolio_trio.settings import Delay
from tests.support.app import App, open_app
from tests.support.client import (
    Peer,
    Transport,
    enter,
    scripted,
)
from tests.support.streams import NarrowStream

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
SERVER_AUTH, CLIENT_AUTH = ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH


async def test_nothing_outlives_the_block(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=SLOW) as app:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with enter(app) as portfolio:
            with trio.move_on_after(1):
                async with portfolio.analyze("AAPL") as results:
                    await results.completed()
        with trio.move_on_after(1):
            async with enter(app) as portfolio, portfolio.analyze("AAPL") as results:
                await results.completed()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert app.server.services.hub.groups == ()
        assert (await app.document())["current_analysis"] is None
        with pytest.raises(ClientError):
            await portfolio.get_portfolio()


async def test_a_block_that_ends_closes_the_socket_and_ends_the_loops(autojump_clock: MockClock) -> None:
    codes = []
    ended = []

    async def script(peer: Peer) -> None:
        await peer.send_state()
        codes.append(await peer.until_closed())

    async def loop(portfolio: PortfolioClient) -> None:
        async for _ in portfolio:
            pass
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery, scripted(script) as (portfolio, _):
        nursery.start_soon(loop, portfolio)
        await trio.sleep(1)
    assert codes == [1000]
    assert ended == [1]


async def test_a_server_that_does_not_answer_the_close_is_not_waited_for_long(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        transport = Transport(app, lambda stream: NarrowStream(stream, 300))
        async with enter(app, transport, limits=Limits(close_seconds=2)):
            transport.stream.capacity = 0  # type: ignore[attr-defined]  # it is a NarrowStream
        assert trio.current_time() == pytest.approx(2)


async def test_what_the_block_raises_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        with pytest.raises(ZeroDivisionError):
            async with enter(app):
                _ = 1 / 0


async def test_a_failure_is_not_lost_in_a_cancellation(autojump_clock: MockClock) -> None:
    async def fail(app: App, scope: trio.CancelScope) -> None:
        async with enter(app):
            scope.cancel()
            _ = 1 / 0

    async with open_app() as app:
        with pytest.raises(ZeroDivisionError), trio.CancelScope() as scope:
            await fail(app, scope)
