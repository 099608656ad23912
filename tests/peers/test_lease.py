"""Which worker leads the market, until when, and with which heartbeats."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.peers.membership import RETIRE_SECONDS
from portfolio_trio.store import StoreUnavailable
from tests.peers.member import HEARTBEAT, INTERVAL, USABLE, opened

pytestmark = pytest.mark.trio


async def test_the_first_worker_gives_its_tick_to_all_and_leads(autojump_clock: MockClock) -> None:
    async with opened() as member:
        assert member.leads
        await trio.sleep(2.5 * INTERVAL)
        assert member.moments() == [0, 30, 60]
        assert member.crowd.sweeps == [("done", 30), ("done", 60)]
        assert member.workers.swept == [tick.tick_id for tick in member.workers.published[1:]]


async def test_renewals_move_the_end_of_the_lease(autojump_clock: MockClock) -> None:
    async with opened() as member:
        for _ in range(40):
            await trio.sleep(HEARTBEAT)
            await wait_all_tasks_blocked()
            assert member.leads
            lease = member.membership._lease
            assert lease is not None
            assert lease.deadline == pytest.approx(member.workers.heartbeats[-1] + USABLE)


@pytest.mark.parametrize("renewals", [0, 2])
async def test_the_lease_ends_by_itself_though_redis_never_answers(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, renewals: int
) -> None:
    async with opened() as member:
        await trio.sleep((renewals + 0.5) * HEARTBEAT)
        member.workers.seconds = float("inf")
        last = member.workers.heartbeats[-1]
        await trio.sleep_until(last + USABLE - 0.01)
        assert member.membership.leads
        await trio.sleep(0.02)
        assert not member.leads
        assert "the lease of the market is over" in caplog.text
        await trio.sleep(10 * INTERVAL)
        assert member.moments() == [0]


async def test_a_lease_counts_from_the_asking_and_not_from_the_answer(autojump_clock: MockClock) -> None:
    async with opened() as member:
        member.workers.seconds = 3.0
        await trio.sleep(HEARTBEAT + 0.1)
        (asked,) = member.workers.heartbeats[1:]
        await trio.sleep_until(asked + 3.1)
        member.workers.seconds = float("inf")
        await trio.sleep_until(asked + USABLE - 0.01)
        assert member.membership.leads
        await trio.sleep_until(asked + USABLE + 0.01)
        assert not member.leads


async def test_a_sweep_is_cancelled_in_the_middle_when_the_lease_is_over(autojump_clock: MockClock) -> None:
    async with opened() as member:
        member.crowd.sweep_seconds = 1_000
        await trio.sleep_until(INTERVAL + 1)
        assert (member.moments(), member.crowd.sweeps) == ([0, 30], [])
        member.workers.seconds = float("inf")
        await trio.sleep(INTERVAL)
        last = member.workers.heartbeats[-2]
        ((how, moment),) = member.crowd.sweeps
        assert (how, moment) == ("cancelled", last + USABLE)
        assert member.workers.swept == []


async def test_a_lease_that_is_another_workers_ends_the_leading_at_once(autojump_clock: MockClock) -> None:
    async with opened() as member:
        member.crowd.sweep_seconds = 1_000
        await trio.sleep_until(INTERVAL + 1)
        member.workers.leads = False
        await trio.sleep(HEARTBEAT)
        assert not member.leads
        assert member.crowd.sweeps == [("cancelled", member.workers.heartbeats[-1])]


async def test_who_gets_the_lease_again_keeps_its_rhythm(autojump_clock: MockClock) -> None:
    async with opened() as member:
        await trio.sleep_until(INTERVAL + 5)
        member.workers.leads = False
        await trio.sleep(2 * HEARTBEAT)
        member.workers.leads = True
        await trio.sleep_until(3.5 * INTERVAL)
        assert member.moments() == [0, 30, 60, 90]


async def test_who_gets_the_lease_again_too_late_ticks_at_once(autojump_clock: MockClock) -> None:
    async with opened() as member:
        await trio.sleep_until(INTERVAL + 5)
        member.workers.leads = False
        await trio.sleep_until(2 * INTERVAL + 13)
        member.workers.leads = True
        await trio.sleep_until(4 * INTERVAL)
        assert member.moments() == [0, 30, 74, 104]


# --- the end ------------------------------------------------------------------------------------------------


async def test_nothing_is_sent_after_the_retirement(autojump_clock: MockClock) -> None:
    async with opened() as member:
        await trio.sleep_until(2.5 * HEARTBEAT)
        heartbeats = len(member.workers.heartbeats)
        member.workers.seconds = 0.6 * HEARTBEAT
        # A heartbeat becomes due while the retirement is in flight.
        await member.membership.retire()
        await trio.sleep(HEARTBEAT)
        assert (member.workers.retired, len(member.workers.heartbeats)) == (1, heartbeats)


async def test_a_retirement_without_an_answer_is_bounded(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as member:
        member.workers.seconds = float("inf")
        before = trio.current_time()
        with trio.CancelScope() as scope:
            scope.cancel()
            await member.membership.retire()
        assert trio.current_time() == before + RETIRE_SECONDS
        member.workers.seconds, member.workers.heartbeat_error = 0, StoreUnavailable("away", sent=False)
        with caplog.at_level(logging.INFO):
            await member.membership.retire()
        assert "could not be told" in caplog.text
