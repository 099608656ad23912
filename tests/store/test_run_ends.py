"""The document records how the newest runs ended, whatever ended them."""

from __future__ import annotations

from typing import Any

import pytest

from portfolio_trio.store import Ending, RunNotCurrent, RunSuperseded
from tests.store.engines import AT, TICK, Engine, FakeTick, Opened, result, stored_results

pytestmark = pytest.mark.anyio


async def start(it: Opened, ended: Ending | None = None) -> int:
    run = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, ended=ended)
    return run.run_id


async def ends(it: Opened) -> tuple[Ending, ...]:
    return (await it.store.attach("s")).run_ends


def cancelled(run_id: int, reason: str) -> Ending:
    return Ending(run_id, "cancelled", reason)


async def test_each_way_to_end_a_run_is_kept(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        await start(it)  # supersedes the first
        await it.store.record_results(
            "s", run_id=2, version=1, results=[result(0, 2)], at=AT, finish=True, recorded=0, errors=4
        )
        await start(it)
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
        await start(it)  # the third had ended by the trade
        await it.store.finish_analysis("s", run_id=4, ending=Ending(4, "failed", "bad_price"))
        await start(it)
        await it.store.set_holdings("s", {"AAPL": 1}, tick=TICK, at=AT)
        assert await ends(it) == (
            cancelled(1, "superseded"),
            Ending(2, "completed", "", 1, 4),
            cancelled(3, "portfolio_changed"),
            Ending(4, "failed", "bad_price"),
            cancelled(5, "portfolio_changed"),
        )


async def test_lost_workers_leave_a_run_that_was_cut_off(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        it.store.worker = "one"
        await start(it)
        await it.store.revalue_all(FakeTick(2), lost=["one"])
        (end,) = await ends(it)
        assert (end, end.told) == (cancelled(1, "disconnected"), False)


async def test_the_report_of_the_worker_that_ran_it_is_kept(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        await it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT, finish=True)
        # Another worker finds it ended; its own had cancelled it before its last results left.
        found = await it.store.finish_analysis("s", run_id=1)
        assert found.ending == Ending(1, "completed", "", 1, 0)
        await it.store.finish_analysis("s", run_id=1, ending=cancelled(1, "cancelled"), own=True)
        assert await ends(it) == (cancelled(1, "cancelled"),)
        await start(it)
        await start(it, cancelled(2, "switched"))
        assert await ends(it) == (cancelled(1, "cancelled"), cancelled(2, "switched"))
        assert [end.told for end in await ends(it)] == [True, True]


async def test_who_is_refused_learns_how_its_run_ended(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
        await start(it)
        with pytest.raises(RunSuperseded) as late:
            await it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT)
        assert late.value.ended == cancelled(1, "portfolio_changed")
        await it.store.finish_analysis("s", run_id=2, ending=cancelled(2, "cancelled"))
        with pytest.raises(RunNotCurrent) as gone:
            await it.store.record_results("s", run_id=2, version=2, results=["{}"], at=AT)
        assert gone.value.ended == cancelled(2, "cancelled")


async def test_a_last_record_sent_again_is_known_though_the_next_run_has_begun(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        for _ in range(2):
            await it.store.record_results(
                "s", run_id=1, version=1, results=["{}"], at=AT, finish=True, recorded=0
            )
            await start(it)
        assert len(await stored_results(it.store, "s")) == 1


async def test_a_completed_run_with_the_same_number_is_no_repetition(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1, token="new")
        last: dict[str, Any] = {
            "run_id": 1,
            "version": 1,
            "results": ["{}"],
            "at": AT,
            "finish": True,
            "recorded": 0,
        }
        await it.store.record_results("s", **last, token="new")
        await it.store.record_results("s", **last, token="new")
        with pytest.raises(RunNotCurrent):
            await it.store.record_results("s", **last, token="lost")


@pytest.mark.parametrize("found", ["", '"text"', "17", "null", '[{"run_id":"x"}]', '{"other":{}}'])
async def test_a_document_without_ends_that_can_be_read_gets_them(engine: Engine, found: str) -> None:
    async with engine.opened() as it:
        await it.create()
        if found:
            await it.client.execute_command("JSON.SET", "portfolio:{s}", "$.run_ends", found)
        else:
            await it.client.execute_command("JSON.DEL", "portfolio:{s}", "$.run_ends")
        assert await ends(it) == ()
        await start(it)
        await start(it)
        assert await ends(it) == (cancelled(1, "superseded"),)


async def test_an_end_that_its_worker_has_not_reported_outlasts_many_that_were(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        for run_id in range(2, 60):
            await start(it, cancelled(run_id - 1, "switched") if run_id > 2 else None)
        found = await ends(it)
        assert found[0] == cancelled(1, "superseded")
        assert [end.run_id for end in found] == [1, *range(27, 59)]
        # The worker that ran it is back.
        told = await it.store.finish_analysis("s", run_id=1, ending=cancelled(1, "cancelled"), own=True)
        assert told.ending == (await ends(it))[-1] == cancelled(1, "cancelled")
        await start(it, cancelled(59, "switched"))
        assert [end.run_id for end in await ends(it)] == [*range(29, 59), 1, 59]


async def test_not_all_ends_that_nobody_reports_are_kept(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        for _ in range(101):
            await start(it)
        assert [end.run_id for end in await ends(it)] == [*range(61, 101)]
