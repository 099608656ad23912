"""What a bug may end: one session, one event, one tick; never a loop that serves all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.faults import Faults
from portfolio_trio.hub.local_runs import LocalRuns
from portfolio_trio.hub.run_state import Run
from portfolio_trio.settings import Delay
from tests.session.test_races import a_second, hook
from tests.support.app import App, open_app
from tests.support.logs import events

if TYPE_CHECKING:
    from portfolio_trio.session.connection import Session

pytestmark = pytest.mark.trio


def fail(*_: object, **__: object) -> Any:
    raise LookupError("a fault of ours")


class FailingRuns(LocalRuns):
    """Cannot be restarted by a tick."""

    __slots__ = ()
    reprice = fail


def newest_session(app: App) -> Session:
    return list(app.server._sessions)[-1]


async def test_a_fault_is_contained_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    faults, ended = Faults(), []
    with faults.contained("here", instead=lambda: ended.append(1)):
        fail()
    with faults.contained("there"):
        pass
    assert (faults.counts, ended) == ({"here": 1}, [1])
    assert events(caplog) == [("fault", {"where": "here"})]
    assert "LookupError: a fault of ours" in caplog.text


async def test_a_fault_at_each_tick_is_a_traceback_for_each_period(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faults()
    for number in range(25):
        with faults.contained("here"):
            fail()
        if number == 1:
            with faults.contained("there"):
                fail()
            with faults.contained("here"):
                raise ZeroDivisionError
        await trio.sleep(1)
    assert events(caplog) == [
        ("fault", {"where": "here"}),
        ("fault", {"where": "there"}),
        ("fault", {"where": "here"}),
        ("fault", {"where": "here", "held_back": 9}),
        ("fault", {"where": "here", "held_back": 9}),
    ]
    assert faults.counts == {"here": 26, "there": 1}
    assert caplog.text.count("LookupError: a fault of ours") == 4


async def test_cancellation_passes_a_fault_of_the_same_group() -> None:
    faults = Faults()

    async def stumble_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            fail()

    with trio.CancelScope() as scope:
        with faults.contained("here"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stumble_at_the_end)
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        raise AssertionError("the cancellation was swallowed")
    assert scope.cancelled_caught
    assert faults.counts == {"here": 1}


async def test_what_is_no_exception_passes() -> None:
    faults = Faults()
    with pytest.raises(BaseExceptionGroup) as caught, faults.contained("here"):
        raise BaseExceptionGroup("two", [LookupError("a fault of ours"), KeyboardInterrupt()])
    assert [type(each) for each in caught.value.exceptions] == [KeyboardInterrupt]
    with pytest.raises(SystemExit), faults.contained("here"):
        raise SystemExit
    assert faults.counts == {"here": 1}


async def test_a_socket_that_ends_before_its_writer_began_takes_no_more_events(
    autojump_clock: MockClock,
) -> None:
    """Its run is being cleared from the document meanwhile, and it is among the subscribers still."""
    async with open_app(metric_delay_seconds=Delay(600, 600)) as app:
        leavers, others = [], []
        # Trio randomises which runs first, the reader that sees the end or the writer: both occur in ten
        # tries.
        for number in range(10):
            client = await app.connect(f"s-{number}", events=True)
            await client.send("analyze", ticker="AAPL")
            await client.until("analysis_started")
            leavers.append(newest_session(app))
        hook(app, "finish_analysis", before=a_second)
        for number in range(10):
            # Ends the run, which its socket has yet to clear.
            others.append(await app.connect(f"s-{number}", events=True))
            await others[-1].send("analyze", ticker="MSFT")
            while (await others[-1].until("analysis_started"))[-1]["ticker"] != "MSFT":
                pass
        run = Run("AAPL")
        for session in leavers:
            # An event that starts the writer, and is dropped with its run before it was taken.
            session.subscriber.enqueue("{}", run)
            session.subscriber.drop(run)
            session.lose()
        await trio.sleep(0.5)
        for other in others:
            for version in (2, 3):
                await other.send("trade", ticker="AAPL", shares=1)
                assert (await other.until("portfolio"))[-1]["version"] == version
        assert set(leavers) <= set(app.server._sessions), "they are being cleared still"


async def test_a_subscriber_that_fails_is_closed_and_nobody_else_notices(autojump_clock: MockClock) -> None:
    async with open_app(faults=1) as app:
        one, other = await app.connect(events=True), await app.connect(events=True)
        await other.receive()
        broken = await app.connect(events=True)
        await broken.receive()
        newest_session(app).subscriber._outbox.put = fail  # type: ignore[method-assign] # a fault of ours
        await one.send("trade", ticker="AAPL", shares=1, id=1)
        assert (await one.until("portfolio"))[-1]["version"] == 1
        assert (await one.receive())["id"] == 1
        assert (await other.receive())["version"] == 2
        assert await broken.closed() == 1011
        assert app.server.services.faults.counts == {"a subscriber": 1}


async def test_a_subscriber_that_fails_does_not_cost_the_others_their_tick(autojump_clock: MockClock) -> None:
    async with open_app(faults=1) as app:
        broken = await app.connect(events=True)
        await broken.receive()
        newest_session(app).subscriber._outbox.put_latest = fail  # type: ignore[method-assign] # a fault of ours
        others = [await app.connect(name, events=True) for name in ("s", "t")]
        for other in others:
            await other.receive()
        assert await app.server.updater.tick()
        assert [(await other.receive())["type"] for other in others] == ["portfolio_update"] * 2
        assert await broken.closed() == 1011


async def test_a_run_that_cannot_be_ended_does_not_hold_up_who_asks_anew(autojump_clock: MockClock) -> None:
    async with open_app(faults=1, metric_delay_seconds=Delay(2, 2)) as app:
        broken = await app.connect()
        await broken.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        newest_session(app).runner.stop = fail  # type: ignore[method-assign] # a fault of ours
        other = await app.connect()
        await other.send("analyze", ticker="MSFT")
        assert {frame["ticker"] for frame in await other.take(5)} == {"MSFT"}
        assert await broken.closed() == 1011


async def test_a_fault_in_a_session_ends_that_session(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(faults=1) as app:
        broken, other = await app.connect(), await app.connect()
        await broken.ask("get_portfolio")
        next(iter(app.server._sessions))._handler.answer = fail  # type: ignore[method-assign] # as above
        await broken.send("get_portfolio")
        assert await broken.closed() == 1011
        assert (await other.ask("get_portfolio"))["type"] == "portfolio"
        assert app.server.services.faults.counts == {"a session": 1}
    assert "A session failed" in caplog.text


async def test_a_run_whose_end_fails_does_not_hold_up_who_waits_for_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(faults=1, metric_delay_seconds=Delay(2, 2)) as app:
        broken = await app.connect()
        await broken.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        monkeypatch.setattr(Run, "restart", fail)
        other = await app.connect()
        # The run is to start again on the new holdings, and cannot.
        await other.ask("trade", ticker="AAPL", shares=1)
        await other.send("analyze", ticker="MSFT")
        assert {frame["ticker"] for frame in await other.take(5)} == {"MSFT"}
        assert await broken.closed() == 1011


async def test_a_session_that_fails_at_a_tick_costs_the_others_nothing(autojump_clock: MockClock) -> None:
    async with open_app(faults=2) as app:
        clients = [await app.connect(name, events=True) for name in ("s", "t", "u")]
        for client in clients:
            await client.receive()
        hub, peek = app.server.services.hub, app.store.peek_portfolio
        broken: Any = hub.group("s")
        broken.runs.__class__ = FailingRuns

        async def peek_or_fail(session_id: str) -> Any:
            return fail() if session_id == "t" else await peek(session_id)

        app.store.peek_portfolio = peek_or_fail
        assert await app.server.updater.tick()
        assert app.server.services.faults.counts == {"a tick": 1, "a sweep": 1}
        assert [await client.closed() for client in clients[:2]] == [1011, 1011]
        assert (await clients[2].receive())["type"] == "portfolio_update"
