"""A scripted Redis: it lives, serves and ends as scripted, in virtual time."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from portfolio_trio.local_redis import LocalRedisError
from portfolio_trio.local_redis._home import Home
from portfolio_trio.local_redis._keeper import keep
from portfolio_trio.restart_policy import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, Restarts
from tests.support.logs import events
from tests.support.workers import Crew, FakeWorker, Life

END = 1000.37
HOME = Home(Path("/nowhere"))


@dataclass
class Story:
    """A keeper of one Redis after the other, cancelled at some moment."""

    lives: list[Life]
    end: float = END
    answered_at: float | None = field(default=None, init=False)
    refused: str = field(default="", init=False)
    over_at: float = field(default=0.0, init=False)
    crew: Crew = field(init=False)

    def told(self) -> Story:
        self.crew = Crew({1: self.lives})
        trio.run(self._tell, clock=MockClock(autojump_threshold=0))
        return self

    async def _tell(self) -> None:
        with trio.move_on_at(self.end):
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(keep, HOME, self._launch, Restarts(random.Random(1)))
                    self.answered_at = trio.current_time()
            except* LocalRedisError as group:
                self.refused = str(group.exceptions[0])
        self.over_at = trio.current_time()
        assert self.crew.alive == []

    async def _launch(self) -> FakeWorker:
        try:
            return await self.crew(1)
        except OSError as error:
            raise LocalRedisError(str(error)) from error


LIVES = st.builds(
    Life,
    launch_seconds=st.sampled_from([0.0, 0.1, 3.0]),
    refused=st.sampled_from([False, False, False, True]),
    serves_after=st.sampled_from([0.0, 2.0, 2.0]),
    ends_after=st.sampled_from([1.0, 7.0, 25.0]),
    status=st.integers(-31, 255),
)


@given(st.lists(LIVES, max_size=12), st.integers(0, 150))
@settings(max_examples=200)
def test_there_is_one_at_a_time_and_a_pause_before_the_next(lives: list[Life], end: int) -> None:
    first_fails = bool(lives) and (lives[0].refused or lives[0].serves_after > lives[0].ends_after)
    story = Story(list(lives), end + 0.37).told()
    assert all(engine.closed for engine in story.crew.launched)
    for engine, later in pairwise(story.crew.launched):
        assert engine.ends_at <= later.born
    moments = [moment for moment, _ in story.crew.asked]
    for engine in story.crew.launched:
        again = next((moment for moment in moments if moment >= engine.ends_at), None)
        if again is not None:
            assert FIRST_DELAY_SECONDS / 2 <= again - engine.ends_at <= LONGEST_DELAY_SECONDS
    if first_fails and story.over_at < story.end:
        assert story.refused
        assert len(moments) == 1
    else:
        assert story.over_at == pytest.approx(story.end)


def test_it_is_started_when_it_answers() -> None:
    assert Story([Life(launch_seconds=0.5, serves_after=4.0)]).told().answered_at == 4.5


def test_the_first_that_does_not_start_is_said_and_not_tried_again() -> None:
    for life in (Life(refused=True), Life(serves_after=9.0, ends_after=1.0)):
        story = Story([life]).told()
        assert "start" in story.refused
        assert len(story.crew.asked) == 1


def test_later_ones_are_tried_for_ever_with_longer_and_longer_pauses() -> None:
    story = Story([Life(ends_after=2.0)] + [Life(refused=True)] * 100).told()
    moments = [moment for moment, _ in story.crew.asked]
    pauses = [later - moment for moment, later in pairwise(moments)][1:]
    assert all(pause <= LONGEST_DELAY_SECONDS for pause in pauses)
    assert pauses[5] > LONGEST_DELAY_SECONDS / 2
    assert not story.refused


def test_how_it_ended_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Story([Life(ends_after=2.0, status=-signal.SIGKILL), Life(refused=True)], end=60.0).told()
    errors = [fields for _, fields in events(caplog, "redis_restarts", level="error")]
    assert [(fields["directory"], fields["why"]) for fields in errors] == [
        ("/nowhere", "was ended by SIGKILL"),
        ("/nowhere", "cannot be started: [Errno 11] Resource temporarily unavailable"),
    ]
