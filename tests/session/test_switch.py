"""The task of a run goes on with the one that it is switched to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.protocol.requests import Analyze
from portfolio_trio.session import runner as module
from portfolio_trio.session.runner import Runner

if TYPE_CHECKING:
    from portfolio_trio.hub.canceller import Canceller

pytestmark = pytest.mark.trio

AAPL, MSFT = (Analyze(action="analyze", ticker=ticker) for ticker in ("AAPL", "MSFT"))


class Task:
    """A run that, once stopped, lasts until it may end."""

    made: list[Task]
    may_end: trio.Event

    def __init__(self, _socket: object, request: Analyze, read_at: float) -> None:
        self.request, self.read_at = request, read_at
        self.run = SimpleNamespace(run_id=None)
        self.stopped, self.ended = trio.Event(), trio.Event()
        self.task: trio.lowlevel.Task | None = None
        self.clears = self.is_followed = False
        self.seen = self.last = None
        self.made.append(self)

    def stop(self, reason: EndReason, _canceller: Canceller | None = None) -> None:
        assert reason is EndReason.SWITCHED
        self.stopped.set()

    def pass_turn(self) -> None:
        pass

    async def carry_out(self) -> None:
        self.task = trio.lowlevel.current_task()
        await self.stopped.wait()
        await self.may_end.wait()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    Task.made, Task.may_end = [], trio.Event()
    monkeypatch.setattr(module, "RunTask", Task)
    return Task.made


async def test_the_next_run_begins_in_the_task_of_the_last_when_that_has_ended(
    made: list[Task], autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        runner = Runner(cast("Any", None), nursery)
        await runner.switch(AAPL, 1.0)
        await trio.sleep(1)
        nursery.start_soon(runner.switch, MSFT, 2.0)
        await trio.sleep(1)
        assert [each.request for each in made] == [AAPL]
        Task.may_end.set()
        await trio.sleep(1)
        first, second = made
        assert (second.request, second.read_at) == (MSFT, 2.0)
        assert first.ended.is_set()
        assert first.task is second.task is not None
        assert cast("Any", runner.run) is second.run
        nursery.cancel_scope.cancel()


async def test_of_a_caller_that_was_cancelled_nothing_starts(
    made: list[Task], autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        runner = Runner(cast("Any", None), nursery)
        await runner.switch(AAPL, 1.0)
        with trio.move_on_after(1) as scope:
            await runner.switch(MSFT, 2.0)
        assert scope.cancelled_caught
        Task.may_end.set()
        await trio.sleep(1)
        assert [each.request for each in made] == [AAPL]
        assert runner.run is None
