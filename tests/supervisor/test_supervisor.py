"""The supervisor with scripted workers, in virtual time."""

from __future__ import annotations

import logging
import math
import random
import signal
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from portfolio_trio.restart_policy import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, Restarts
from portfolio_trio.server.server import GOODBYE_SECONDS
from portfolio_trio.settings import Settings
from portfolio_trio.supervisor.supervisor import MARGIN_SECONDS, Supervisor
from tests.support.logs import events
from tests.support.workers import Crew, FakeWorker, Life

PATIENCE = 20.0
LONGEST_LAUNCH = 3.0
TERM = signal.SIGTERM
NEVER = math.inf


@dataclass
class Story:
    """A supervisor of a crew that is told to stop at some moments."""

    crew: Crew
    count: int = 2
    stops: tuple[float, ...] = (100.37,)
    status: int | None = field(default=None, init=False)
    over_at: float = field(default=NEVER, init=False)

    @property
    def stopped_at(self) -> float:
        return self.stops[0]

    def told(self) -> Story:
        trio.run(self._tell, clock=MockClock(autojump_threshold=0))
        return self

    async def _tell(self) -> None:
        supervisor = Supervisor(self.crew, self.count, Restarts(random.Random(1)), patience=PATIENCE)
        with trio.fail_after(10_000):
            await self._run(supervisor)

    async def _run(self, supervisor: Supervisor) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop, supervisor)
            self.status = await supervisor.run()
            self.over_at = trio.current_time()
            assert self.crew.alive == []
            nursery.cancel_scope.cancel()

    async def _stop(self, supervisor: Supervisor) -> None:
        for moment in self.stops:
            await trio.sleep_until(moment)
            supervisor.stop()

    def of(self, number: int) -> list[FakeWorker]:
        return [worker for worker in self.crew.launched if worker.number == number]


LIVES = st.builds(
    Life,
    launch_seconds=st.sampled_from([0.0, 0.1, LONGEST_LAUNCH]),
    refused=st.sampled_from([False, False, False, True]),
    # No two of these fall on one moment, so that each story has one right ending.
    serves_after=st.sampled_from([0.0, 2.0, 2.0, NEVER]),
    ends_after=st.sampled_from([1.0, 7.0, 25.0, NEVER]),
    status=st.integers(-31, 255),
    drain_seconds=st.sampled_from([0.0, 5.0, 50.0, NEVER]),
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    count = draw(st.integers(1, 3))
    first = draw(st.integers(0, 150)) + 0.37
    second = draw(st.none() | st.integers(0, 30))
    crew = Crew(
        {number: draw(st.lists(LIVES, max_size=5)) for number in range(1, count + 1)}, then=draw(LIVES)
    )
    return Story(crew, count, (first,) if second is None else (first, first + second))


@given(stories())
@settings(max_examples=200)
def test_however_workers_live_none_is_left_and_none_is_forgotten(story: Story) -> None:
    story.told()
    gave_up = story.over_at < story.stopped_at
    assert all(worker.closed for worker in story.crew.launched)
    if gave_up:
        assert story.crew.asked == [(0.0, 1)]
    else:
        assert story.status == 0
        assert story.over_at <= story.stopped_at + LONGEST_LAUNCH + PATIENCE
    assert all(moment < story.stopped_at for moment, _ in story.crew.asked)
    first_served = min((worker.served_at for worker in story.crew.launched), default=NEVER)
    asked = {number for _, number in story.crew.asked}
    assert asked == (set(range(1, story.count + 1)) if first_served < story.stopped_at else {1})


@given(stories())
@settings(max_examples=100)
def test_a_stop_reaches_every_worker_at_the_same_moment(story: Story) -> None:
    story.told()
    for worker in story.crew.launched:
        terms = [moment for moment, kind in worker.signals if kind is TERM]
        if worker.born >= story.stopped_at:
            # It was being started; the stop waits for it.
            assert terms[0] == worker.born
        elif worker.signals:
            assert terms[0] == story.stopped_at
        else:
            assert worker.ends_at < story.stopped_at


@given(stories())
@settings(max_examples=100)
def test_one_process_a_worker_and_a_pause_before_the_next(story: Story) -> None:
    story.told()
    for number in range(1, story.count + 1):
        asked = [moment for moment, each in story.crew.asked if each == number]
        for worker, later in pairwise(story.of(number)):
            again = min(moment for moment in asked if moment >= worker.ends_at)
            assert worker.ends_at <= again <= later.born
            assert FIRST_DELAY_SECONDS / 2 <= again - worker.ends_at <= LONGEST_DELAY_SECONDS


def test_the_first_worker_starts_alone() -> None:
    story = Story(Crew(then=Life(launch_seconds=0.5, serves_after=1.0)), count=3).told()
    assert sorted(story.crew.asked) == [(0.0, 1), (1.5, 2), (1.5, 3)]
    assert (story.status, story.over_at) == (0, story.stopped_at)


@pytest.mark.parametrize(
    ("life", "status"),
    [
        (Life(serves_after=NEVER, ends_after=2.0, status=1), 1),
        (Life(serves_after=NEVER, ends_after=2.0, status=-signal.SIGSEGV), 139),
        (Life(refused=True), 1),
    ],
)
def test_a_first_worker_that_cannot_start_ends_it_all(life: Life, status: int) -> None:
    story = Story(Crew(then=life), count=3).told()
    assert story.crew.asked == [(0.0, 1)]
    assert story.status == status


def test_what_fails_once_one_has_served_is_tried_again() -> None:
    fails = Life(serves_after=NEVER, ends_after=1.0)
    story = Story(Crew({1: [Life(ends_after=3.0), fails, fails], 2: [fails, Life(refused=True)]})).told()
    assert [len(story.of(1)), len(story.of(2))] == [4, 2]
    assert [len([1 for _, each in story.crew.asked if each == number]) for number in (1, 2)] == [4, 3]
    assert story.status == 0


def test_a_worker_that_ends_well_is_replaced_too() -> None:
    # So an operator renews workers one by one, with a SIGTERM to each.
    story = Story(Crew({2: [Life(ends_after=30.0, status=0)]})).told()
    assert len(story.of(2)) == 2


def test_workers_drain_together_and_the_last_one_ends_it() -> None:
    lives = {1: [Life(drain_seconds=5.0)], 2: [Life(drain_seconds=9.0)]}
    story = Story(Crew(lives)).told()
    assert [worker.signals for worker in story.crew.launched] == [[(story.stopped_at, TERM)]] * 2
    assert (story.status, story.over_at) == (0, story.stopped_at + 9.0)


def test_a_second_stop_ends_them_at_once() -> None:
    story = Story(Crew(then=Life(drain_seconds=15.0)), stops=(50.0, 52.0)).told()
    assert [worker.signals for worker in story.crew.launched] == [[(50.0, TERM), (52.0, TERM)]] * 2
    assert (story.status, story.over_at) == (0, 52.0)


def test_a_worker_that_ignores_the_signal_is_killed_after_the_time_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story(Crew({2: [Life(drain_seconds=NEVER)]})).told()
    end = story.stopped_at + PATIENCE
    assert story.of(2)[0].signals == [(story.stopped_at, TERM), (end, signal.SIGKILL)]
    assert (story.status, story.over_at) == (0, end)
    assert events(caplog) == [("worker_killed", {"worker": 2, "seconds": PATIENCE})]


@pytest.mark.parametrize(("stop", "signals"), [(0.5, [(1.0, TERM)]), (1.5, [(1.5, TERM)])])
def test_a_stop_before_anything_serves_is_no_failure(
    stop: float, signals: list[tuple[float, signal.Signals]]
) -> None:
    story = Story(Crew(then=Life(launch_seconds=1.0, serves_after=9.0)), stops=(stop,)).told()
    assert [worker.signals for worker in story.crew.launched] == [signals]
    assert story.status == 0


def test_a_stop_does_not_wait_for_a_pause_to_end() -> None:
    # Worker 2 falls again and again, so that its pauses are long.
    story = Story(Crew({2: [Life(ends_after=1.5)] * 50}), stops=(45.0,)).told()
    assert not story.of(2)[-1].signals
    assert story.over_at == 45.0


def test_a_supervisor_that_breaks_leaves_no_worker() -> None:
    crew = Crew()

    async def main() -> None:
        with trio.move_on_after(10.0):
            await Supervisor(crew, 2, Restarts(random.Random(1)), patience=PATIENCE).run()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [[kind for _, kind in worker.signals] for worker in crew.launched] == [[signal.SIGKILL]] * 2


def test_each_restart_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ends = [Life(ends_after=2.0, status=status) for status in (3, -signal.SIGKILL, -64 - 1)]
    Story(Crew({2: ends})).told()
    restarts = [fields for _, fields in events(caplog, "worker_restarts", level="warning")]
    assert [(fields["worker"], fields["why"]) for fields in restarts] == [
        (2, "ended with status 3"),
        (2, "was ended by SIGKILL"),
        (2, "was ended by signal 65"),
    ]
    assert events(caplog)[0] == ("worker_serves", {"worker": 1, "pid": 1000})


def test_patience_covers_all_that_a_draining_server_may_take() -> None:
    store = Settings.model_fields["redis_timeout_seconds"].default
    assert GOODBYE_SECONDS + store < MARGIN_SECONDS
