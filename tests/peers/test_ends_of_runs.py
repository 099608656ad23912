"""Two servers in virtual time: one that missed the end of a run shows the document's, not a guess."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.peers.membership import WORKER_TTL_SECONDS
from portfolio_trio.peers.run_ends import HOLD_SECONDS, LOOK_SECONDS, WORD_SECONDS, _within
from portfolio_trio.settings import Delay
from portfolio_trio.store import StoreUnavailable
from tests.peers.test_two_servers import die
from tests.support.app import METRICS, App, Client, Frame, open_pair

pytestmark = pytest.mark.trio

SLOW = Delay(2, 5)
QUIET: dict[str, Any] = {"metric_delay_seconds": SLOW, "market_update_interval_seconds": 10_000}


def mute(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the batches of this server are lost, and it does not know."""
    client = app.server._redis
    execute = client.execute_command

    async def swallow(*args: Any, **options: Any) -> Any:
        if args[0] == "PUBLISH" and "inbox" in str(args[1]):
            await trio.lowlevel.checkpoint()
            return 1
        return await execute(*args, **options)

    monkeypatch.setattr(client, "execute_command", swallow)


def end_of(frames: list[Frame], run_id: int) -> dict[str, Any]:
    """How a run ended, but for how long that took."""
    kinds = {"analysis_completed", "analysis_cancelled", "analysis_failed"}
    (end,) = [f for f in frames if f["type"] in kinds and f["run_id"] == run_id]
    return {name: value for name, value in end.items() if name not in {"cancelled_in_us", "id"}}


@pytest.mark.parametrize(
    "way", ["completes", "is switched", "is cancelled", "meets an edit", "is superseded"]
)
async def test_a_server_that_missed_the_batches_shows_the_same_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there, other = await one.subscribe(), await two.subscribe(), await one.subscribe()
        await here.send("analyze", ticker="AAPL")
        await there.until("analysis_started")
        with monkeypatch.context() as deaf:
            mute(one, deaf)
            match way:
                case "is switched":
                    await here.send("analyze", ticker="MSFT")
                case "is cancelled":
                    await here.send("cancel")
                case "meets an edit":
                    await other.send("trade", ticker="AAPL", shares=1)
                case "is superseded":
                    await other.send("analyze", ticker="MSFT")
            seen = await here.silence(20)
        # The next batch shows that some are missing.
        await other.send("trade", ticker="MSFT", shares=1)
        missed = await there.silence(20)
        assert end_of(missed, 1) == end_of(seen, 1)
        if way == "completes":
            assert end_of(missed, 1)["results"] == len(METRICS)


@pytest.mark.parametrize("completes", [True, False])
async def test_the_end_of_what_lost_workers_ran_is_that_of_the_document(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    completes: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        await there.until("analysis_started")
        mute(one, monkeypatch)
        if completes:
            await here.until("analysis_completed")
        die(one, monkeypatch)
        told = end_of(await there.silence(4 * WORKER_TTL_SECONDS), 1)
        assert told["type"] == ("analysis_completed" if completes else "analysis_cancelled")
        assert told.get("reason") == (None if completes else "disconnected")


async def test_another_end_in_the_document_waits_for_the_report_of_the_worker_that_ran_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        await there.until("analysis_started")
        mute(one, monkeypatch)
        with monkeypatch.context() as away:

            async def fail(*_: Any, **__: Any) -> None:
                await trio.lowlevel.checkpoint()
                raise StoreUnavailable("away", sent=False)

            away.setattr(one.store, "finish_analysis", fail)
            await here.send("cancel")
            told = (await here.until("analysis_cancelled"))[-1]
            # For the document the run went on, and was cut short by this.
            await there.send("trade", ticker="AAPL", shares=1)
            assert await there.silence(1.5 * HOLD_SECONDS) == []
        assert end_of(await there.silence(WORD_SECONDS), 1)["reason"] == told["reason"] == "cancelled"


async def test_a_socket_that_opens_between_an_end_and_the_next_start_sees_both(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here = await one.subscribe()
        await here.send("analyze", ticker="AAPL")
        await here.until("analysis_started")
        start = one.store.start_analysis
        newcomer: list[Client] = []

        async def start_late(*args: Any, **options: Any) -> Any:
            # The run before has been told to be over; the document does not know yet.
            newcomer.append(await two.subscribe())
            return await start(*args, **options)

        with monkeypatch.context() as late:
            late.setattr(one.store, "start_analysis", start_late)
            await here.send("analyze", ticker="MSFT")
            await here.until("analysis_started")
        (there,) = newcomer
        # Sooner than the document would be read for it.
        seen = [(f["type"], f["run_id"]) for f in await there.silence(0.5 * LOOK_SECONDS)]
        assert seen[:2] == [("analysis_cancelled", 1), ("analysis_started", 2)]


def results_in(frames: list[Frame], run_id: int) -> list[dict[str, Any]]:
    """The results of a run, each without the request id, which only the requester sees."""
    results = [f for f in frames if f["type"] == "analysis_result" and f["run_id"] == run_id]
    return [{name: value for name, value in f.items() if name != "id"} for f in results]


@pytest.mark.parametrize("missed", ["the last batches", "all but the start", "those of another run, too"])
@pytest.mark.parametrize("receipt", [True, False])
async def test_a_server_that_missed_the_batches_of_a_completed_run_shows_its_results_before_its_end(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    missed: str,
    receipt: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        asked = {"ticker": "AAPL", "receipt": True} if receipt else {"ticker": "AAPL"}
        await here.send("analyze", **asked)
        seen, known = await here.until("analysis_started"), await there.until("analysis_started")
        if missed == "the last batches":
            known += await there.until("analysis_result")
        with monkeypatch.context() as deaf:
            mute(one, deaf)
            if missed == "those of another run, too":
                seen += await here.until("analysis_completed")
                await here.send("analyze", **asked)
            seen += await here.until("analysis_completed")
        await here.send("trade", ticker="MSFT", shares=1)
        known += await there.silence(20)
        in_order = {f["metric"]: f for f in results_in(seen, 1)}
        assert {f["metric"]: f for f in results_in(known, 1)} == in_order
        assert len(results_in(known, 1)) == len(METRICS)
        kinds = [f["type"] for f in known if f.get("run_id") == 1]
        assert kinds == ["analysis_started", *["analysis_result"] * len(METRICS), "analysis_completed"]


@pytest.mark.parametrize("heard", [True, False])
async def test_a_run_that_is_cancelled_before_it_is_seen_is_told_once(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    heard: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there, other = await one.subscribe(), await two.subscribe(), await two.subscribe()
        with monkeypatch.context() as deaf:
            if not heard:
                mute(one, deaf)
            await here.send("analyze", ticker="AAPL")
            await there.send("cancel", id=1)
            told, seen = await there.silence(2 * WORD_SECONDS), await other.silence(1)
        await here.send("trade", ticker="MSFT", shares=1)
        told, seen = told + await there.silence(20), seen + await other.silence(1)
        start = ["analysis_started"] if heard else []
        for frames in (told, seen):
            assert [f["type"] for f in frames if f.get("run_id") == 1] == [*start, "analysis_cancelled"]
        assert [f["id"] for f in told if "id" in f] == [1]


@pytest.mark.parametrize("lost", [1, 2, 4])
async def test_a_socket_that_missed_results_sees_them_before_the_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        seen, known = await here.until("analysis_started"), await there.until("analysis_started")
        with monkeypatch.context() as deaf:
            mute(one, deaf)
            for _ in range(lost):
                seen += await here.until("analysis_result")
        seen += await here.until("analysis_completed")
        known += await there.silence(20)
        assert {f["metric"]: f for f in results_in(known, 1)} == {f["metric"]: f for f in results_in(seen, 1)}
        assert known[-1]["type"] == "analysis_completed"
        assert end_of(known, 1) == end_of(seen, 1)


@pytest.mark.parametrize("edited", [True, False])
async def test_a_run_whose_end_the_document_has_forgotten_was_complete_if_its_results_are(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    edited: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        known = await there.until("analysis_started")
        with monkeypatch.context() as deaf:
            mute(one, deaf)
            await here.until("analysis_completed")
            await one.server._redis.execute_command("JSON.SET", "portfolio:{s}", "$.run_ends", "[]")
        if edited:
            await here.send("trade", ticker="MSFT", shares=1)
        else:
            await here.send("analyze", ticker="MSFT")
        known += await there.silence(20)
        end = end_of(known, 1)
        assert (end["type"], end.get("results")) == ("analysis_completed", len(METRICS))
        assert len(results_in(known, 1)) == len(METRICS)


async def test_a_lost_workers_completed_run_is_seen_whole(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(**QUIET) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        await there.until("analysis_started")
        mute(one, monkeypatch)
        await here.until("analysis_completed")
        die(one, monkeypatch)
        frames = await there.silence(4 * WORKER_TTL_SECONDS)
        assert len(results_in(frames, 1)) == len(METRICS)
        assert end_of(frames, 1)["type"] == "analysis_completed"


async def test_the_end_of_a_killed_workers_run_is_not_waited_for_longer_than_it_can_be_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection to Redis is closed by the system, so nobody receives what is sent to it."""
    async with open_pair(**{**QUIET, "metric_delay_seconds": Delay(1, 2)}) as (one, two):
        here, there = await one.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        await there.until("analysis_started")
        die(one, monkeypatch)
        client = two.server._redis
        execute = client.execute_command

        async def nobody_hears(*args: Any, **options: Any) -> Any:
            if args[0] == "PUBLISH" and "inbox" in str(args[1]):
                await trio.lowlevel.checkpoint()
                return 0
            return await execute(*args, **options)

        monkeypatch.setattr(client, "execute_command", nobody_hears)
        began = trio.current_time()
        await there.send("analyze", ticker="MSFT")
        frames = await there.until("analysis_completed")
        assert end_of(frames, 1)["reason"] == "superseded"
        assert trio.current_time() - began < 0.6 * WORD_SECONDS


@contextmanager
def stopped(app: App) -> Iterator[None]:
    """In the block nothing of this server reaches the store, and nothing reaches it: as after SIGSTOP.

    Only its clients are still served.
    """
    client, goes_on = app.server._redis, trio.Event()
    call = client._call
    receive = app.server.services.peer_subscriber.receive
    kept: list[bytes] = []

    async def wait_and_call(*args: Any, **options: Any) -> Any:
        await goes_on.wait()
        return await call(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_call", wait_and_call)
        patch.setattr(app.server.services.peer_subscriber, "receive", kept.append)
        yield
    goes_on.set()
    for batch in kept:
        receive(batch)


# Its clients are served in between, so an end that it tells them then is not seen by others in time.
@pytest.mark.parametrize(
    ("seconds", "is_cancelled", "is_forgotten"),
    [
        (0.75 * WORD_SECONDS, True, False),
        (0.75 * WORD_SECONDS, True, True),
        (0.75 * WORD_SECONDS, False, False),
        (3 * WORD_SECONDS, False, False),
    ],
)
@pytest.mark.parametrize("edited", [True, False])
async def test_many_runs_end_while_the_worker_of_one_is_stopped(
    autojump_clock: MockClock,
    seconds: float,
    is_cancelled: bool,  # noqa: FBT001 - a parameter
    is_forgotten: bool,  # noqa: FBT001 - a parameter
    edited: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_pair(**{**QUIET, "metric_delay_seconds": Delay(50, 60)}) as (one, two):
        here, there, other = await one.subscribe(), await two.subscribe(), await two.subscribe()
        await here.send("analyze", ticker="AAPL")
        await here.until("analysis_started")
        await there.until("analysis_started")
        seen: dict[Client, list[Frame]] = {}

        async def watch(client: Client) -> None:
            seen[client] = await client.silence(seconds + 3 * WORD_SECONDS)

        async with trio.open_nursery() as nursery:
            with stopped(one):
                if is_cancelled:
                    await here.send("cancel")
                for client in (here, there, other):
                    nursery.start_soon(watch, client)
                for _ in range(40):
                    await other.send("analyze", ticker="MSFT")
                    await trio.sleep(0.01)
                if is_forgotten:
                    await two.server._redis.execute_command("JSON.SET", "portfolio:{s}", "$.run_ends", "[]")
                if edited:
                    await other.send("trade", ticker="MSFT", shares=1)
                await trio.sleep(seconds)
        told = [end_of(frames, 1) for frames in seen.values()]
        assert told[0] == told[1] == told[2]


async def test_a_process_that_was_stopped_reads_first_what_was_sent_to_it(mock_clock: MockClock) -> None:
    reported = trio.Event()
    found: list[bool] = []

    async def look() -> None:
        found.append(await _within(HOLD_SECONDS, reported.wait))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        # The deadline has long passed when it goes on.
        mock_clock.jump(WORD_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        reported.set()
        await trio.testing.wait_all_tasks_blocked()
        assert found == [True]


async def test_a_wait_in_vain_takes_as_long_as_it_should(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert not await _within(HOLD_SECONDS, trio.sleep_forever)
    assert trio.current_time() - began == pytest.approx(HOLD_SECONDS)
