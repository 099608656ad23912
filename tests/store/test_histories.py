"""The same random history on every engine and on the model: same answers, same documents, step by step."""

from __future__ import annotations

import copy
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portfolio_trio.store import SessionMissing, StoreError
from portfolio_trio.targets import Targets
from portfolio_trio.times import rfc3339
from tests.store.engines import TTL, Engine, FakeTick, Opened, result
from tests.store.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RESULTS: Final = 5
# Four results of the usual length: now this limit is the narrower one, now the other.
MAX_BYTES: Final = 440
MAX_HOLDINGS: Final = 3

# Quarters and eighths: their products and sums are exact, so every order of adding gives the same double.
tickers = st.sampled_from(["AAPL", "BRK.B", "C", "D-1", "NOPRICE"])
shares = st.integers(-8, 8).map(lambda quarters: quarters / 4)
holdings = st.dictionaries(tickers, shares, max_size=MAX_HOLDINGS + 1)
tick_steps = st.integers(-1, 2)
# Shares of 1 that are exact, as the store scales them.
wanted = st.none() | st.sampled_from([{"AAPL": 1.0}, {"AAPL": 0.25, "BRK.B": 0.75}, {"C": 0.5, "D-1": 0.5}])
targets = st.builds(Targets, weights=wanted, budgets=wanted, band=st.sampled_from([0.0, 0.125]))
# How far a stated number is from the one that holds: mostly not at all.
slips = st.sampled_from([0, 0, 0, 0, -1, 1])


@dataclass(frozen=True)
class Op:
    """One call of the store; the numbers that must fit the document are drawn as distances from it."""


@dataclass(frozen=True)
class OpenSession(Op):
    holdings: Mapping[str, float]


@dataclass(frozen=True)
class Start(Op):
    ticker: str


@dataclass(frozen=True)
class Record(Op):
    run: int
    version: int
    recorded: int | None
    count: int
    finish: bool


@dataclass(frozen=True)
class RecordAgain(Op):
    """The last batch once more, as after a lost reply."""


@dataclass(frozen=True)
class Finish(Op):
    run: int


@dataclass(frozen=True)
class SetHoldings(Op):
    holdings: Mapping[str, float]
    expected: int | None


@dataclass(frozen=True)
class SetTargets(Op):
    targets: Targets | None
    expected: int | None


@dataclass(frozen=True)
class Trade(Op):
    ticker: str
    shares: float


@dataclass(frozen=True)
class Revalue(Op):
    step: int


@dataclass(frozen=True)
class Wait(Op):
    seconds: int


records = st.builds(
    Record,
    run=slips,
    version=slips,
    recorded=st.none() | slips,
    count=st.integers(0, 3),
    finish=st.booleans(),
)
operations: st.SearchStrategy[Op] = st.one_of(
    st.builds(Start, ticker=tickers),
    records,
    records,
    st.just(RecordAgain()),
    st.builds(Finish, run=slips),
    st.builds(SetHoldings, holdings=holdings, expected=st.none() | slips),
    st.builds(SetTargets, targets=st.none() | targets, expected=st.none() | slips),
    st.builds(Trade, ticker=tickers, shares=shares),
    st.builds(Revalue, step=tick_steps),
    st.builds(OpenSession, holdings=holdings),
    st.builds(Wait, seconds=st.sampled_from([1, TTL // 2, TTL + 1])),
)


class World:
    """One engine or the model, seen as a thing that answers calls."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.tick = FakeTick(100, prices={"AAPL": 2.5, "BRK.B": 4.0, "C": 0.125, "D-1": 8.0})
        self._last: tuple[Any, ...] | None = None
        self._numbers = 0
        self._calls = 0

    @property
    def at(self) -> str:
        """Another time for each call, so that a document shows which of them touched it last."""
        self._calls += 1
        return rfc3339(1_795_000_000 + self.model.now + self._calls / 1000)

    # One line for each kind of call (C901, PLR0911).
    def resolved(self, op: Op) -> tuple[Any, ...] | None:  # noqa: C901, PLR0911
        """The call with its real numbers, the same for the model and every engine; None for no call."""
        try:
            document = self.model.document()
        except SessionMissing:
            document = {"run_counter": 0, "version": 1, "current_analysis": None}
        match op:
            case Start(ticker):
                return "start", ticker, self.at, self.tick.tick_id
            case Record():
                self._last = self._batch(op, document)
                return self._last
            case RecordAgain():
                return self._last
            case Finish(run):
                return "finish", document["run_counter"] + run
            case SetHoldings(held, expected):
                version = None if expected is None else document["version"] + expected
                return "set_holdings", held, self.tick, self.at, version
            case SetTargets(wanted, expected):
                version = None if expected is None else document["version"] + expected
                return "set_targets", None if wanted is None else asdict(wanted), self.at, version
            case Trade(ticker, traded):
                return "trade", ticker, traded, self.tick, self.at
            case Revalue(step):
                return "revalue", self._ticked(step)
            case OpenSession(held):
                return "open", held, self.tick, self.at
            case _:
                return None

    def _batch(self, op: Record, document: Mapping[str, Any]) -> tuple[Any, ...]:
        run_id = document["run_counter"] + op.run
        current = document["current_analysis"] or {"recorded": 0}
        stated = None if op.recorded is None else max(0, current["recorded"] + op.recorded)
        texts = []
        for _ in range(op.count):
            self._numbers += 1
            texts.append(result(self._numbers, run_id))
        return "record", run_id, document["version"] + op.version, texts, self.at, op.finish, stated

    def _ticked(self, step: int) -> FakeTick:
        if step <= 0:
            return FakeTick(self.tick.tick_id + step, self.at, self.tick.prices)
        prices = {name: price + step / 8 for name, price in self.tick.prices.items()}
        self.tick = FakeTick(self.tick.tick_id + step, self.at, prices)
        return self.tick


def ask_model(model: Model, name: str, *args: Any) -> object:
    if name == "record":
        run_id, version, texts, at, finish, recorded = args
        model.record(run_id, version, texts, at, finish=finish, recorded=recorded)
        return None
    answer: object = getattr(model, name)(*args)
    return answer


# One line for each kind of call (PLR0911).
async def ask_engine(it: Opened, name: str, *args: Any) -> object:  # noqa: PLR0911
    store = it.store
    match name, args:
        case "open", (held, tick, at):
            return (await store.open_session("s", holdings=held, tick=tick, at=at)).created
        case "start", (ticker, at, tick_id):
            return (await store.start_analysis("s", ticker=ticker, started_at=at, tick_id=tick_id)).run_id
        case "record", (run_id, version, texts, at, finish, recorded):
            await store.record_results(
                "s", run_id=run_id, version=version, results=texts, at=at, finish=finish, recorded=recorded
            )
            return None
        case "finish", (run_id,):
            return (await store.finish_analysis("s", run_id=run_id)).cleared
        case "set_holdings", (held, tick, at, expected):
            changed = await store.set_holdings("s", held, tick=tick, at=at, expected_version=expected)
            return changed.version
        case "set_targets", (wanted, at, expected):
            targets = None if wanted is None else Targets(**wanted)
            return (await store.set_targets("s", targets, at=at, expected_version=expected)).version
        case "trade", (ticker, traded, tick, at):
            return (await store.trade("s", ticker, traded, tick=tick, at=at)).version
        case "revalue", (tick,):
            return (await store.revalue(["s"], tick=tick))[0].outcome
    raise AssertionError(name)


def said(error: StoreError) -> tuple[str, object]:
    return type(error).__name__, vars(error)


async def same_on_all(engines: list[Engine], history: list[Op]) -> None:
    world = World(Model(MAX_RESULTS, MAX_HOLDINGS, MAX_BYTES))
    model = world.model
    async with AsyncExitStack() as stack:
        opened = {
            engine.name: await stack.enter_async_context(
                engine.opened(
                    max_results=MAX_RESULTS,
                    max_results_bytes=MAX_BYTES,
                    max_holdings=MAX_HOLDINGS,
                    wall_clock=lambda: model.now,
                )
            )
            for engine in engines
        }
        for op in (OpenSession({"AAPL": 4, "C": 2.5}), *history):
            if isinstance(op, Wait):
                await passed(model, op.seconds, opened)
            call = world.resolved(op)
            if call is not None:
                expected = answer_of(model, call)
                for name, it in opened.items():
                    assert await answer_from(it, call) == expected, name
            for name, it in opened.items():
                assert await document_in(it) == document_of(model), name


async def passed(model: Model, seconds: int, opened: Mapping[str, Opened]) -> None:
    """Advance time; on a real server, expired keys are deleted explicitly instead."""
    model.now += seconds
    if document_of(model) is None and "server" in opened:
        await opened["server"].client.delete("portfolio:{s}")


def answer_of(model: Model, call: tuple[Any, ...]) -> object:
    try:
        return ask_model(model, *call)
    except StoreError as error:
        return said(error)


async def answer_from(it: Opened, call: tuple[Any, ...]) -> object:
    try:
        return await ask_engine(it, *call)
    except StoreError as error:
        return said(error)


def document_of(model: Model) -> object:
    try:
        return copy.deepcopy(model.document())
    except SessionMissing:
        return None


async def document_in(it: Opened) -> object:
    try:
        document = await it.store.get_document("s")
    except SessionMissing:
        return None
    # Drawn for each document.
    assert len(str(document.pop("incarnation"))) == 16
    return document


# The fixture holds no state that an example could change: each one empties the engines first.
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(operations, max_size=40))
def test_every_engine_agrees_with_the_model(engines: list[Engine], history: list[Op]) -> None:
    trio.run(same_on_all, engines, history)


@pytest.mark.trio
async def test_a_long_history_with_every_kind_of_call(engines: list[Engine]) -> None:
    """One fixed history that certainly goes through trimming, late writes, repetition and expiry."""
    batch = Record(run=0, version=0, recorded=0, count=3, finish=False)
    late = Record(run=-1, version=0, recorded=None, count=1, finish=True)
    last = Record(run=0, version=0, recorded=0, count=3, finish=True)
    history: list[Op] = [
        Start("AAPL"), batch, RecordAgain(), Start("C"), RecordAgain(), late, batch, Trade("C",
        1.5), batch, Start("C"), batch, last, RecordAgain(), Revalue(1), Revalue(0), Revalue(-1),
        Finish(0), Finish(-1), SetHoldings({"NOPRICE": 1}, None), SetHoldings({}, 0),
        SetHoldings({"D-1": -1.5}, -1), Trade("D-1", 1), Wait(TTL // 2), Revalue(2), Wait(TTL // 2),
        Revalue(1), Wait(1), Start("C"), Revalue(1), OpenSession({}), Start("C"), last,
        Start("D-1"), SetTargets(Targets({"C": 1.0}), 0), last, SetTargets(None, -1),
        Trade("NOPRICE", 0), Trade("NOPRICE", 2), late, SetHoldings({"NOPRICE": 0,
        "C": 1}, None), Revalue(1), Trade("C", 1), Trade("NOPRICE", 1),
    ]  # fmt: skip
    await same_on_all(engines, history)
