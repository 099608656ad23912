from __future__ import annotations

import pytest

from portfolio_trio.store import (
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    StoreError,
)
from tests.store.engines import AT, HOLDINGS, LATER, TICK, Engine, FakeTick, Opened, result, stored_results

pytestmark = pytest.mark.anyio


async def start(it: Opened) -> int:
    return (await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=7)).run_id


async def metrics_of(it: Opened) -> list[object]:
    return [found["metric"] for found in await stored_results(it.store, "s")]


async def test_starting_hands_out_rising_run_ids_and_what_to_work_on(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        first = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=7)
        assert (first.run_id, first.holdings, first.version) == (1, HOLDINGS, 1)
        assert list(first.holdings) == list(HOLDINGS)
        assert first.total_value == (await it.store.get_portfolio("s", at=AT)).total_value
        second = await it.store.start_analysis("s", ticker="BRK.B", started_at=LATER, tick_id=8)
        assert second.run_id == 2
        document = await it.store.get_document("s")
        assert document["run_counter"] == 2
        assert document["last_activity"] == LATER
        assert document["current_analysis"] == {
            "ticker": "BRK.B",
            "started_at": LATER,
            "run_id": 2,
            "version": 1,
            "tick_id": 8,
            "recorded": 0,
            "worker": "",
            "token": "",
        }


async def test_results_are_appended_and_the_last_of_them_end_the_run(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        run_id = await start(it)
        for numbers, finish in (((0, 1), False), ((2,), False), ((3, 4), True)):
            texts = [result(number, run_id) for number in numbers]
            await it.store.record_results(
                "s", run_id=run_id, version=1, results=texts, at=LATER, finish=finish
            )
        assert await metrics_of(it) == ["m0", "m1", "m2", "m3", "m4"]
        document = await it.store.get_document("s")
        assert (document["current_analysis"], document["last_activity"]) == (None, LATER)


async def test_only_the_newest_results_are_kept_in_document_order(engine: Engine) -> None:
    async with engine.opened(max_results=4) as it:
        await it.create()
        for expected in (["m0", "m1", "m2"], ["m2", "m0", "m1", "m2"], ["m2", "m0", "m1", "m2"]):
            run_id = await start(it)
            texts = [result(number, run_id) for number in range(3)]
            await it.store.record_results("s", run_id=run_id, version=1, results=texts, at=AT, finish=True)
            assert await metrics_of(it) == expected
        run_id = await start(it)
        texts = [result(number, run_id) for number in range(9)]
        await it.store.record_results("s", run_id=run_id, version=1, results=texts, at=AT)
        assert await metrics_of(it) == ["m5", "m6", "m7", "m8"]


async def test_finishing_with_no_result_is_fenced_too(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        run_id = await start(it)
        await it.store.record_results(
            "s", run_id=run_id, version=1, results=[], at=AT, finish=True, recorded=0
        )
        ended = await it.store.get_document("s")
        # Known to have completed: the call is a repetition. A caller that does not count is refused.
        await it.store.record_results(
            "s", run_id=run_id, version=1, results=[], at=AT, finish=True, recorded=0
        )
        with pytest.raises(RunNotCurrent):
            await it.store.record_results("s", run_id=run_id, version=1, results=[], at=AT, finish=True)
        assert await it.store.get_document("s") == ended


async def refused(
    it: Opened, error: type[StoreError], run_id: int, version: int, recorded: int | None
) -> None:
    before = await it.store.get_document("s")
    await it.client.expire("portfolio:{s}", 50)
    for finish in (False, True):
        with pytest.raises(error):
            await it.store.record_results(
                "s",
                run_id=run_id,
                version=version,
                results=[result(0, run_id)],
                at=LATER,
                finish=finish,
                recorded=recorded,
            )
    assert await it.store.get_document("s") == before
    assert await it.client.ttl("portfolio:{s}") <= 50


async def test_late_writes_are_refused_and_change_nothing(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await refused(it, RunNotCurrent, 1, 1, 0)
        await start(it)
        await start(it)
        await refused(it, RunSuperseded, 1, 1, 0)
        await refused(it, RunSuperseded, 3, 1, None)
        await refused(it, PortfolioChanged, 2, 2, None)
        await refused(it, ResultsOutOfStep, 2, 1, 5)
        await it.store.set_holdings("s", {"TSLA": 1}, tick=TICK, at=AT)
        await refused(it, PortfolioChanged, 2, 1, 0)
        assert (await it.store.finish_analysis("s", run_id=2)).cleared
        await refused(it, RunNotCurrent, 2, 2, 0)


async def test_the_refusals_say_what_holds_instead(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        await start(it)
        with pytest.raises(RunSuperseded) as superseded:
            await it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT)
        assert superseded.value.current == 2
        await it.store.record_results("s", run_id=2, version=1, results=["{}"], at=AT)
        with pytest.raises(ResultsOutOfStep) as out_of_step:
            await it.store.record_results("s", run_id=2, version=1, results=["{}"], at=AT, recorded=3)
        assert out_of_step.value.recorded == 1
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
        with pytest.raises(PortfolioChanged) as changed:
            await it.store.record_results("s", run_id=2, version=1, results=["{}"], at=AT)
        assert changed.value.version == 2


@pytest.mark.parametrize("finish", [False, True])
async def test_a_counted_batch_sent_twice_is_stored_once(engine: Engine, finish: bool) -> None:  # noqa: FBT001 - a parameter
    async with engine.opened() as it:
        await it.create()
        run_id = await start(it)
        texts = [result(number, run_id) for number in range(3)]

        async def send() -> None:
            await it.store.record_results(
                "s", run_id=run_id, version=1, results=texts[1:], at=AT, finish=finish, recorded=1
            )

        await it.store.record_results("s", run_id=run_id, version=1, results=texts[:1], at=AT, recorded=0)
        await send()
        document = await it.store.get_document("s")
        await send()
        await send()
        assert await it.store.get_document("s") == document
        assert await metrics_of(it) == ["m0", "m1", "m2"]


async def test_the_end_of_a_run_that_stored_less_is_no_repetition(engine: Engine) -> None:
    async with engine.opened(max_results=6) as it:
        await it.create()
        older = await start(it)
        texts = [result(number, older) for number in range(4)]
        await it.store.record_results("s", run_id=older, version=1, results=texts, at=AT, finish=True)
        run_id = await start(it)
        texts = [result(number, run_id) for number in range(4)]
        await it.store.record_results("s", run_id=run_id, version=1, results=texts[:2], at=AT, recorded=0)
        assert (await it.store.finish_analysis("s", run_id=run_id)).cleared
        with pytest.raises(RunNotCurrent):
            await it.store.record_results(
                "s", run_id=run_id, version=1, results=texts[2:], at=AT, finish=True, recorded=2
            )
        # The older run's own last batch: the document has kept that it completed.
        before = await it.store.get_document("s")
        await it.store.record_results(
            "s", run_id=older, version=1, results=texts[2:], at=AT, finish=True, recorded=2
        )
        assert await it.store.get_document("s") == before


async def test_a_result_that_is_no_json_stores_nothing(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        before = await it.store.get_document("s")
        with pytest.raises(StoreError):
            await it.store.record_results("s", run_id=1, version=1, results=["{}", "{"], at=LATER)
        assert await it.store.get_document("s") == before


async def test_finishing_clears_only_the_run_it_names(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await start(it)
        await start(it)
        before = await it.store.get_document("s")
        await it.client.expire("portfolio:{s}", 50)
        assert not (await it.store.finish_analysis("s", run_id=1)).cleared
        assert await it.store.get_document("s") == before
        assert (await it.store.finish_analysis("s", run_id=2)).cleared
        assert not (await it.store.finish_analysis("s", run_id=2)).cleared
        ends = [
            {"run_id": 1, "outcome": "cancelled", "reason": "superseded"},
            {"run_id": 2, "outcome": "cancelled", "reason": "disconnected"},
        ]
        after = {**before, "current_analysis": None, "run_ends": ends}
        assert await it.store.get_document("s") == after
        assert await it.client.ttl("portfolio:{s}") <= 50


async def test_a_sweep_between_two_batches_does_not_disturb_the_run(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        run_id = await start(it)
        await it.store.record_results("s", run_id=run_id, version=1, results=["{}"], at=AT, recorded=0)
        assert (await it.store.revalue_all(FakeTick(2))).revalued == 1
        await it.store.record_results(
            "s", run_id=run_id, version=1, results=["{}"], at=AT, recorded=1, finish=True
        )
        assert len(await stored_results(it.store, "s")) == 2
