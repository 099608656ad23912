"""The market updater's schedule, with a book and a ledger that are slow or fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from typing_extensions import override

from portfolio_trio.faults import Faults
from portfolio_trio.market import PriceBook, SimulatedSource, Tick
from portfolio_trio.market.updater import MarketUpdater
from tests.support.clock import virtual_wall_time
from tests.support.logs import events

pytestmark = pytest.mark.trio


class SweepError(Exception):
    """What the ledger raises."""


@dataclass
class Report:
    revalued: int = 3
    errors: int = 0
    reasons: str = "s-1: failed"
    held: frozenset[str] | None = None
    unpriced_names: int = 0


class Ledger:
    """Notes when each sweep started; takes the next of some durations, and fails where it is negative."""

    def __init__(self, *durations: float) -> None:
        self.durations = list(durations)
        self.sweeps: list[tuple[float, int]] = []
        self.report = Report()
        self.told: list[tuple[str, int]] = []

    async def ticked(self, tick: Tick) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(("ticked", tick.tick_id))

    async def swept(self, tick: Tick) -> None:
        self.told.append(("swept", tick.tick_id))

    async def revalue_all(
        self,
        tick: Tick,
        *,
        price_lookup: Callable[[Iterable[str]], Mapping[str, float]],
        lost: Sequence[str],
    ) -> Report:
        assert price_lookup(["AAPL"])
        self.told.append((f"revalued without {', '.join(lost)}", tick.tick_id))
        self.sweeps.append((trio.current_time(), tick.tick_id))
        duration = self.durations.pop(0) if self.durations else 0.0
        if duration < 0:
            raise SweepError("the store is away")
        await trio.sleep(duration)
        return self.report


class Others:
    """The other workers; refuses ticks while told to."""

    def __init__(self, told: list[tuple[str, int]]) -> None:
        self.lost: tuple[str, ...] = ("one",)
        self.error: Exception | None = None
        self._told = told

    async def publish(self, tick: Tick) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self._told.append(("published", tick.tick_id))

    async def swept(self, tick: Tick, lost: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self._told.append((f"clean of {', '.join(lost)}", tick.tick_id))


async def run_for(
    seconds: float, ledger: Ledger, interval: float = 30.0, others: Others | None = None
) -> MarketUpdater:
    book = PriceBook(SimulatedSource(), now=virtual_wall_time)
    await book.open()
    exchange = others or Others(ledger.told)
    updater = MarketUpdater(
        book, ledger, exchange, ledger, interval=interval, failures=(SweepError,), faults=Faults()
    )
    with trio.move_on_after(seconds):
        await updater.run(interval)
    return updater


async def test_ticks_fall_on_a_fixed_schedule_whatever_a_sweep_takes(autojump_clock: MockClock) -> None:
    ledger = Ledger(0, 12, 29, 0.5)
    updater = await run_for(155, ledger)
    assert [moment for moment, _ in ledger.sweeps] == [30, 60, 90, 120, 150]
    assert updater.skipped == 0


async def test_a_sweep_longer_than_the_interval_skips_and_says_so(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(0, 70)
    updater = await run_for(185, ledger)
    assert [moment for moment, _ in ledger.sweeps] == [30, 60, 150, 180]
    assert updater.skipped == 2
    (said,) = events(caplog)
    assert said == (
        "ticks_skipped",
        {"tick_id": ledger.sweeps[1][1], "skipped": 2, "interval_seconds": 30.0},
    )


async def test_tick_ids_rise(autojump_clock: MockClock) -> None:
    ledger = Ledger()
    await run_for(10, ledger, interval=0.25)
    ids = [tick_id for _, tick_id in ledger.sweeps]
    assert len(ids) == 39
    assert all(later > earlier for earlier, later in pairwise(ids))


async def test_a_failed_sweep_is_logged_and_the_next_one_runs(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(-1)
    await run_for(65, ledger)
    assert len(ledger.sweeps) == 2
    assert events(caplog) == [("market_update_failed", {"error": "the store is away"})]


async def test_a_lasting_failure_is_a_line_at_its_start_and_one_at_its_end(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await run_for(30 * 9 + 1, Ledger(0, -1, -1, -1, 0, 0, -1, 0))
    failed = ("market_update_failed", {"error": "the store is away"})
    assert events(caplog) == [
        failed,
        ("market_recovered", {"seconds": 90.0, "times": 3}),
        failed,
        ("market_recovered", {"seconds": 30.0, "times": 1}),
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


async def test_a_sweep_with_errors_warns_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    class Mending(Ledger):
        @override
        async def revalue_all(self, *args: Any, **options: Any) -> Report:
            await super().revalue_all(*args, **options)
            return Report(revalued=2, errors=1) if len(self.sweeps) in {2, 3, 4} else Report()

    ledger = Mending()
    await run_for(30 * 7 + 1, ledger)
    assert events(caplog) == [
        (
            "sweep_errors",
            {"tick_id": ledger.sweeps[1][1], "sessions": 2, "errors": 1, "reasons": "s-1: failed"},
        ),
        ("sweep_errors_end", {"seconds": 90.0, "times": 3}),
    ]


async def test_what_was_wrong_is_not_over_because_another_one_updates_the_market(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    book = PriceBook(SimulatedSource(), now=virtual_wall_time)
    await book.open()
    ledger = Ledger(-1, 0, -1)
    updater = MarketUpdater(
        book, ledger, Others(ledger.told), ledger, interval=30, failures=(SweepError,), faults=Faults()
    )
    for _ in range(3):
        with trio.move_on_after(29):
            await updater.run(0)
    assert [event for event, _ in events(caplog)] == ["market_update_failed"] * 2


async def test_the_audience_is_told_of_a_tick_before_and_after_its_sweep(autojump_clock: MockClock) -> None:
    ledger = Ledger(0, -1, 0)
    await run_for(91, ledger)
    first, failed, last = (tick_id for _, tick_id in ledger.sweeps)
    whole = ["published", "ticked", "revalued without one", "clean of one", "swept"]
    assert ledger.told == [
        *((what, first) for what in whole),
        *((what, failed) for what in whole[:3]),
        *((what, last) for what in whole),
    ]


async def test_a_tick_that_may_not_be_published_changes_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    others = Others(ledger.told)
    others.error = SweepError("another worker leads")
    await run_for(31, ledger, others=others)
    assert ledger.told == []
    assert events(caplog) == [("market_update_failed", {"error": "another worker leads"})]


async def test_a_fault_costs_the_tick_and_not_the_updater(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    others = Others(ledger.told)
    others.error = ZeroDivisionError("a plug-in's")
    await run_for(61, ledger, others=others)
    assert caplog.text.count("ZeroDivisionError: a plug-in's") == 2


async def test_an_audience_that_fails_costs_no_session_its_value(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()

    async def fail(tick: Tick) -> None:
        raise LookupError("a fault of ours")

    ledger.ticked = fail  # type: ignore[method-assign] # as above
    await run_for(61, ledger)
    assert [what for what, _ in ledger.told].count("swept") == 2
    assert len(ledger.sweeps) == 2
    assert events(caplog) == [("fault", {"where": "a tick"})] * 2


async def test_a_fault_at_the_moment_at_which_the_lease_ends_stays_inside(autojump_clock: MockClock) -> None:
    """Then it comes in one group with the cancellation, which is to pass alone."""
    ledger = Ledger()

    async def stumble_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("a fault of ours")

    async def revalue(*_: object, **__: object) -> Report:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stumble_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
        return ledger.report

    ledger.revalue_all = revalue  # type: ignore[method-assign] # as above
    await run_for(31, ledger)
    assert trio.current_time() == 31
