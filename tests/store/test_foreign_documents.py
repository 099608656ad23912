"""Somebody else has changed a field of a document: every call works, or names it, and none breaks it more."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from hypothesis import HealthCheck, Phase, example, given, settings

from portfolio_trio.store import (
    Computed,
    Ending,
    FellBack,
    Head,
    Known,
    MissingPrices,
    NothingTraded,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    ValueOverflow,
    VersionConflict,
    WrongType,
)
from portfolio_trio.targets import Targets
from tests.store.documents import GONE, changed, changes
from tests.store.engines import AT, LATER, TICK, Engine, FakeTick, Opened, result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.store.documents import Document, Path

KEY: Final = "portfolio:{s}"
NEXT: Final = FakeTick(2)
# What a call may say of a document with other numbers than it expects.
FENCES: Final = (
    FellBack,
    MissingPrices,
    NothingTraded,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    ValueOverflow,
    VersionConflict,
)
Call = tuple[str, "Callable[[], Awaitable[object]]"]

law = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def lived_in(it: Opened) -> Document:
    """A document with something in every field."""
    store = it.store
    store.worker = "me"
    await store.open_session("s", holdings={"AAPL": 100, "MSFT": 75}, tick=TICK, at=AT, attach=True)
    await store.set_targets("s", Targets({"AAPL": 0.5, "MSFT": 0.5}, {"AAPL": 1}), at=AT)
    for ticker in ("AAPL", "TSLA", "MSFT"):
        start = await store.start_analysis("s", ticker=ticker, started_at=AT, tick_id=1, token=f"t{ticker}")
        texts = [result(number, start.run_id, ticker) for number in range(3)]
        await store.record_results(
            "s", run_id=start.run_id, version=2, results=texts, at=AT, recorded=0, token=f"t{ticker}"
        )
    return await store.get_document("s")


def reads(it: Opened, own: str) -> list[Call]:
    """Every call that changes no more than the times, and the sweeps."""
    store, known, tick = it.store, Known(own, 3, 2), FakeTick(3)
    results = partial(store.newest_results, "s", max_bytes=10_000)
    return [
        ("open", lambda: store.open_session("s", holdings={"AAPL": 1}, tick=TICK, at=LATER, attach=True)),
        ("get", lambda: store.get_portfolio("s", at=LATER, incarnation=own, known=known)),
        ("peek", lambda: store.peek_portfolio("s")),
        ("attach", lambda: store.attach("s", known=known)),
        ("results", lambda: results(limit=100)),
        ("results of one", lambda: results(ticker="AAPL", limit=2)),
        ("revalue", lambda: store.revalue(["s"], tick=NEXT, price_lookup=priced)),
        ("sweep", lambda: store.revalue_all(tick, lost=["gone", "me"], price_lookup=priced)),
        ("leave", lambda: store.leave_session("s")),
    ]


def edits(it: Opened, own: str) -> list[Call]:
    store, known = it.store, Known(own, 3, 2)
    trade = partial(store.trade, "s", tick=NEXT, at=LATER, incarnation=own)
    return [
        ("trade", lambda: trade("AAPL", 1, price_lookup=priced, known=known)),
        ("sell", lambda: trade("MSFT", -75, last_known=priced)),
        ("set targets", lambda: store.set_targets("s", None, at=LATER, incarnation=own, known=known)),
        ("set holdings", lambda: store.set_holdings("s", {"AAPL": 1}, tick=NEXT, at=LATER, incarnation=own)),
    ]


def run_calls(it: Opened, own: str) -> list[Call]:
    """Every call of a run, of the current one and of the next ones."""
    store, known, how = it.store, Known(own, 3, 2), Ending(3, "cancelled", "switched")
    head = Head(2, {"AAPL": 100, "MSFT": 75}, None, (b'{"AAPL":100,"MSFT":75}', b"null"))
    ahead = Computed(head, 4, [result(0, 4)], finish=True)
    record = partial(store.record_results, "s", at=LATER, incarnation=own)
    start = partial(store.start_analysis, "s", ticker="AAPL", started_at=LATER, tick_id=2, incarnation=own)
    more, last = [result(4, 3)], [result(1, 5)]
    return [
        ("record", lambda: record(run_id=3, version=2, results=more, recorded=3, token="tMSFT")),
        ("record nothing", lambda: record(run_id=3, version=2, results=[], recorded=4)),
        ("finish", lambda: store.finish_analysis("s", run_id=3, incarnation=own, ending=how, own=True)),
        ("finish by token", lambda: store.finish_analysis("s", token="tMSFT", incarnation=own)),
        ("start", lambda: start(token="u", ended=how, known=known)),
        ("start ahead", lambda: start(token="v", computed=ahead)),
        ("finish the last", lambda: record(run_id=5, version=5, results=last, finish=True, recorded=0)),
        ("lift", lambda: store.lift("s", Known(own, 9, 9))),
    ]


def calls(it: Opened, document: Document) -> list[Call]:
    """Every call on a document, as a worker makes it that has read the document before."""
    own = str(document["incarnation"])
    return [*reads(it, own), *edits(it, own), *run_calls(it, own)]


def priced(names: Iterable[str]) -> dict[str, float]:
    """A source that knows every name."""
    return dict.fromkeys(names, 1.0)


# What a call may change although it then says that the document is broken: a client was active, or came.
TOUCHED: Final = ("last_activity", "attached")


def but_for_the_time(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in TOUCHED}


async def outcome(call: Callable[[], Awaitable[object]], path: Path) -> str:
    try:
        await call()
    except WrongType:
        return "broken"
    except SessionMissing:
        # Another incarnation, which the store might have written, means another document.
        assert path == ("incarnation",)
        return "missing"
    except FENCES:
        return "refused"
    return "done"


async def survive(engine: Engine, path: Path, value: object) -> None:
    async with engine.opened(max_results=8, max_results_bytes=2_000) as it:
        before = await lived_in(it)
        foreign = changed(before, path, value)
        for name, call in calls(it, before):
            # Each by itself, so that no call mends the document for the next; and then all in turn.
            await it.client.execute_command("JSON.SET", KEY, "$", json.dumps(foreign))
            was = await it.store.get_document("s")
            if await outcome(call, path) == "broken":
                assert but_for_the_time(await it.store.get_document("s")) == but_for_the_time(was), name
        await it.client.execute_command("JSON.SET", KEY, "$", json.dumps(foreign))
        for _, call in calls(it, before):
            await outcome(call, path)


@law
@given(change=changes)
# A script that took these for its own would never end, break the list of ends, or write before it refuses.
@example(change=(("result_sizes",), []))
@example(change=(("result_sizes",), GONE))
@example(change=(("result_sizes", 0), "x"))
@example(change=(("analysis_results",), 5))
@example(change=(("run_ends",), [{"run_id": 1, "reason": "}"}]))
@example(change=(("run_ends",), [{"run_id": 1, "reason": "},{"}]))
@example(change=(("holdings", "AAPL"), 1e308))
@example(change=(("holdings", "new"), 1))
@example(change=(("targets", "weights"), {"A B": 1}))
@example(change=(("holdings",), {"AAPL": 100, "": 1}))
@example(change=(("holdings",), {"A" * 33: 1}))
@example(change=(("current_analysis", "run_id"), 1.5))
@example(change=(("attached",), 5))
@example(change=(("attached", 0), "\\"))
@example(change=(("incarnation",), '"'))
@example(change=(("run_counter",), 2**53 - 1))
def test_every_call_works_or_names_it(engines: list[Engine], change: tuple[Path, object]) -> None:
    for engine in engines:
        trio.run(survive, engine, *change)


def test_a_name_that_ends_like_a_path_is_not_taken_for_it(engines: list[Engine]) -> None:
    async def read(engine: Engine) -> None:
        async with engine.opened() as it:
            before = await lived_in(it)
            foreign = changed(before, ("run_ends",), [{"x$.targets": [7]}])
            await it.client.execute_command("JSON.SET", KEY, "$", json.dumps(foreign))
            for _ in range(16):  # Redis answers in any order of paths
                found = await it.store.attach("s")
                assert found.targets == Targets({"AAPL": 0.5, "MSFT": 0.5}, {"AAPL": 1})

    for engine in engines:
        trio.run(read, engine)


def test_no_trade_drops_a_line_that_cannot_be_read(engines: list[Engine]) -> None:
    async def refuse(engine: Engine, line: Document) -> None:
        async with engine.opened() as it:
            foreign = changed(await lived_in(it), ("holdings",), {"AAPL": 100, **line, "MSFT": 75})
            await it.client.execute_command("JSON.SET", KEY, "$", json.dumps(foreign))
            with pytest.raises(WrongType):
                await it.store.trade("s", "AAPL", 1, tick=NEXT, at=LATER, price_lookup=priced)
            assert await it.store.get_document("s") == foreign

    lines: list[Document] = [{"": 1}, {"A B": 1}, {"A" * 33: 1}, {"TSLA": "5"}, {"TSLA": [1]}, {"TSLA": 1e23}]
    for engine in engines:
        for line in lines:
            trio.run(refuse, engine, line)
