"""The counters of workers, requested over their connections."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock
from typing_extensions import override

from portfolio_trio.restart_policy import Restarts
from portfolio_trio.supervisor.child_process import WorkerProcess
from portfolio_trio.supervisor.supervisor import ANSWER_SECONDS, Supervisor
from tests.support.workers import Crew, FakeWorker, Life

pytestmark = pytest.mark.trio


@asynccontextmanager
async def line() -> AsyncIterator[tuple[WorkerProcess, trio.SocketStream]]:
    """A worker without a process, and its end of the line."""
    mine, its = map(trio.socket.from_stdlib_socket, socket.socketpair())
    async with trio.SocketStream(mine) as supervisors, trio.SocketStream(its) as workers:
        yield WorkerProcess(cast("Any", None), supervisors), workers


async def test_an_answer_may_come_in_pieces() -> None:
    async with line() as (worker, its), trio.open_nursery() as nursery:

        async def answer() -> None:
            assert await its.receive_some(10) == b"?"
            await its.send_all(b"[1,")
            await trio.testing.wait_all_tasks_blocked()
            await its.send_all(b"2]\n")

        nursery.start_soon(answer)
        assert await worker.counted() == b"[1,2]"


async def test_who_gave_up_leaves_nothing_that_is_taken_for_a_later_answer() -> None:
    async with line() as (worker, its):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.counted)
            assert await its.receive_some(10) == b"?"
            await its.send_all(b"[old")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                await its.send_all(b"]\n")
                # Not before the old answer is out of the way.
                assert await its.receive_some(10) == b"?"
                await its.send_all(b"[new]\n")

            nursery.start_soon(answer)
            assert await worker.counted() == b"[new]"


async def test_a_worker_that_is_gone_has_counted_nothing() -> None:
    async with line() as (worker, its):
        await its.aclose()
        assert await worker.counted() is None
        assert await worker.counted() is None


class Mute(FakeWorker):
    @override
    async def counted(self) -> bytes | None:
        await trio.sleep(1_000)
        return b"[]"


async def test_one_that_does_not_answer_holds_up_the_others_for_so_long(autojump_clock: MockClock) -> None:
    crew = Crew({}, then=Life(serves_after=1.0))

    async def launch(number: int) -> FakeWorker:
        worker = await crew(number)
        if number == 2:
            worker.__class__ = Mute
        return worker

    supervisor = Supervisor(launch, 3, Restarts(random.Random(1)), patience=20.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.counted() == {}
        await trio.sleep(10)
        began = trio.current_time()
        assert await supervisor.counted() == {"1": b"[]", "3": b"[]"}
        assert trio.current_time() - began == ANSWER_SECONDS
        supervisor.stop()
        nursery.cancel_scope.cancel()


async def test_restarts_are_counted(autojump_clock: MockClock) -> None:
    crew = Crew({2: [Life(ends_after=5.0), Life(ends_after=5.0)]}, then=Life())
    supervisor = Supervisor(crew, 2, Restarts(random.Random(1)), patience=20.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(100)
        assert supervisor.restarts_made == 2
        assert set(await supervisor.counted()) == {"1", "2"}
        supervisor.stop()
        nursery.cancel_scope.cancel()
