"""Redis with replicas: a primary dies, hands over, or gives a slot away during runs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
import trio

from portfolio_trio.redis._slots import slot_of
from tests.support.app import METRICS, Client, Frame
from tests.support.processes import Dialer, Shared, Tree, json_or_skip, open_dialers, serving_alone
from tests.support.proxy import open_proxy
from tests.support.redis_servers import (
    Server,
    follow,
    free_port,
    move_slot,
    private_cluster,
    private_server,
    replicated,
    wait_until,
)

pytestmark = pytest.mark.trio

# Runs are on their way at any moment, and a document never holds more results than it keeps.
LOAD = ("--metric-delay-seconds", "0,0.04", "--freshness-tolerance", "1000")
SESSIONS = tuple(f"s{number}" for number in range(9))
RUNS_BEFORE, RUNS_AFTER, RUNS_AT_MOST = 4, 4, 150
TICKERS = ("AAPL", "GOOGL", "MSFT")
# The errors a client may get while its node is down; all mean: try again.
PASSING = {"unavailable", "outcome_unknown", "superseded", "portfolio_changed", "session_expired"}


@dataclass
class Analyst:
    """A client that asks for one analysis after the other, and keeps what it was sent."""

    session_id: str
    runs: list[list[Frame]] = field(default_factory=list)
    finished_at: list[float] = field(default_factory=list)
    errors: list[Frame] = field(default_factory=list)

    @property
    def results(self) -> list[Frame]:
        return [frame for run in self.runs for frame in run]

    async def work(self, client: Client) -> None:
        for number in count():
            # Only these are in the document: however often a client is refused, it asks again.
            if len(self.finished_at) == RUNS_AT_MOST:
                return
            await client.send("analyze", ticker=TICKERS[number % len(TICKERS)], id=number)
            self.runs.append([])
            while len(self.runs[-1]) < len(METRICS):
                frame = await client.receive()
                if frame["type"] == "error":
                    assert frame["code"] in PASSING, frame
                    self.errors.append(frame)
                    await trio.sleep(0.02)
                    break
                assert frame["id"] == number, f"request {number} was answered with a result of an older one"
                if self.runs[-1] and frame["run_id"] != self.runs[-1][0]["run_id"]:
                    # An edit has started the analysis again.
                    self.runs.append([])
                self.runs[-1].append(frame)
            else:
                self.finished_at.append(time.monotonic())

    def finished_since(self, moment: float) -> int:
        return sum(at > moment for at in self.finished_at)


@asynccontextmanager
async def under_load(dialer: Dialer, sessions: Sequence[str]) -> AsyncIterator[dict[str, Analyst]]:
    """Clients that are at work, for the length of the block; each has had a few runs when it begins."""
    analysts = {session_id: Analyst(session_id) for session_id in sessions}
    async with trio.open_nursery() as nursery:
        for analyst in analysts.values():
            nursery.start_soon(analyst.work, await dialer.connect(analyst.session_id))
        await all_have_run(analysts, RUNS_BEFORE, since=0.0)
        yield analysts
        nursery.cancel_scope.cancel()


async def all_have_run(analysts: dict[str, Analyst], times: int, *, since: float) -> None:
    while any(each.finished_since(since) < times for each in analysts.values()):  # noqa: ASYNC110 - other processes
        await trio.sleep(0.01)


def recorded(shared: Shared, session_id: str) -> list[Frame]:
    results: list[Frame] = shared.document(session_id)["analysis_results"]
    return results


def assert_kept(shared: Shared, acknowledged: dict[str, list[Frame]]) -> None:
    """Results that clients were sent are in the documents, exactly once."""
    for session_id, frames in acknowledged.items():
        texts = [json.dumps(result, sort_keys=True) for result in recorded(shared, session_id)]
        for frame in frames:
            said = {key: value for key, value in frame.items() if key not in {"type", "id"}}
            assert texts.count(json.dumps(said, sort_keys=True)) == 1, (session_id, frame)


def assert_nothing_stale(analysts: dict[str, Analyst]) -> None:
    """Each run is of one snapshot, and no number of a run falls or comes twice."""
    for analyst in analysts.values():
        runs = [run for run in analyst.runs if run]
        for run in runs:
            assert len({(frame["run_id"], frame["snapshot"], frame["tick_id"]) for frame in run}) == 1
            assert len({frame["metric"] for frame in run}) == len(run)
        numbers = [run[0]["run_id"] for run in runs]
        assert numbers == sorted(set(numbers))


@pytest.fixture
def cluster() -> Iterator[list[Server]]:
    """Three primaries, each with a replica."""
    with private_cluster(json_or_skip(), replicas=3) as nodes:
        yield nodes


@pytest.fixture
def serving(cluster: list[Server]) -> Iterator[tuple[Shared, Tree]]:
    shared = Shared(cluster)
    with serving_alone(shared.url, *LOAD) as tree:
        yield shared, tree


def owned(node: Server) -> list[str]:
    """The sessions whose documents a primary has."""
    ranges = [
        (first, last) for first, last, (_, port, *_), *_ in node.do("CLUSTER SLOTS") if port == node.port
    ]
    slots = {session_id: slot_of([f"portfolio:{{{session_id}}}"]) for session_id in SESSIONS}
    return [each for each, slot in slots.items() if any(first <= slot <= last for first, last in ranges)]


async def test_a_primary_is_killed_under_load(
    serving: tuple[Shared, Tree], say: Callable[[str, str], None]
) -> None:
    shared, tree = serving
    victim, replica = shared.nodes[0], shared.nodes[3]
    hit = owned(victim)
    assert hit
    assert len(hit) < len(SESSIONS)
    async with open_dialers(tree) as (dialer,), under_load(dialer, SESSIONS) as analysts:
        acknowledged = {each: list(analyst.results) for each, analyst in analysts.items()}
        # From here on the replica has all of that, for certain.
        assert replicated(victim) == 1
        killed = time.monotonic()
        victim.kill()
        await all_have_run(analysts, RUNS_AFTER, since=killed)
        back = max(min(at for at in analysts[each].finished_at if at > killed) for each in hit) - killed
        others = {each: analysts[each] for each in SESSIONS if each not in hit}
        assert not any(analyst.errors for analyst in others.values()), "a node that lived was missed"
        assert all(analysts[each].errors for each in hit)
    assert replica.told("role:master", "INFO", "replication")
    assert tree.get("/ready") == 200
    assert_kept(Shared([node for node in shared.nodes if node is not victim]), acknowledged)
    assert_nothing_stale(analysts)
    say("a killed primary", f"its sessions were served again after {back:.2f} s")


async def test_a_replica_that_lagged_takes_over(serving: tuple[Shared, Tree]) -> None:
    """What it had not got is lost, and nothing else: numbers that fell do not stop a session."""
    shared, tree = serving
    victim, replica = shared.nodes[0], shared.nodes[3]
    hit = owned(victim)
    async with open_dialers(tree) as (dialer,), under_load(dialer, hit) as analysts:
        subscribers = {each: await dialer.subscribe(each) for each in hit}
        assert replicated(victim) == 1
        acknowledged = {each: list(analyst.results) for each, analyst in analysts.items()}
        replica.pause()
        # Else what is sent meanwhile waits for it in its socket.
        victim.do("CLIENT KILL TYPE replica")
        paused = time.monotonic()
        for subscriber in subscribers.values():
            await subscriber.send("trade", ticker="AAPL", shares=1)
            assert (await subscriber.until("portfolio"))[-1]["version"] == 2
        await all_have_run(analysts, 2, since=paused)
        victim.kill()
        replica.resume()
        killed = time.monotonic()
        await all_have_run(analysts, RUNS_AFTER, since=killed)
        for subscriber in subscribers.values():
            await subscriber.send("trade", ticker="AAPL", shares=1, id="again")
            frames = [await subscriber.receive()]
            while frames[-1].get("id") != "again":
                frames.append(await subscriber.receive())
            states = [frame for frame in frames if frame["type"] == "portfolio"]
            # The lost edit was 2; that it is lost is 3, and this one 4.
            assert [frame["version"] for frame in states if frame["version"] > 2] == [3, 4], frames
            assert [frame["holdings"]["AAPL"] for frame in states[-2:]] == [100, 101]
    rest = Shared([node for node in shared.nodes if node is not victim])
    assert_kept(rest, acknowledged)
    assert_nothing_stale(analysts)
    assert {rest.document(each)["version"] for each in hit} == {4}


async def test_a_primary_hands_over_under_load(serving: tuple[Shared, Tree]) -> None:
    shared, tree = serving
    before, after = shared.nodes[1], shared.nodes[4]
    async with open_dialers(tree) as (dialer,), under_load(dialer, SESSIONS) as analysts:
        asked = time.monotonic()
        after.do("CLUSTER FAILOVER")
        await trio.to_thread.run_sync(wait_until, lambda: after.told("role:master", "INFO", "replication"))
        await all_have_run(analysts, RUNS_AFTER, since=asked)
    assert before.told("role:slave", "INFO", "replication")
    # A hand-over waits until the replica has everything: nothing at all is lost.
    assert_kept(shared, {each: analyst.results for each, analyst in analysts.items()})
    assert_nothing_stale(analysts)


async def test_a_slot_moves_while_runs_are_on_their_way(serving: tuple[Shared, Tree]) -> None:
    shared, tree = serving
    source, target = shared.nodes[0], shared.nodes[1]
    session_id = owned(source)[0]
    slot = slot_of([f"portfolio:{{{session_id}}}"])
    async with open_dialers(tree) as (dialer,), under_load(dialer, SESSIONS) as analysts:
        moved = time.monotonic()
        await trio.to_thread.run_sync(move_slot, shared.nodes[:3], slot, source, target)
        await all_have_run(analysts, RUNS_AFTER, since=moved)
    assert session_id in owned(target)
    assert not any(analyst.errors for analyst in analysts.values())
    assert_kept(shared, {each: analyst.results for each, analyst in analysts.items()})
    assert_nothing_stale(analysts)


async def test_a_replica_is_promoted_behind_one_address() -> None:
    """Without a cluster `redis://` follows an address: who answers there is the primary, or is refused."""
    command = json_or_skip()
    with private_server(command, port=free_port()) as primary, private_server(command) as replica:
        follow(replica, primary)
        async with open_proxy(primary.socket) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            serve = serving_alone(url, *LOAD)
            tree = await trio.to_thread.run_sync(serve.__enter__)
            try:
                async with open_dialers(tree) as (dialer,), under_load(dialer, SESSIONS[:3]) as analysts:
                    acknowledged = {each: list(analyst.results) for each, analyst in analysts.items()}
                    assert replicated(primary) == 1
                    primary.kill()
                    # The address leads to the replica before anybody has promoted it: it refuses writes.
                    proxy.target = replica.socket
                    await proxy.reset()
                    requester = await dialer.connect("requester")
                    while not tree.logged("read-only replica"):
                        told = await requester.ask("get_portfolio")
                        assert (told["type"], told["code"]) == ("error", "unavailable")
                    promoted = time.monotonic()
                    replica.do("REPLICAOF NO ONE")
                    await all_have_run(analysts, RUNS_AFTER, since=promoted)
            finally:
                await trio.to_thread.run_sync(serve.__exit__, None, None, None)
        assert_kept(Shared([replica]), acknowledged)
        assert_nothing_stale(analysts)
