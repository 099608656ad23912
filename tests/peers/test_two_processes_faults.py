"""Two server processes on one Redis, of which one dies, stalls or is late, or the Redis is lost."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise

import pytest
import trio

from portfolio_trio.store import TICKS
from tests.peers.test_two_processes import (
    assert_in_order,
    both_have_one_market,
    events_until,
    next_update,
    session_ids,
    subscribers_of_both_see_the_same,
    the_newest_analyze_wins,
    until,
)
from tests.support.app import METRICS, Client, Frame, results
from tests.support.processes import (
    NO_RESTARTS,
    TICKING,
    WORKERS,
    Dialer,
    Pair,
    Shared,
    lasting_redis,
    open_dialers,
    serving_alone,
    two_processes,
)

pytestmark = pytest.mark.trio

INTERVAL = 2.0


@pytest.fixture
def doomed_pair() -> Iterator[Pair]:
    interval = ("--market-update-interval-seconds", str(INTERVAL))
    with lasting_redis() as shared, two_processes(shared, *NO_RESTARTS, *interval) as pair:
        yield pair


async def name_of(dialer: Dialer, shared: Shared) -> str:
    """A server's name, from the document of a session that no other server has."""
    session_id = next(session_ids)
    await dialer.subscribe(session_id)
    (name,) = shared.document(session_id)["attached"]
    return str(name)


async def test_kill_9_of_the_process_that_leads_the_market_and_runs_analyses(doomed_pair: Pair) -> None:
    shared = doomed_pair.shared
    async with open_dialers(*doomed_pair.servers) as (one, two):
        lost, living = await name_of(one, shared), await name_of(two, shared)
        runner, lonely, subscriber = (
            await one.connect("s"),
            await one.connect("lonely"),
            await two.subscribe("s"),
        )
        await runner.send("analyze", ticker="AAPL")
        await lonely.send("analyze", ticker="AAPL")
        await subscriber.until("analysis_started")
        await until(lambda: bool(shared.document("lonely").get("current_analysis")))
        ticks = [(await next_update(subscriber))["tick_id"]]
        assert shared.leader == lost
        doomed_pair.servers[0].supervisor.kill()

        # The session is usable at once, although no worker has noticed yet.
        await subscriber.send("analyze", ticker="MSFT")
        frames = await subscriber.until("analysis_completed")
        assert_in_order(frames, current=1)
        assert (frames[-1]["run_id"], len(results(frames))) == (2, len(METRICS))
        assert lost in shared.document("s")["attached"]

        # The tick that is due comes, or at most one interval later.
        ticks += [frame["tick_id"] for frame in frames if frame["type"] == "portfolio_update"]
        while shared.leader != living or len(ticks) < 2:
            ticks.append((await next_update(subscriber))["tick_id"])
        ticks.append((await next_update(subscriber))["tick_id"])
        # A tick is numbered by the time, in milliseconds.
        assert max(later - tick for tick, later in pairwise(ticks)) <= 2 * INTERVAL * 1000

        # Unused documents are cleared by a sweep, once the lost process is considered lost.
        await until(lambda: shared.document("lonely")["current_analysis"] is None)
        await until(lambda: shared.document("lonely")["attached"] == [])
        await until(lambda: shared.document("s")["attached"] == [living])
        await until(lambda: not shared.do("HGET", WORKERS, f"worker:{lost}"))


async def test_a_leader_that_was_stopped_for_longer_than_its_lease(redis_pair: Pair) -> None:
    shared, servers = redis_pair.shared, redis_pair.servers
    session_id = next(session_ids)
    async with open_dialers(*servers) as dialers:
        leads = [await name_of(dialer, shared) for dialer in dialers].index(shared.leader)
        stopped, dialer, other_dialer = servers[leads].supervisor, dialers[leads], dialers[1 - leads]
        here, there = await dialer.subscribe(session_id), await other_dialer.subscribe(session_id)
        async with trio.open_nursery() as nursery:
            watched: list[tuple[int, int]] = []
            nursery.start_soon(watch_ticks, shared, session_id, watched)
            updates = [await next_update(here)]
            stopped.send_signal(signal.SIGSTOP)
            try:
                before = shared.leader
                while shared.leader == before:
                    await next_update(there)
                taken_over = (await next_update(there))["tick_id"]
            finally:
                stopped.send_signal(signal.SIGCONT)
            while updates[-1]["tick_id"] < taken_over:
                updates.append(await next_update(here))
            assert shared.leader != before
            nursery.cancel_scope.cancel()
        assert_never_back(watched)
        ids = [update["tick_id"] for update in updates]
        assert ids == sorted(set(ids))
        # Its sockets have lost nothing, and its news reaches the other one.
        assert (await answer_to(here, "trade", ticker="AAPL", shares=1))["version"] == 2
        assert (await events_until(there, "portfolio"))[-1]["version"] == 2
        await both_have_one_market(servers, dialer, other_dialer)


async def watch_ticks(shared: Shared, session_id: str, seen: list[tuple[int, int]]) -> None:
    """Note each pair of the newest tick and of the tick at which a session is valued."""
    while True:
        pair = shared.tick_id, shared.document(session_id)["valued"]["tick_id"]
        if pair not in seen[-1:]:
            seen.append(pair)
        await trio.sleep(0.002)


def assert_never_back(seen: Sequence[tuple[int, int]]) -> None:
    for earlier, later in pairwise(seen):
        assert all(a <= b for a, b in zip(earlier, later, strict=True)), (earlier, later)


class Gate:
    """Listens on a loopback port and passes on to a Unix socket; shut, it keeps what clients send for later.

    Attributes:
        port: Where it listens.
        kept: All that clients have sent since it was shut.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._opened = trio.Event()
        self._opened.set()
        self.port = 0
        self.kept = b""

    def shut(self) -> None:
        self._opened = trio.Event()
        self.kept = b""

    def open(self) -> None:
        self._opened.set()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connect, listeners)

    async def _connect(self, client: trio.SocketStream) -> None:
        later, waiting = trio.open_memory_channel[bytes](1_000)
        async with await trio.open_unix_socket(self._target) as server, trio.open_nursery() as nursery:
            nursery.start_soon(self._take, client, later)
            nursery.start_soon(self._pass_on, waiting, server)
            nursery.start_soon(self._pass_back, server, client)

    async def _take(self, client: trio.SocketStream, later: trio.MemorySendChannel[bytes]) -> None:
        with later, suppress(trio.BrokenResourceError):
            async for data in client:
                self.kept += data
                await later.send(bytes(data))

    async def _pass_on(self, waiting: trio.MemoryReceiveChannel[bytes], server: trio.SocketStream) -> None:
        async for data in waiting:
            await self._opened.wait()
            await server.send_all(data)
        await server.send_eof()

    async def _pass_back(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in server:
                await client.send_all(data)


async def tick_behind(gate: Gate, subscriber: Client) -> int:
    """Block a leader's connection, with a tick waiting; 0 if it no longer leads."""
    # Right after a sweep: the next thing that it publishes is a tick, and the lease lasts for two of them.
    await next_update(subscriber)
    gate.shut()
    with trio.move_on_after(2.0):
        await until(lambda: TICKS.encode() in gate.kept)
    return max(map(int, re.findall(rb'"tick_id":(\d+)', gate.kept)), default=0)


async def test_a_tick_that_was_on_its_way_when_the_lease_went_over_comes_too_late(redis: Shared) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            gates = [Gate(redis.nodes[0].socket) for _ in range(2)]
            for gate in gates:
                await nursery.start(gate.serve)
            # In a thread: the gates have to pass on meanwhile.
            servers = [
                await trio.to_thread.run_sync(
                    stack.enter_context, serving_alone(f"redis://127.0.0.1:{gate.port}", *TICKING)
                )
                for gate in gates
            ]
            async with open_dialers(*servers) as dialers:
                subscribers = [await dialer.subscribe("s") for dialer in dialers]
                names = [await name_of(dialer, redis) for dialer in dialers]
                watched: list[tuple[int, int]] = []
                nursery.start_soon(watch_ticks, redis, "s", watched)
                leads = names.index(redis.leader)
                while not (late := await tick_behind(gates[leads], subscribers[leads])):
                    gates[leads].open()
                    leads = names.index(redis.leader)
                while (await next_update(subscribers[1 - leads]))["tick_id"] <= late:
                    pass
                gates[leads].open()
                newest = redis.tick_id
                while (await next_update(subscribers[leads]))["tick_id"] <= newest:
                    pass
                await both_have_one_market(servers, *dialers)
                assert late not in {tick_id for seen in watched for tick_id in seen}
                assert_never_back(watched)
            nursery.cancel_scope.cancel()


async def answer_to(client: Client, action: str, **fields: object) -> Frame:
    """Send one request of a socket that gets events, too, and take its answer."""
    await client.send(action, id="answer", **fields)
    while (frame := await client.receive()).get("id") != "answer":
        pass
    return frame


# --- the Redis of both is gone for a while ---


async def test_redis_is_killed_under_both_and_comes_back(redis_pair: Pair) -> None:
    shared, servers = redis_pair.shared, redis_pair.servers
    (node,) = shared.nodes
    session_id = next(session_ids)
    async with open_dialers(*servers) as (one, two):
        subscriber, other = await one.subscribe(session_id), await two.connect(session_id)
        runner = await one.connect("s-waits")
        await runner.send("analyze", ticker="AAPL", id=1)
        await until(lambda: bool(shared.document("s-waits").get("current_analysis")))
        await other.send("analyze", ticker="AAPL")
        streamed = [await other.receive()]
        node.kill()
        try:
            # What is not acknowledged is not streamed: the run ends with an error, if it has not ended yet.
            while streamed[-1]["type"] == "analysis_result" and len(streamed) < len(METRICS):
                streamed.append(await other.receive())
            for client in (runner, other):
                assert (await answer_to(client, "get_portfolio"))["code"] == "unavailable"
        finally:
            node.start()
        last = shared.tick_id
        rival = await two.connect("s-waits")
        await analysis(rival)
        told = await runner.receive()
        assert (told["type"], told["code"], told["id"]) == ("error", "superseded", 1)

        streamed += await analysis(other)
        streamed = [frame for frame in streamed if frame["type"] == "analysis_result"]
        recorded = shared.document(session_id)["analysis_results"]
        for frame in streamed:
            said = {key: value for key, value in frame.items() if key not in {"type", "id"}}
            assert recorded.count(said) == 1
        assert shared.document(session_id)["current_analysis"] is None

        while (await next_update(subscriber))["tick_id"] <= last:
            pass
        await both_have_one_market(servers, one, two)
        await the_newest_analyze_wins(shared, one, two)
        await subscribers_of_both_see_the_same(shared, one, two)


async def analysis(client: Client) -> list[Frame]:
    """Ask until the store is back, and return the results."""
    while (await answer_to(client, "get_portfolio"))["type"] == "error":  # noqa: ASYNC110 - as in `until`
        await trio.sleep(0.02)
    await client.send("analyze", ticker="MSFT")
    return await client.take(len(METRICS))
