"""Work that starts by itself waits while requests are carried out, but never long."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints

from portfolio_trio.right_of_way import PATIENCE_SECONDS, RightOfWay

pytestmark = pytest.mark.trio


async def test_nothing_waits_while_there_is_no_request() -> None:
    way = RightOfWay()
    with assert_no_checkpoints():
        await way.give_way()
        with pytest.raises(ValueError, match="inside"), way:
            raise ValueError("inside")
        await way.give_way()


async def test_all_wait_until_the_last_request_is_answered(autojump_clock: MockClock) -> None:
    way, began = RightOfWay(), trio.current_time()
    passed: list[float] = []

    async def work() -> None:
        await way.give_way()
        passed.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        with way:
            with way:
                nursery.start_soon(work)
                nursery.start_soon(work)
                await trio.sleep(PATIENCE_SECONDS / 4)
            await trio.sleep(PATIENCE_SECONDS / 4)
    assert passed == [pytest.approx(PATIENCE_SECONDS / 2)] * 2


async def test_requests_without_a_pause_delay_nothing_for_long(autojump_clock: MockClock) -> None:
    way, began = RightOfWay(), trio.current_time()
    with trio.fail_after(1), way:
        for times in (1, 2, 3):
            await way.give_way()
            assert trio.current_time() - began == pytest.approx(times * PATIENCE_SECONDS)
    with assert_no_checkpoints():
        await way.give_way()
