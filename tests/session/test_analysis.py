"""One run by itself: where its metrics are computed, and where it can be cancelled."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from trio.testing import MockClock
from typing_extensions import override

from portfolio_trio.metrics import AnalysisInputs, Metric, MetricRegistry
from portfolio_trio.protocol.requests import Analyze
from portfolio_trio.protocol.results import ComputedResult, RunTexts
from portfolio_trio.session.analysis import Analysis
from portfolio_trio.session.snapshot import Snapshot
from portfolio_trio.store import Known, RunStart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portfolio_trio.session.snapshot import Outcome
    from portfolio_trio.store import Head

pytestmark = pytest.mark.trio

START = RunStart(run_id=7, holdings={"AAPL": 1.0}, version=3, total_value=100.0, others=())

INPUTS = SimpleNamespace(ticker="AAPL", snapshot="abc", last_bar=None, tickers=())


class ResultSink:
    """Notes what a run has to say, and when."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, float]]] = []
        self.known = Known()
        self.before = None
        self.after = None
        self.head: Head | None = None
        self.inputs: AnalysisInputs
        self.finished = False

    def claimed(self, start: RunStart, token: str) -> None:
        assert start is START
        assert token

    def computing(self, inputs: AnalysisInputs) -> None:
        self.inputs = inputs

    def started(self, snapshot: Snapshot, start: RunStart) -> None:
        assert snapshot.run_id == start.run_id == START.run_id
        assert self.inputs is snapshot.inputs

    def recorded(self, others: tuple[str, ...], *, finished: bool) -> None:
        assert not others
        assert not self.finished, "nothing is recorded after the last"
        self.finished = finished

    def taken(
        self,
        snapshot: Snapshot,
        start: RunStart,
        batch: Sequence[Outcome],
        *,
        results: int | None,
    ) -> None:
        del snapshot, start, batch, results
        raise AssertionError("nothing is known that could be computed on ahead")

    def deliver(self, batch: Sequence[Outcome]) -> None:
        results = [outcome for outcome in batch if isinstance(outcome, ComputedResult)]
        self.batches.append([(result.metric, result.value) for result in results])

    async def delivered(self) -> None:
        await trio.lowlevel.checkpoint()


class Store:
    """Takes every write; notes how many results came together, and which write was the last of its run."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, bool]] = []

    async def start_analysis(self, session_id: str, **_: object) -> RunStart:
        assert session_id == "one"
        await trio.lowlevel.checkpoint()
        return START

    async def record_results(
        self, _session_id: str, *, results: Sequence[str], finish: bool, **_: object
    ) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        self.writes.append((len(results), finish))
        return ()


class Tasks(trio.abc.Instrument):
    """Counts the tasks that are started."""

    def __init__(self) -> None:
        self.started = 0

    @override
    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.started += 1


def named(name: str, function: Callable[[], float], *, heavy: bool = False) -> Metric:
    def value(_inputs: AnalysisInputs) -> float:
        return function()

    return Metric(name, value, heavy=heavy)


def prepare(
    *metrics: Metric, delays: Callable[[], float] = lambda: 0.0
) -> tuple[Analysis, Store, ResultSink]:
    """A run of these metrics over nothing that they could look at."""
    store, sink = Store(), ResultSink()
    tick = SimpleNamespace(tick_id=1, as_of="2026-11-23T09:30:00.000Z", stale=False)
    inputs = cast("Any", SimpleNamespace(ticker="AAPL"))
    services = SimpleNamespace(
        metrics=MetricRegistry(*metrics),
        draw_delay=delays,
        now=lambda: 1_800_000_000.0,
        heavy=trio.CapacityLimiter(4),
        store=store,
        immediate=None,
        draw_token=lambda: "t",
        book=SimpleNamespace(current=tick),
        snapshots=SimpleNamespace(
            take=lambda _request, head, run_id: Snapshot(
                head, run_id, cast("Any", tick), inputs, RunTexts("AAPL", run_id, "", None)
            )
        ),
    )
    request = Analyze(action="analyze", ticker="AAPL")
    # Only the parts that a run uses exist.
    return Analysis(cast("Any", services), "one", request, sink, incarnation=""), store, sink


async def test_light_metrics_share_the_task_of_the_run_one_write_and_one_batch() -> None:
    analysis, store, sink = prepare(*(named(name, lambda: 1.0) for name in ("a", "b", "c")))
    tasks = Tasks()
    trio.lowlevel.add_instrument(tasks)
    try:
        assert await analysis.run() == (3, 0)
    finally:
        trio.lowlevel.remove_instrument(tasks)
    assert tasks.started == 0
    assert store.writes == [(3, True)]
    assert sink.batches == [[("a", 1.0), ("b", 1.0), ("c", 1.0)]]


async def test_a_run_without_metrics_still_ends_in_the_document() -> None:
    analysis, store, _ = prepare()
    assert await analysis.run() == (0, 0)
    assert store.writes == [(0, True)]


async def test_held_up_and_heavy_metrics_do_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    delays = iter((0.0, 2.0, 2.0, 0.0))
    analysis, store, sink = prepare(
        *(named(name, lambda: 1.0) for name in ("a", "b", "c")),
        named("d", lambda: 4.0),
        delays=lambda: next(delays),
    )
    assert await analysis.run() == (4, 0)
    assert store.writes == [(2, False), (2, True)]
    assert sink.batches == [[("a", 1.0), ("d", 4.0)], [("b", 1.0), ("c", 1.0)]]
    # Side by side, not one after another.
    assert trio.current_time() == pytest.approx(2.0)
    assert isinstance(autojump_clock, MockClock)


async def test_delayed_metrics_are_computed_when_they_are_due_without_a_task(
    autojump_clock: MockClock,
) -> None:
    delays, moments = iter((3.0, 1.0, 2.0)), []

    def now() -> float:
        moments.append(trio.current_time())
        return 1.0

    analysis, store, sink = prepare(
        *(named(name, now) for name in ("a", "b", "c")), delays=lambda: next(delays)
    )
    began, tasks = trio.current_time(), Tasks()
    trio.lowlevel.add_instrument(tasks)
    try:
        assert await analysis.run() == (3, 0)
    finally:
        trio.lowlevel.remove_instrument(tasks)
    assert [moment - began for moment in moments] == pytest.approx([1.0, 2.0, 3.0])
    assert tasks.started == 0
    assert store.writes == [(1, False), (1, False), (1, True)]
    assert sink.batches == [[("b", 1.0)], [("c", 1.0)], [("a", 1.0)]]
    assert isinstance(autojump_clock, MockClock)


async def test_a_heavy_metric_and_delayed_ones_end_the_run_together() -> None:
    delays, may_end = iter((0.0, 0.01, 0.02)), threading.Event()

    def last() -> float:
        may_end.set()
        return 2.0

    def heavy() -> float:
        assert may_end.wait(30)
        return 3.0

    analysis, store, sink = prepare(
        named("heavy", heavy, heavy=True),
        named("first", lambda: 1.0),
        named("last", last),
        delays=lambda: next(delays),
    )
    with trio.fail_after(30):
        assert await analysis.run() == (3, 0)
    assert [finish for _, finish in store.writes] == [*[False] * (len(store.writes) - 1), True]
    assert sink.batches == [[("first", 1.0)], [("last", 2.0)], [("heavy", 3.0)]]


async def test_a_heavy_metric_has_a_thread_while_the_light_ones_are_handed_on() -> None:
    analysis, store, sink = prepare(named("heavy", lambda: 1.0, heavy=True), named("light", lambda: 2.0))
    with trio.fail_after(30):
        assert await analysis.run() == (2, 0)
    assert store.writes == [(1, False), (1, True)]
    assert sink.batches == [[("light", 2.0)], [("heavy", 1.0)]]


@pytest.mark.parametrize(("milliseconds", "computed"), [(0.0, ["slow", "next"]), (2.0, ["slow"])])
async def test_a_run_is_cancelled_between_metrics_that_take_long(
    mock_clock: MockClock, milliseconds: float, computed: list[str]
) -> None:
    done: list[str] = []
    scope = trio.CancelScope()

    def slow() -> float:
        done.append("slow")
        # The end of the run can only be decided when the run yields control.
        mock_clock.jump(milliseconds / 1_000)
        scope.cancel()
        return 1.0

    def following() -> float:
        done.append("next")
        return 1.0

    analysis, store, sink = prepare(named("slow", slow), named("next", following))
    with scope:
        await analysis.run()
    assert scope.cancelled_caught
    assert done == computed
    assert not store.writes
    assert not sink.batches
