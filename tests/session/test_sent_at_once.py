"""Direct sends: the frames of a run in one send, and the rest by the writer."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from portfolio_trio.http import _at_once
from tests.support.app import METRICS, App, Client, open_app, results
from tests.support.streams import PromptStream, taking_at_once


async def connected(app: App, room: int) -> Client:
    ours, theirs = memory_stream_pair()
    stream = PromptStream(theirs, ours, room)
    app.server.connections.start_soon(app.server.http_server.serve, stream)
    return await app.connect_through(ours, events=True)


@pytest.mark.parametrize("room", [0, 1, 100, 1_000_000])
def test_every_frame_arrives_whole_and_in_order(room: int) -> None:
    async def main() -> None:
        async with open_app() as app:
            client = await connected(app, room)
            assert (await client.receive())["type"] == "portfolio"
            for ticker in ("AAPL", "MSFT"):
                await client.send("analyze", ticker=ticker)
                frames = await client.until("analysis_completed")
                assert frames[0]["type"] == "analysis_started"
                assert results(frames) == [(ticker, metric) for metric in METRICS]

    with taking_at_once():
        trio.run(main, clock=MockClock(autojump_threshold=0))


def test_all_messages_of_a_run_leave_in_one_send() -> None:
    sends: list[list[str]] = []

    async def main() -> None:
        async with open_app() as app:
            client = await connected(app, 1_000_000)
            await client.receive()
            sends.clear()
            await client.send("analyze", ticker="AAPL")
            await client.until("analysis_completed")

    with taking_at_once():
        write_now = _at_once.write_now

        def counting(stream: trio.abc.Stream, data: bytes) -> int:
            sends.append(re.findall(r'"type":"(\w+)"', data.decode(errors="replace")))
            return write_now(stream, data)

        with patch.object(_at_once, "write_now", counting):
            trio.run(main, clock=MockClock(autojump_threshold=0))
    assert sends == [["analysis_started", *["analysis_result"] * len(METRICS), "analysis_completed"]]


@pytest.mark.trio
async def test_subscribers_see_a_run_of_one_call(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        plain, watcher = await app.connect(), await app.connect(events=True)
        await watcher.receive()
        await plain.send("analyze", ticker="AAPL")
        with trio.fail_after(60):
            frames = await watcher.until("analysis_completed")
        assert frames[0]["type"] == "analysis_started"
        assert results(frames) == [("AAPL", metric) for metric in METRICS]
