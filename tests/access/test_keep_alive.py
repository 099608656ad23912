"""A peer that vanishes is detected in time; one that is only quiet is not disturbed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.access import KeepAlive
from portfolio_trio.access._keep_alive import AT_ONCE, PAUSE_SECONDS
from portfolio_trio.faults import Faults
from portfolio_trio.http import Disconnected, WebSocketTransport
from tests.http.frames import PING, PONG, frame
from tests.http.memory_server import VIRTUAL_TIME, MemoryServer, run_in_virtual_time
from tests.support.logs import events
from tests.support.streams import Kept, NarrowStream, StallingStream

INTERVAL, TIMEOUT = 20.0, 10.0


class Watched:
    """Sessions that only receive and are kept alive; remembers when and how the last to end did."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ended_at: float | None = None
        self.ended: Disconnected | None = None
        self.over = trio.Event()
        self.memory_server = MemoryServer(nursery)
        self.memory_server.session = self.session
        self.keep_alive = KeepAlive(interval=INTERVAL, timeout=TIMEOUT, faults=Faults())
        nursery.start_soon(self.keep_alive.run)

    async def session(self, transport: WebSocketTransport) -> None:
        socket = Socket(transport, self)
        self.keep_alive.watch(socket)
        try:
            with socket.scope:
                while True:
                    await transport.receive()
        except Disconnected as gone:
            self.note(gone)
        finally:
            self.keep_alive.forget(socket)

    def note(self, gone: Disconnected) -> None:
        self.ended = gone
        self.ended_at = trio.current_time()
        self.over.set()


class Socket:
    def __init__(self, transport: WebSocketTransport, watched: Watched) -> None:
        self.scope = trio.CancelScope()
        self._transport = transport
        self._watched = watched

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - the real one's signature
        try:
            await self._transport.ping(timeout)
        except Disconnected as gone:
            self._watched.note(gone)
            raise

    def lose(self) -> None:
        self.scope.cancel()

    def fail(self) -> None:
        raise AssertionError("no ping failed")


@pytest.fixture
def watched(nursery: trio.Nursery) -> Watched:
    return Watched(nursery)


@VIRTUAL_TIME
async def test_a_vanished_peer_is_gone_within_the_deadline(watched: Watched) -> None:
    async with watched.memory_server.connect() as client:
        await client.upgrade()
        start = trio.current_time()
        await watched.over.wait()
        assert watched.ended_at == start + INTERVAL + TIMEOUT
        assert watched.ended is not None
        assert watched.ended.code == 1006
        await client.rest()
    await trio.testing.wait_all_tasks_blocked()
    assert watched.memory_server.open == 0


@VIRTUAL_TIME
async def test_a_peer_that_answers_is_left_alone_for_days(watched: Watched) -> None:
    async with watched.memory_server.connect() as client:
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
    async with watched.memory_server.connect(kept) as client:
        await client.upgrade()
        kept.stream.capacity = 0
        start = trio.current_time()
        await watched.over.wait()
        assert watched.ended_at == start + INTERVAL + TIMEOUT


@VIRTUAL_TIME
async def test_what_the_network_holds_back_for_less_than_the_deadline_is_no_loss(watched: Watched) -> None:
    kept = Kept(StallingStream)
    async with watched.memory_server.connect(kept) as client:
        await client.upgrade()
        kept.stream.stall_receiving()
        ping = await client.next_frame()
        await client.send(frame(PONG, ping.payload))
        await trio.sleep(TIMEOUT * 0.9)
        kept.stream.resume()
        assert (await client.next_frame()).opcode == PING
        assert watched.ended is None


@VIRTUAL_TIME
async def test_a_peer_that_sends_a_close_frame_is_noticed(watched: Watched) -> None:
    async with watched.memory_server.connect() as client:
        await client.upgrade()
        await client.stream.aclose()
        await watched.over.wait()


@VIRTUAL_TIME
async def test_who_left_is_forgotten_at_once(watched: Watched) -> None:
    async with watched.memory_server.connect() as client, watched.memory_server.connect() as pinged:
        await client.upgrade()
        await pinged.upgrade()
        assert len(watched.keep_alive) == 2
        assert (await pinged.next_frame()).opcode == PING
        await pinged.stream.aclose()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(watched.keep_alive) == 0


@VIRTUAL_TIME
async def test_a_vanished_peer_delays_nobody(watched: Watched) -> None:
    kept = Kept(lambda stream: NarrowStream(stream, capacity=1_000))
    async with watched.memory_server.connect(kept) as dead, watched.memory_server.connect() as client:
        await dead.upgrade()
        await client.upgrade()
        kept.stream.capacity = 0
        start, pinged_at = trio.current_time(), []
        for _ in range(4):
            ping = await client.next_frame()
            pinged_at.append(trio.current_time() - start)
            await client.send(frame(PONG, ping.payload))
        assert pinged_at == [INTERVAL, 2 * INTERVAL, 3 * INTERVAL, 4 * INTERVAL]
        assert watched.ended_at == start + INTERVAL + TIMEOUT


class Peer:
    """Answers each ping after a delay, or never (None), or fails at it (an exception)."""

    def __init__(self, delays: list[float | None]) -> None:
        self.delays = delays
        self.pinged_at: list[float] = []
        self.lost_at: float | None = None
        self.failure: Exception | None = None

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - the real one's signature
        turn = len(self.pinged_at)
        self.pinged_at.append(trio.current_time())
        if self.failure is not None:
            raise self.failure
        delay = self.delays[turn] if turn < len(self.delays) else None
        with trio.move_on_after(timeout) as limit:
            await trio.sleep(math.inf if delay is None else delay)
        if limit.cancelled_caught:
            raise Disconnected(1006)

    def lose(self) -> None:
        assert self.lost_at is None
        self.lost_at = trio.current_time()

    def fail(self) -> None:
        self.lose()

    def pings_until_lost(self, timeout: float) -> list[float]:
        """How long each ping takes until the first that is late, which takes all the time there is."""
        taken = []
        for delay in self.delays:
            if delay is None or delay >= timeout:
                break
            taken.append(delay)
        return [*taken, timeout]


delays = st.lists(st.none() | st.floats(0, 2 * TIMEOUT), max_size=10)


@given(st.lists(st.tuples(st.floats(0, 30), delays), max_size=6), st.floats(0.1, 60), st.floats(0.1, 60))
def test_each_is_lost_with_its_first_pong_that_is_late(
    comings: list[tuple[float, list[float | None]]], interval: float, timeout: float
) -> None:
    """Each socket is pinged as if it were alone, whatever others there are."""
    peers = [Peer(delays) for _, delays in comings]
    came_at: list[float] = []

    async def main() -> None:
        keep_alive = KeepAlive(interval=interval, timeout=timeout, faults=Faults())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_alive.run)
            for peer, (wait, _) in zip(peers, comings, strict=True):
                await trio.sleep(wait)
                keep_alive.watch(peer)
                came_at.append(trio.current_time())
            await trio.sleep(20 * (interval + timeout))
            assert len(keep_alive) == 0
            nursery.cancel_scope.cancel()

    run_in_virtual_time(main)
    for peer, came in zip(peers, came_at, strict=True):
        taken = peer.pings_until_lost(timeout)
        assert len(peer.pinged_at) == len(taken)
        assert peer.pinged_at[0] == pytest.approx(came + interval, abs=1e-6)
        gaps = [after - before for before, after in pairwise(peer.pinged_at)]
        assert gaps == pytest.approx([each + interval for each in taken[:-1]], abs=1e-6)
        assert peer.lost_at == pytest.approx(came + sum(taken) + len(taken) * interval, abs=1e-6)


def test_a_ping_that_fails_loses_its_own_socket_only(caplog: pytest.LogCaptureFixture) -> None:
    broken, other = Peer([]), Peer([0.0] * 100)
    broken.failure = LookupError("a fault of ours")

    async def main() -> None:
        keep_alive = KeepAlive(interval=INTERVAL, timeout=TIMEOUT, faults=Faults())
        keep_alive.watch(broken)
        keep_alive.watch(other)
        with trio.move_on_after(3.5 * INTERVAL):
            await keep_alive.run()

    run_in_virtual_time(main)
    assert (len(broken.pinged_at), broken.lost_at) == (1, INTERVAL)
    assert (len(other.pinged_at), other.lost_at) == (3, None)
    assert events(caplog) == [("fault", {"where": "keepalive"})]


def test_who_is_forgotten_while_pinged_is_not_lost() -> None:
    peer = Peer([])

    async def main() -> None:
        keep_alive = KeepAlive(interval=INTERVAL, timeout=TIMEOUT, faults=Faults())
        keep_alive.watch(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_alive.run)
            await trio.sleep(INTERVAL + TIMEOUT / 2)
            keep_alive.forget(peer)
            await trio.sleep(10 * INTERVAL)
            nursery.cancel_scope.cancel()

    run_in_virtual_time(main)
    assert (peer.pinged_at, peer.lost_at) == ([INTERVAL], None)


class Prompt:
    """A socket whose peer answers soon; all of them count how many pings are in flight."""

    in_flight = most = pinged = 0

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - the real one's signature
        assert timeout == TIMEOUT
        Prompt.in_flight += 1
        Prompt.most = max(Prompt.most, Prompt.in_flight)
        Prompt.pinged += 1
        await trio.sleep(PAUSE_SECONDS / 2)
        Prompt.in_flight -= 1

    def lose(self) -> None:
        raise AssertionError("its peer is there")

    def fail(self) -> None:
        raise AssertionError("no ping failed")


@VIRTUAL_TIME
async def test_very_many_that_are_due_at_once_are_pinged_a_few_at_a_time(nursery: trio.Nursery) -> None:
    keep_alive = KeepAlive(interval=INTERVAL, timeout=TIMEOUT, faults=Faults())
    nursery.start_soon(keep_alive.run)
    sockets = [Prompt() for _ in range(10 * AT_ONCE + 1)]
    for socket in sockets:
        keep_alive.watch(socket)
    await trio.sleep(INTERVAL + 1)
    assert Prompt.pinged == len(sockets) == len(keep_alive)
    assert Prompt.most == AT_ONCE
