"""A followed analysis on one server, and what happens on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.app import open_pair

if TYPE_CHECKING:
    from trio.testing import MockClock

pytestmark = pytest.mark.trio


async def test_an_edit_elsewhere_brings_a_run(autojump_clock: MockClock) -> None:
    async with open_pair() as (one, two):
        follower, editor = await one.subscribe(), await two.connect()
        await follower.send("analyze", ticker="AAPL", follow=True)
        await follower.until("analysis_completed")
        assert (await editor.ask("trade", ticker="AAPL", shares=1))["version"] == 2
        frames = await follower.until("analysis_completed")
        assert (frames[-1]["run_id"], frames[-1]["following"]) == (2, True)
        started = next(frame for frame in frames if frame["type"] == "analysis_started")
        assert started["version"] == 2


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [("analyze", {"ticker": "MSFT"}, "superseded"), ("cancel", {}, "cancelled")],
)
async def test_it_ends_when_somebody_elsewhere_asks_or_cancels(
    action: str, fields: dict[str, str], reason: str, autojump_clock: MockClock
) -> None:
    async with open_pair() as (one, two):
        follower, other = await one.subscribe(), await two.connect()
        watcher = await two.subscribe()
        await follower.send("analyze", ticker="AAPL", follow=True, id="f")
        await follower.until("analysis_completed")
        await other.ask(action, **fields)
        seen = [frame for frame in await watcher.silence(5) if frame["type"] == "analysis_cancelled"]
        assert [(frame["reason"], frame.get("run_id")) for frame in seen] == [(reason, None)]
        frames = await follower.silence(5)
        told = [frame for frame in frames if frame["type"] == "analysis_cancelled"]
        assert [(frame["reason"], frame.get("id"), frame.get("run_id")) for frame in told] == [
            (reason, "f", None)
        ]
        await one.server.updater.tick()
        assert not [frame for frame in await follower.silence(30) if frame["type"] == "analysis_started"]
