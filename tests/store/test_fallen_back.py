"""A document from a replica without the newest writes: refused, lifted, and used again."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from portfolio_trio.store import (
    FellBack,
    Known,
    PortfolioChanged,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    WrongType,
)
from tests.store.engines import AT, LATER, TICK, Engine, Opened, result

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.anyio

KEY = "portfolio:{s}"
FIRST: dict[str, float] = {"AAPL": 1}


async def document_of(it: Opened) -> dict[str, Any]:
    return await it.store.get_document("s")


async def fall_back(it: Opened, **fields: Any) -> None:
    """The document as it was before, by hand."""
    for name, value in fields.items():
        await it.client.execute_command("JSON.SET", KEY, f"$.{name}", json.dumps(value))


async def known_of(it: Opened) -> Known:
    document = await document_of(it)
    return Known(document["incarnation"], document["run_counter"], document["version"])


async def start(it: Opened, known: Known, token: str = "") -> Any:
    return await it.store.start_analysis(
        "s", ticker="AAPL", started_at=AT, tick_id=1, incarnation=known.incarnation, token=token, known=known
    )


def calls(it: Opened, known: Known) -> list[Coroutine[Any, Any, Any]]:
    store = it.store
    return [
        store.get_portfolio("s", at=LATER, known=known),
        store.attach("s", known=known),
        start(it, known),
        store.set_holdings("s", {"AAPL": 9}, tick=TICK, at=LATER, known=known),
        store.trade("s", "AAPL", 1, tick=TICK, at=LATER, known=known),
    ]


@pytest.mark.parametrize("lost", ["run_counter", "version"])
async def test_what_fell_back_is_refused_and_stays_as_it_is(engine: Engine, lost: str) -> None:
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        before = await document_of(it)
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
        await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        known = await known_of(it)
        await fall_back(it, **{lost: before[lost]})
        fallen = await document_of(it)
        for call in calls(it, known):
            with pytest.raises(FellBack) as refused:
                await call
            assert refused.value.known == known
        assert await document_of(it) == fallen


async def test_what_is_as_known_or_newer_or_another_document_is_served(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        known = await known_of(it)
        for call in calls(it, known):
            await call
        assert (await document_of(it))["version"] == 3
        # Every number but the incarnation is above; then nothing is known of this document.
        for call in calls(it, Known("another", 99, 99)):
            with suppress(SessionMissing):
                await call
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT, known=Known("", 99, 99))


async def test_lifted_it_goes_on_with_numbers_that_nobody_has_seen(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        for _ in range(3):
            await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
            await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        known = await known_of(it)
        assert (known.run_id, known.version) == (3, 4)
        older = {"run_id": 1, "version": 1, "recorded": 0, "ticker": "AAPL", "started_at": AT, "tick_id": 1}
        await fall_back(it, run_counter=1, version=2, holdings={"AAPL": 2}, current_analysis=older)
        for _ in range(2):
            # Done twice, as after a lost reply, it is done once.
            await it.store.lift("s", known)
            document = await document_of(it)
            assert (document["last_activity"], document["holdings"]) == (AT, {"AAPL": 2})
            numbers = (document["run_counter"], document["version"], document["current_analysis"])
            assert numbers == (3, 5, None)
        started = await start(it, known)
        assert (started.run_id, started.version, started.replaced) == (4, 5, 0)


async def test_a_worker_that_knew_more_lifts_once_more(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        incarnation = (await known_of(it)).incarnation
        await it.store.lift("s", Known(incarnation, 2, 3))
        await it.store.lift("s", Known(incarnation, 5, 9))
        await it.store.lift("s", Known(incarnation, 3, 4))
        assert await known_of(it) == Known(incarnation, 5, 10)


async def test_only_what_is_meant_is_lifted(engine: Engine) -> None:
    async with engine.opened() as it:
        with pytest.raises(SessionMissing):
            await it.store.lift("s", Known("x", 1, 1))
        await it.create(holdings=FIRST)
        before = await document_of(it)
        with pytest.raises(SessionMissing):
            await it.store.lift("s", Known("another", 5, 5))
        assert await document_of(it) == before
        await fall_back(it, version=1.5)
        with pytest.raises(WrongType):
            await it.store.lift("s", Known(before["incarnation"], 5, 5))


async def test_a_run_that_the_document_lacks_is_refused_as_such(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        known = await known_of(it)
        run = await start(it, known, "mine")

        async def record(recorded: int) -> None:
            await it.store.record_results(
                "s",
                run_id=run.run_id,
                version=1,
                results=[result(recorded)],
                at=AT,
                recorded=recorded,
                incarnation=known.incarnation,
                token="mine",
            )

        await record(0)
        await record(1)
        # Two of its results were stored, and one is lost.
        held = await document_of(it)
        await fall_back(it, current_analysis={**held["current_analysis"], "recorded": 1})
        with pytest.raises(FellBack) as refused:
            await record(2)
        assert refused.value.known == Known(known.incarnation, 1, 1)
        # Its start is lost.
        await fall_back(it, run_counter=0, current_analysis=None)
        with pytest.raises(FellBack):
            await record(2)
        await it.store.lift("s", Known(known.incarnation, 1, 1))
        with pytest.raises(RunNotCurrent):
            await record(2)
        # It stood there still, on holdings that are not the ones that were known.
        await fall_back(it, current_analysis=held["current_analysis"])
        with pytest.raises(PortfolioChanged):
            await record(2)


async def test_a_run_with_the_same_number_is_another_run(engine: Engine) -> None:
    """Who did not know of the lost run may have been given its number."""
    async with engine.opened() as it:
        await it.create(holdings=FIRST)
        known = await known_of(it)
        await start(it, known, "lost")
        await fall_back(it, run_counter=0, current_analysis=None)
        assert (await start(it, known, "other")).run_id == 1
        before = await document_of(it)
        with pytest.raises(RunSuperseded):
            await it.store.record_results(
                "s",
                run_id=1,
                version=1,
                results=[result(0)],
                at=AT,
                recorded=0,
                incarnation=known.incarnation,
                token="lost",
            )
        end = await it.store.finish_analysis("s", run_id=1, token="lost", incarnation=known.incarnation)
        assert not end.cleared
        assert await document_of(it) == before
        end = await it.store.finish_analysis("s", run_id=1, token="other", incarnation=known.incarnation)
        assert end.cleared
