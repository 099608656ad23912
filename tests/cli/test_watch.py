"""The terminal view, against the real server in memory and against scripts."""

from __future__ import annotations

import io
import os
import re
import signal
import sys

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from portfolio_trio.cli._board import _count
from portfolio_trio.cli.watch import watch
from portfolio_trio.client import Backoff, ConnectFailed, Disconnected
from portfolio_trio.settings import Delay
from tests.support.app import METRICS, open_app
from tests.support.client import URL, Peer, ScriptedServer, Transport

pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX end the view"),
]

SLOW = Delay(2, 5)


class Screen:
    """A console whose output can be read."""

    def __init__(self, *, terminal: bool = False) -> None:
        self._file = io.StringIO()
        self.console = Console(
            file=self._file, force_terminal=terminal, width=100, height=60, highlight=False, color_system=None
        )

    @property
    def text(self) -> str:
        return self._file.getvalue()

    @property
    def last(self) -> str:
        """What a terminal shows now: the newest frame, without what moves the cursor."""
        frame = re.split(r"\x1b\[1A\x1b\[2K(?!\x1b)", self.text)[-1]
        return re.sub(r"\x1b\[[0-9?]*[A-Za-z]|\r", "", frame)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


async def show(
    transport: Transport, screen: Screen, ticker: str | None = None, *, plain: bool = True
) -> None:
    await watch(
        URL,
        ticker,
        plain,
        console=screen.console,
        open_stream=transport.dial,
        backoff=Backoff(first=1, longest=1),
    )


async def test_plain_lines_tell_the_portfolio_and_the_run(autojump_clock: MockClock) -> None:
    screen = Screen()
    async with open_app() as app:
        app.nursery.start_soon(show, Transport(app), screen, "aapl")
        await trio.sleep(1)
    assert screen.lines[0] == "portfolio, version 1: 100 AAPL, 50 GOOGL, 75 MSFT, worth 35,355.00"
    assert screen.lines[1] == "AAPL: run 1 started"
    assert [line.split(" = ")[0] for line in screen.lines[2:7]] == [f"AAPL: {metric}" for metric in METRICS]
    assert screen.lines[7:] == ["AAPL: run 1 completed"]


async def test_a_subscriber_asks_for_nothing_and_sees_everything(autojump_clock: MockClock) -> None:
    screen = Screen()
    async with open_app(metric_delay_seconds=SLOW, market_update_interval_seconds=30) as app:
        app.nursery.start_soon(show, Transport(app), screen)
        await trio.sleep(1)
        assert len(screen.lines) == 1
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        await client.send("cancel")
        await client.send("analyze", ticker="JPM")
        await trio.sleep(1)
        await client.send("set_holdings", holdings={})
        await trio.sleep(30)
    assert "AAPL: cancelled (cancelled)" in screen.lines
    assert "JPM is not in the portfolio" in screen.lines
    assert "portfolio, version 2: nothing, worth 0.00" in screen.lines
    assert screen.lines[-1].startswith("worth 0.00 as of 2026-11-18T11:07:")


async def test_a_lost_connection_is_reported_and_the_analysis_requested_again(
    autojump_clock: MockClock,
) -> None:
    screen = Screen()
    async with open_app(metric_delay_seconds=SLOW) as app:
        transport = Transport(app)
        app.nursery.start_soon(show, transport, screen, "AAPL")
        await trio.sleep(1)
        await transport.cut()
        await trio.sleep(10)
        assert transport.dialled == 2
    assert screen.lines.count("the connection was lost; connecting again") == 1
    assert screen.lines[-1] == "AAPL: run 2 completed"


async def test_what_is_not_held_is_said_once_and_the_view_stays(autojump_clock: MockClock) -> None:
    screen = Screen()
    async with open_app() as app:
        app.nursery.start_soon(show, Transport(app), screen, "JPM")
        await trio.sleep(60)
        assert sum("not in the portfolio" in line for line in screen.lines) == 1
        client = await app.connect()
        await client.send("trade", ticker="JPM", shares=1)
        await trio.sleep(1)
        assert "1 JPM" in screen.lines[-1]


async def test_a_temporary_failure_is_tried_again(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        for _ in range(2):
            asked = await peer.receive()
            failed = {"ticker": "AAPL", "code": "unavailable", "detail": "no Redis", "retryable": True}
            await peer.send(type="analysis_failed", id=asked["id"], **failed)
        asked = await peer.receive()
        await peer.send(type="error", id=asked["id"], code="not_held", detail="gone", retryable=False)
        await peer.until_closed()

    screen = Screen()
    async with trio.open_nursery() as nursery:
        server = ScriptedServer(nursery, script)
        nursery.start_soon(lambda: watch(URL, "AAPL", console=screen.console, open_stream=server.dial))
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    # It was refused twice for the same reason, which is printed once.
    assert screen.lines[1:] == ["AAPL: no Redis", "AAPL: gone"]


async def test_on_a_terminal_tables_show_portfolio_and_run(autojump_clock: MockClock) -> None:
    screen = Screen(terminal=True)
    async with open_app(metric_delay_seconds=SLOW, market_update_interval_seconds=30) as app:
        transport = Transport(app)
        app.nursery.start_soon(lambda: show(transport, screen, "MSFT", plain=False))
        await trio.sleep(1)
        assert "MSFT, run 1: running" in screen.text
        await trio.sleep(30)
        assert "MSFT, run 1: completed" in screen.text
        for metric in METRICS:
            assert f"│ {metric} " in screen.text
        values = app.server.services.book.current.prices
        assert f"{values['AAPL'] * 100:,.2f}" in screen.text
        transport.app = None
        await transport.cut()
        await trio.sleep(1)
        assert "s, version 1, connecting again" in screen.text


async def test_numbers_of_other_holdings_are_marked(autojump_clock: MockClock) -> None:
    screen = Screen(terminal=True)
    async with open_app(market_update_interval_seconds=3_000) as app:
        app.nursery.start_soon(lambda: show(Transport(app), screen, "MSFT", plain=False))
        await trio.sleep(1)
        assert "MSFT, run 1: completed" in screen.last
        client = await app.connect()
        await client.send("trade", ticker="JPM", shares=1)
        await trio.sleep(1)
        assert "s, version 2" in screen.last
        assert "MSFT, run 1 of version 1, which has changed: completed" in screen.last
        # The values of the new holdings come with them; a tick would come too late to be shown here.
        assert f"{app.server.services.book.current.prices['JPM']:,.2f}" in screen.last


async def test_a_long_portfolio_leaves_room_for_the_run(autojump_clock: MockClock) -> None:
    screen = Screen(terminal=True)
    held = {f"T{number}": number for number in range(1, 200)}
    async with open_app(default_holdings=held, market_update_interval_seconds=5) as app:
        app.nursery.start_soon(lambda: show(Transport(app), screen, "T7", plain=False))
        await trio.sleep(11)
        assert len(screen.last.splitlines()) <= screen.console.height
        assert all(f"│ {metric} " in screen.last for metric in METRICS)
        values = app.server.services.book.current.prices
        largest = max(held, key=lambda name: held[name] * values[name])
        assert f"│ {largest} " in screen.last
        assert re.search(r"│ and \d+ more ", screen.last)


async def test_a_run_lost_with_the_connection_is_not_running(autojump_clock: MockClock) -> None:
    screen = Screen(terminal=True)
    async with open_app(metric_delay_seconds=SLOW) as app:
        transport = Transport(app)
        app.nursery.start_soon(lambda: show(transport, screen, "MSFT", plain=False))
        await trio.sleep(1)
        transport.app = None
        await transport.cut()
        await trio.sleep(10)
        assert "MSFT, run 1: lost with the connection" in screen.last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(autojump_clock: MockClock, number: signal.Signals) -> None:
    screen = Screen()
    async with open_app(metric_delay_seconds=SLOW) as app:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, Transport(app), screen, "AAPL")
            await trio.sleep(1)
            os.kill(os.getpid(), number)
            # The nursery ends by itself.
        await trio.testing.wait_all_tasks_blocked()
        assert app.server.services.hub.groups == ()
        assert (await app.document())["current_analysis"] is None


async def test_no_server_is_one_plain_error(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectFailed, match="nobody listens"):
        await show(Transport(None), Screen())
    with pytest.raises(ValueError, match="is not like ws://"):
        await watch("http://here", console=Screen().console)


async def test_a_server_that_ends_it_for_good_is_one_plain_error(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send_state()
        await trio.sleep(1)
        await peer.socket.aclose(1008, "the token has expired")

    screen = Screen()
    async with trio.open_nursery() as nursery:
        server = ScriptedServer(nursery, script)
        with pytest.raises(Disconnected, match="the token has expired"):
            await watch(URL, console=screen.console, open_stream=server.dial)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        (1_234_567, "1,234,567"), (10_000.25, "10,000.25"), (-0.5, "-0.5"), (0.0, "0"), (-0.0, "0"),
        (1e15, "1,000,000,000,000,000"), (1e-9, "0.000000001"), (-12_345.678_9, "-12,345.6789"),
    ],
)  # fmt: skip
async def test_shares_are_written_as_people_read_them(shares: float, said: str) -> None:
    assert _count(shares) == said
