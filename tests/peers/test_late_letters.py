"""Two whole servers in memory, and letters of one that come late."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.redis import EmbeddedServer
from portfolio_trio.settings import Delay
from tests.support.clock import virtual_wall_time
from tests.support.house import METRICS, Client, House, open_house

pytestmark = pytest.mark.trio


def hold_letters(house: House, monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Letters of a server wait from now on until the event is set; they stay in order."""
    release = trio.Event()
    workers: Any = house.server.membership._workers
    send = workers.post

    async def late(worker: str, letter: str) -> bool:
        await release.wait()
        return bool(await send(worker, letter))

    monkeypatch.setattr(workers, "post", late)
    return release


async def viewer_of(house: House) -> Client:
    viewer = await house.connect(events=True)
    assert (await viewer.receive())["type"] == "portfolio"
    return viewer


async def test_nothing_of_a_run_elsewhere_is_seen_after_an_edit_here(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = EmbeddedServer(virtual_wall_time)
    async with (
        open_house(embedded=shared, metric_delay_seconds=Delay(2, 5)) as one,
        open_house(embedded=shared, seed=1) as two,
    ):
        runner, editor = await viewer_of(one), await viewer_of(two)
        await runner.send("analyze", ticker="AAPL")
        await editor.until("analysis_started")
        release = hold_letters(one, monkeypatch)
        await runner.until("analysis_result")
        await editor.send("trade", ticker="AAPL", shares=1)
        await wait_all_tasks_blocked()
        release.set()
        frames = await editor.until("analysis_completed")
        told = [(frame["type"], frame.get("run_id"), frame.get("reason")) for frame in frames]
        assert told == [
            ("analysis_cancelled", 1, "portfolio_changed"),
            ("portfolio", None, None),
            ("analysis_started", 2, None),
            *[("analysis_result", 2, None)] * len(METRICS),
            ("analysis_completed", 2, None),
        ]
