"""A peer that vanishes is noticed in time; one that is only quiet is left alone."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.access import keep_alive
from portfolio_trio.http import Disconnected, WebSocketTransport
from tests.http.door import VIRTUAL_TIME, Door, run_in_virtual_time
from tests.http.frames import PING, PONG, frame
from tests.support.streams import Kept, NarrowStream, StallingStream

INTERVAL, TIMEOUT = 20.0, 10.0


class Watched:
    """A session that only receives and keeps alive, and remembers when and how that ended."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ended_at: float | None = None
        self.ended: Disconnected | None = None
        self.over = trio.Event()
        self.door = Door(nursery)
        self.door.session = self.session

    async def session(self, transport: WebSocketTransport) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, transport)
            self.ended = await keep_alive(transport, interval=INTERVAL, timeout=TIMEOUT)
            self.ended_at = trio.current_time()
            self.over.set()

    async def _receive(self, transport: WebSocketTransport) -> None:
        try:
            while True:
                await transport.receive()
        except Disconnected:
            return


@pytest.fixture
def watched(nursery: trio.Nursery) -> Watched:
    return Watched(nursery)


@VIRTUAL_TIME
async def test_a_vanished_peer_is_gone_within_the_deadline(watched: Watched) -> None:
    async with watched.door.connect() as client:
        await client.upgrade()
        start = trio.current_time()
        await watched.over.wait()
        assert watched.ended_at == start + INTERVAL + TIMEOUT
        assert watched.ended is not None
        assert watched.ended.code == 1006
        await client.rest()
    await trio.testing.wait_all_tasks_blocked()
    assert watched.door.open == 0


@VIRTUAL_TIME
async def test_a_peer_that_answers_is_left_alone_for_days(watched: Watched) -> None:
    async with watched.door.connect() as client:
        await client.upgrade()
        for _ in range(1_000):
            ping = await client.next_frame()
            assert ping.opcode == PING
            await trio.sleep(TIMEOUT * 0.9)
            await client.send(frame(PONG, ping.payload))
        assert watched.ended is None
        assert (await client.next_frame()).opcode == PING


@VIRTUAL_TIME
async def test_a_peer_that_takes_nothing_is_gone_within_the_deadline(watched: Watched) -> None:
    kept = Kept(lambda stream: NarrowStream(stream, capacity=1_000))
    async with watched.door.connect(kept) as client:
        await client.upgrade()
        kept.stream.capacity = 0
        start = trio.current_time()
        await watched.over.wait()
        assert watched.ended_at == start + INTERVAL + TIMEOUT


@VIRTUAL_TIME
async def test_what_the_network_holds_back_for_less_than_the_deadline_is_no_loss(watched: Watched) -> None:
    kept = Kept(StallingStream)
    async with watched.door.connect(kept) as client:
        await client.upgrade()
        kept.stream.stall_receiving()
        ping = await client.next_frame()
        await client.send(frame(PONG, ping.payload))
        await trio.sleep(TIMEOUT * 0.9)
        kept.stream.resume()
        assert (await client.next_frame()).opcode == PING
        assert watched.ended is None


@VIRTUAL_TIME
async def test_a_peer_that_leaves_in_words_is_noticed(watched: Watched) -> None:
    async with watched.door.connect() as client:
        await client.upgrade()
        await client.stream.aclose()
        await watched.over.wait()


class Peer:
    """Answers each ping after a delay, or never (None)."""

    def __init__(self, delays: list[float | None]) -> None:
        self.delays = delays
        self.pings = 0

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - the real one's signature
        delay = self.delays[self.pings] if self.pings < len(self.delays) else None
        self.pings += 1
        with trio.move_on_after(timeout) as limit:
            await trio.sleep(math.inf if delay is None else delay)
        if limit.cancelled_caught:
            raise Disconnected(1006)


@given(
    st.lists(st.none() | st.floats(0, 2 * TIMEOUT), max_size=20),
    st.floats(0.1, 60),
    st.floats(0.1, 60),
)
def test_it_ends_with_the_first_pong_that_is_late(
    delays: list[float | None], interval: float, timeout: float
) -> None:
    on_time = []
    for delay in delays:
        if delay is None or delay >= timeout:
            break
        on_time.append(delay)
    peer = Peer(delays)

    async def main() -> None:
        start = trio.current_time()
        await keep_alive(peer, interval=interval, timeout=timeout)
        took = trio.current_time() - start
        assert took == pytest.approx(sum(on_time) + (len(on_time) + 1) * interval + timeout, abs=1e-6)

    run_in_virtual_time(main)
    assert peer.pings == len(on_time) + 1


def test_it_can_be_cancelled() -> None:
    async def main() -> None:
        with trio.move_on_after(1_000) as limit:
            await keep_alive(Peer([0.0] * 1_000), interval=5, timeout=1)
        assert limit.cancelled_caught

    run_in_virtual_time(main)
