"""Two whole servers in memory, with late batches of one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from portfolio_trio.redis import EmbeddedServer
from portfolio_trio.settings import Delay
from tests.support.app import METRICS, App, open_app
from tests.support.clock import virtual_wall_time

pytestmark = pytest.mark.trio


def hold_batches(app: App, monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Batches of a server wait from now on until the event is set; they stay in order."""
    release = trio.Event()
    workers: Any = app.server.membership._workers
    send = workers.send_batch

    async def late(worker: str, batch: str) -> bool:
        await release.wait()
        return bool(await send(worker, batch))

    monkeypatch.setattr(workers, "send_batch", late)
    return release


async def test_nothing_of_a_run_elsewhere_is_seen_after_an_edit_here(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = EmbeddedServer(virtual_wall_time)
    async with (
        open_app(embedded=shared, metric_delay_seconds=Delay(2, 5)) as one,
        open_app(embedded=shared, seed=1) as two,
    ):
        runner, editor = await one.subscribe(), await two.subscribe()
        await runner.send("analyze", ticker="AAPL")
        await editor.until("analysis_started")
        release = hold_batches(one, monkeypatch)
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
