"""The end of a server: every open socket is told, also one that came in at the last moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed

from portfolio_trio.settings import Delay
from portfolio_trio.store import SessionMissing
from tests.support.house import Client, House, open_house
from tests.support.streams import StallingStream

pytestmark = pytest.mark.trio

SECRET = "k" * 32


@dataclass
class Late:
    """A client whose 101 is held up on its way."""

    road: StallingStream
    client: Client | None = None

    async def knock(self, house: House, stream: trio.abc.Stream) -> None:
        self.client = await house.connect_through(stream, events=True)


async def knock(house: House) -> Late:
    ours, theirs = memory_stream_pair()
    late = Late(StallingStream(theirs))
    late.road.stall_sending()
    house.server.connections.start_soon(house.server.http_server.serve, late.road)
    house.nursery.start_soon(late.knock, house, ours)
    await trio.testing.wait_all_tasks_blocked()
    return late


async def goodbye(client: Client | None) -> tuple[int, str]:
    """Read to the end, without an answer to anything; the close code and its reason."""
    assert client is not None
    with pytest.raises(ConnectionClosed) as caught:
        await to_the_end(client)
    assert caught.value.reason is not None
    return int(caught.value.reason.code), caught.value.reason.reason or ""


async def to_the_end(client: Client) -> None:
    while True:
        assert (await client.receive())["type"] == "portfolio"


def tells_when_to_come_back(closed: tuple[int, str]) -> bool:
    return closed[0] == 1001 and re.search(r"retry_after=\d+\.\d$", closed[1]) is not None


async def test_all_are_told_when_to_come_back(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        clients = [await house.connect(events=True) for _ in range(3)]
        began = trio.current_time()
        await house.server.drain()
        assert trio.current_time() == began
        assert all([tells_when_to_come_back(await goodbye(client)) for client in clients])


async def test_a_socket_whose_acceptance_is_on_its_way_is_told_and_holds_up_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        late = await knock(house)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.drain)
            await trio.sleep(0.5)
            late.road.resume()
        assert trio.current_time() - began == 0.5
        assert tells_when_to_come_back(await goodbye(late.client))
        assert not house.server._sessions
        # Nobody became a session, so nobody opened one.
        with pytest.raises(SessionMissing):
            await house.document()


async def test_a_socket_that_never_takes_its_acceptance_does_not_hold_the_drain_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await knock(house)
        began = trio.current_time()
        await house.server.drain()
        assert trio.current_time() - began <= 8


async def test_a_socket_that_has_not_said_who_it_is_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_house(auth_secret=SECRET, auth_seconds=5) as house:
        stranger = await house.connect()
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await house.server.drain()
        assert trio.current_time() == began
        assert tells_when_to_come_back(await goodbye(stranger))


async def test_a_token_that_comes_with_the_drain_opens_nothing(autojump_clock: MockClock) -> None:
    async with open_house(auth_secret=SECRET, auth_seconds=5) as house:
        late = await knock(house)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.drain)
            await trio.testing.wait_all_tasks_blocked()
            late.road.resume()
        assert tells_when_to_come_back(await goodbye(late.client))
        assert not house.server._sessions


async def test_a_session_that_fails_at_its_goodbye_holds_up_nobody(autojump_clock: MockClock) -> None:
    async def stumble() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("a fault of ours")

    async with open_house(faults=1) as house:
        broken, other = await house.connect(), await house.connect()
        await other.ask("get_portfolio")
        session: Any = next(iter(house.server._sessions))
        session._outbox.empty = stumble
        await house.server.drain()
        assert await broken.closed() == 1011
        assert tells_when_to_come_back(await goodbye(other))


async def test_a_run_that_is_open_at_the_end_is_told_its_end_once(autojump_clock: MockClock) -> None:
    async with open_house(metric_delay_seconds=Delay(100, 100), drain_seconds=1) as house:
        client = await house.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.drain)
            frames = await client.until("analysis_cancelled")
            assert [(f["type"], f["reason"]) for f in frames] == [("analysis_cancelled", "draining")]
            # And nothing else.
            assert tells_when_to_come_back(await goodbye(client))
