"""Two server processes on one Redis: the scenarios of two servers that share only the Redis.

Real processes, hence real time: every wait is for something that happens, bounded, and none is a sleep. The
metrics of one of the two take forever: its runs are ended by messages of the other one, and never by a result
that was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.support.app import METRICS, Client, Frame, results
from tests.support.processes import (
    FOR_EVER,
    TICKING,
    Dialer,
    Pair,
    Shared,
    Tree,
    json_or_skip,
    open_dialers,
    serving_with_workers,
    two_processes,
)
from tests.support.redis_servers import private_cluster

pytestmark = pytest.mark.trio

TICKS_IN_COMMON = 3
LOOKS = 3
RUN_ENDS = {"analysis_completed", "analysis_cancelled", "analysis_failed"}

session_ids = (f"s{number}" for number in count())


@pytest.fixture(scope="module")
def cluster_pair() -> Iterator[Pair]:
    with (
        private_cluster(json_or_skip(), replicas=3) as nodes,
        two_processes(Shared(nodes[:3]), *TICKING) as pair,
    ):
        yield pair


@pytest.fixture(params=["redis_pair", "cluster_pair"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Ask again until something holds; the block's own deadline bounds it."""
    while not holds():  # noqa: ASYNC110 - the other side is another process
        await trio.sleep(0.02)


async def events_until(subscriber: Client, kind: str) -> list[Frame]:
    """The sequence of events up to and with the first of one kind; what ticks bring is no part of it."""
    return [frame for frame in await subscriber.until(kind) if frame["type"] != "portfolio_update"]


async def next_update(subscriber: Client) -> Frame:
    return (await subscriber.until("portfolio_update"))[-1]


async def nothing_more(client: Client) -> None:
    """Nothing had been sent to a socket: the answer to its next request comes first."""
    assert (await client.ask("get_portfolio", id="nothing more")).get("id") == "nothing more"


def assert_in_order(frames: Sequence[Frame], current: int | None = None) -> None:
    """Runs follow each other: nothing of one before its start, after its end, or inside another."""
    for frame in frames:
        kind, run_id = frame["type"], frame.get("run_id")
        if kind == "analysis_started":
            assert current is None, f"run {run_id} started inside run {current}"
            current = run_id
        elif kind in {"analysis_result", "metric_error"}:
            assert run_id == current, f"a result of run {run_id} inside run {current}"
        elif kind in RUN_ENDS:
            assert run_id == current, f"an end of run {run_id} inside run {current}"
            current = None


# --- scenarios that any two servers have to pass ---


async def the_newest_analyze_wins(shared: Shared, here: Dialer, there: Dialer) -> None:
    session_id = next(session_ids)
    subscribers = [await here.subscribe(session_id), await there.subscribe(session_id)]
    loser, winner = await here.connect(session_id), await there.connect(session_id)
    await loser.send("analyze", ticker="AAPL", id=1)
    for subscriber in subscribers:
        assert (await events_until(subscriber, "analysis_started"))[-1]["run_id"] == 1
    await winner.send("analyze", ticker="MSFT", id=2)
    told = await loser.receive()
    assert (told["type"], told["code"], told["id"]) == ("error", "superseded", 1)
    assert {ticker for ticker, _ in results(await winner.take(len(METRICS)))} == {"MSFT"}
    for subscriber in subscribers:
        frames = await events_until(subscriber, "analysis_completed")
        assert_in_order(frames, current=1)
        assert [f["reason"] for f in frames if f["type"] == "analysis_cancelled"] == ["superseded"]
        assert frames[-1]["run_id"] == 2
    await nothing_more(loser)
    document = shared.document(session_id)
    assert document["current_analysis"] is None
    assert {result["ticker"] for result in document["analysis_results"]} == {"MSFT"}


async def subscribers_of_both_see_the_same(shared: Shared, here: Dialer, there: Dialer) -> None:
    session_id = next(session_ids)
    subscribers = [await here.subscribe(session_id), await there.subscribe(session_id)]
    requester, other = await there.connect(session_id), await here.connect(session_id)

    async def both_see(kind: str) -> list[Frame]:
        seen = [await events_until(subscriber, kind) for subscriber in subscribers]
        assert seen[0] == seen[1]
        assert_in_order(seen[0])
        return seen[0]

    await requester.send("analyze", ticker="AAPL")
    seen = await both_see("analysis_completed")
    assert [frame["run_id"] for frame in seen] == [1] * (len(METRICS) + 2)
    assert seen[0]["type"] == "analysis_started"
    await requester.take(len(METRICS))

    await other.ask("trade", ticker="AAPL", shares=1)
    (changed,) = await both_see("portfolio")
    assert (changed["holdings"]["AAPL"], changed["version"]) == (101, 2)

    await other.send("analyze", ticker="MSFT")
    for subscriber in subscribers:
        assert [frame["type"] for frame in await events_until(subscriber, "analysis_started")] == [
            "analysis_started"
        ]
    answer = await requester.ask("cancel", id="c")
    assert (answer["type"], answer["run_id"], answer["id"]) == ("analysis_cancelled", 2, "c")
    for subscriber in subscribers:
        (told,) = await events_until(subscriber, "analysis_cancelled")
        assert (told["run_id"], told["reason"]) == (2, "cancelled")
    told = await other.receive()
    assert (told["type"], told["code"], told["run_id"]) == ("error", "cancelled", 2)
    await nothing_more(other)
    assert shared.document(session_id)["current_analysis"] is None


async def both_have_one_market(servers: Sequence[Tree], here: Dialer, there: Dialer) -> None:
    session_id = next(session_ids)
    subscribers = [await here.subscribe(session_id), await there.subscribe(session_id)]
    # A process that got no time for a second has lost its lease, and rightly so: one may look again.
    for _ in range(LOOKS):
        ticks = await ticks_of_both(subscribers)
        await until(partial(are_swept, ticks, servers))
        if len([1 for swept in sweeps(servers) if swept & ticks]) == 1:
            return
    raise AssertionError("the market is updated by two")


def are_swept(ticks: set[int], servers: Sequence[Tree]) -> bool:
    return ticks <= set().union(*sweeps(servers))


def sweeps(servers: Sequence[Tree]) -> list[set[int]]:
    """The ticks at which each server says that it has valued all sessions."""
    return [set(map(int, server.logged(r"all sessions were swept tick_id=(\d+)"))) for server in servers]


async def ticks_of_both(subscribers: Sequence[Client]) -> set[int]:
    """All ticks that subscribers of both processes get until they have some in common, which are equal."""
    seen: list[dict[int, Frame]] = [{}, {}]
    while len(common := seen[0].keys() & seen[1].keys()) < TICKS_IN_COMMON:
        for subscriber, updates in zip(subscribers, seen, strict=True):
            update = await next_update(subscriber)
            assert update["tick_id"] > max(updates, default=0)
            updates[update["tick_id"]] = update
    assert [seen[0][tick_id] for tick_id in common] == [seen[1][tick_id] for tick_id in common]
    return set(seen[0]) | set(seen[1])


async def test_the_newest_analyze_wins_whichever_process_it_reached(pair: Pair) -> None:
    async with open_dialers(*pair.servers) as dialers:
        await the_newest_analyze_wins(pair.shared, *dialers)


async def test_subscribers_of_both_processes_see_the_same(pair: Pair) -> None:
    async with open_dialers(*pair.servers) as dialers:
        await subscribers_of_both_see_the_same(pair.shared, *dialers)


async def test_one_process_updates_the_market_of_both(pair: Pair) -> None:
    async with open_dialers(*pair.servers) as dialers:
        await both_have_one_market(pair.servers, *dialers)


# --- two workers behind one port ---


async def one_socket_on_each(dialer: Dialer, shared: Shared, session_id: str) -> tuple[Client, Client]:
    """Subscribers of one session on two workers; which worker accepts a connection is not determined."""
    first = await dialer.subscribe(session_id)
    while True:
        other = await dialer.subscribe(session_id)
        if len(shared.document(session_id)["attached"]) == 2:
            return first, other
        await other.socket.aclose()


async def test_workers_on_one_port_are_one_server(redis: Shared) -> None:
    with serving_with_workers(redis.url, *FOR_EVER, *TICKING, "--drain-seconds", "0.1") as tree:
        async with open_dialers(tree) as (dialer,):
            subscribers = await one_socket_on_each(dialer, redis, "s")
            for run_id in range(1, 5):
                requester = subscribers[run_id % 2]
                await requester.send("analyze", ticker=("AAPL", "MSFT")[run_id % 2])
                for subscriber in subscribers:
                    frames = await events_until(subscriber, "analysis_started")
                    assert_in_order(frames, current=run_id - 1 or None)
                    assert frames[-1]["run_id"] == run_id
                    # A busy worker may think that it has missed something, and show the state again.
                    ends = [(f["run_id"], f["reason"]) for f in frames if f["type"] in RUN_ENDS]
                    assert ends == [(run_id - 1, "superseded")][: run_id - 1]

            # An edit on one starts what runs on the other again.
            await subscribers[1].send("trade", ticker="AAPL", shares=1)
            for subscriber in subscribers:
                frames = await events_until(subscriber, "analysis_started")
                assert_in_order(frames, current=4)
                assert (frames[-1]["run_id"], frames[-1]["version"]) == (5, 2)
                assert {f["type"] for f in frames[:-1]} == {"analysis_cancelled", "portfolio"}

            updates = [await next_update(subscriber) for subscriber in subscribers]
            while updates[0]["tick_id"] != updates[1]["tick_id"]:
                behind = min((0, 1), key=lambda each: updates[each]["tick_id"])
                updates[behind] = await next_update(subscribers[behind])
            assert updates[0] == updates[1]

            tree.supervisor.terminate()
            # The worker on which nothing runs waits for the end that the other one tells it.
            for subscriber in subscribers:
                frames, code = await to_the_end(subscriber)
                ends = [(f["run_id"], f["reason"]) for f in frames if f["type"] in RUN_ENDS]
                assert (ends, code) == ([(5, "draining")], 1001)
        assert tree.wait_until_all_are_gone() == 0
        document = redis.document("s")
        assert (document["current_analysis"], document["attached"]) == (None, [])
        assert not tree.logged("Traceback")


async def to_the_end(client: Client) -> tuple[list[Frame], int]:
    """What a socket still gets, and its close code."""
    frames = []
    while True:
        try:
            frames.append(await client.receive())
        except ConnectionClosed as end:
            return frames, -1 if end.reason is None else int(end.reason.code)
