"""A start with results: they are stored only on the document that they were computed from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portfolio_trio.store import Computed, Ending, RunNotCurrent, RunStart
from portfolio_trio.targets import Targets
from tests.store.engines import AT, TICK, Engine, Opened, result

pytestmark = pytest.mark.anyio


async def prepared(it: Opened, *, finish: bool = True, count: int = 3) -> Computed:
    """What was computed on the document as it is now."""
    await it.create()
    state = await it.store.attach("s")
    run_id = state.run_counter + 1
    results = [result(number, run_id) for number in range(count)]
    return Computed(state.head, run_id, results, finish=finish, errors=5 - count if finish else 0)


async def start(it: Opened, computed: Computed | None, *, call: str = "t") -> RunStart:
    return await it.store.start_analysis(
        "s", ticker="AAPL", started_at=AT, tick_id=1, token=call, computed=computed
    )


async def recorded(it: Opened) -> int:
    return len((await it.store.newest_results("s", limit=100, max_bytes=100_000)).results)


async def test_a_run_that_brings_all_its_results_is_over_at_once(engine: Engine) -> None:
    async with engine.opened() as it:
        computed = await prepared(it)
        started = await start(it, computed)
        assert (started.run_id, started.taken, started.version) == (1, True, 1)
        assert started.holdings == computed.head.holdings
        state = await it.store.attach("s")
        assert (state.current_analysis, state.run_counter) == (None, 1)
        assert state.run_ends == (Ending(1, "completed", "", 3, 2),)
        assert await recorded(it) == 3


async def test_a_run_that_brings_some_of_its_results_goes_on_from_there(engine: Engine) -> None:
    async with engine.opened() as it:
        started = await start(it, await prepared(it, finish=False))
        assert started.taken
        current = (await it.store.attach("s")).current_analysis
        assert current is not None
        assert (current.run_id, current.recorded, current.token) == (1, 3, "t")
        await it.store.record_results(
            "s", run_id=1, version=1, results=[result(3, 1)], at=AT, finish=True, recorded=3, token="t"
        )
        assert await recorded(it) == 4


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("change", ["run_id", "version", "holdings", "targets"])
async def test_on_another_document_the_run_starts_without_them(
    engine: Engine, change: str, *, finish: bool
) -> None:
    async with engine.opened() as it:
        computed = await prepared(it, finish=finish)
        head = computed.head
        other = {
            "run_id": computed._replace(run_id=computed.run_id + 1),
            "version": computed._replace(head=replace(head, version=head.version + 1)),
            # A document that fell back may have the same version, and other holdings or targets.
            "holdings": computed._replace(head=replace(head, texts=(b'{"AAPL":7}', head.texts[1]))),
            "targets": computed._replace(head=replace(head, texts=(head.texts[0], b"{}"))),
        }[change]
        started = await start(it, other)
        assert (started.run_id, started.taken, started.holdings) == (1, False, head.holdings)
        current = (await it.store.attach("s")).current_analysis
        assert current is not None
        assert (current.run_id, current.recorded) == (1, 0)
        assert await recorded(it) == 0
        # What it says now is what the next run can be computed on.
        again = Computed(started.head, 2, [result(0, 2)], finish=True, errors=4)
        assert (await start(it, again, call="u")).taken


@pytest.mark.parametrize("finish", [True, False])
async def test_sent_twice_it_is_taken_once(engine: Engine, *, finish: bool) -> None:
    async with engine.opened() as it:
        computed = await prepared(it, finish=finish)
        first, second = await start(it, computed), await start(it, computed)
        assert (second.run_id, second.taken, second.version) == (first.run_id, True, first.version)
        assert await recorded(it) == 3
        assert (await it.store.attach("s")).run_counter == 1
        if finish:
            # Also once the holdings have changed under it.
            await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
            third = await start(it, computed)
            assert (third.run_id, third.taken, third.version) == (1, True, 1)


async def test_it_takes_the_place_of_the_run_that_is_current(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        before = await start(it, None, call="old")
        state = await it.store.attach("s")
        computed = Computed(state.head, 2, [result(0, 2)], finish=True, errors=4)
        assert (await start(it, computed)).replaced == before.run_id
        with pytest.raises(RunNotCurrent) as refused:
            await it.store.record_results("s", run_id=1, version=1, results=[result(0, 1)], at=AT)
        assert refused.value.ended == Ending(1, "cancelled", "superseded")
        assert await recorded(it) == 1


async def test_targets_are_part_of_what_a_run_is_computed_on(engine: Engine) -> None:
    async with engine.opened() as it:
        computed = await prepared(it)
        await it.store.set_targets("s", Targets(budgets={"AAPL": 1.0}), at=AT)
        started = await start(it, computed)
        assert not started.taken
        assert started.head.targets == Targets(budgets={"AAPL": 1.0})
