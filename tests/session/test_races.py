"""What happens when a decision falls into the middle of a store call."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.metrics import BUILT_IN, AnalysisInputs, metric
from portfolio_trio.settings import Delay
from portfolio_trio.store import PortfolioStore, StoreUnavailable
from tests.support.app import App, open_app, results
from tests.support.logs import events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.trio


class HookedStore:
    """A store that does what the real one does, and something else before or after one of its calls."""

    def __init__(
        self,
        store: PortfolioStore,
        call: str,
        *,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._call = call
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._call:
            return method

        async def hooked(*args: Any, **more: Any) -> Any:
            if self._before is not None:
                await self._before()
            outcome = await method(*args, **more)
            if self._after is not None:
                await self._after()
            return outcome

        return hooked


def hook(app: App, call: str, **hooks: Callable[[], Awaitable[None]]) -> None:
    app.server.services.store = HookedStore(app.store, call, **hooks)  # type: ignore[assignment]


async def a_second() -> None:
    await trio.sleep(1)


async def test_a_run_cancelled_while_it_starts_does_not_stay_in_the_document(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        client = await app.connect()
        # The script has run, its reply is on the way.
        hook(app, "start_analysis", after=a_second)
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(0.5)
        assert (await client.ask("cancel"))["type"] == "analysis_cancelled"
        await trio.sleep(1)
        assert (await app.document())["current_analysis"] is None
        assert await client.silence(1) == []


async def test_a_store_that_hangs_while_a_run_starts_holds_a_switch_up_for_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with open_app() as app:
        client = await app.connect()
        hook(app, "start_analysis", before=trio.sleep_forever)
        await client.send("analyze", ticker="AAPL")
        await trio.sleep(0.5)
        asked = trio.current_time()
        await client.ask("cancel")
        assert trio.current_time() - asked <= 2


async def test_only_one_of_three_sockets_runs_at_a_time(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 2)) as app:
        sockets = [await app.connect() for _ in range(3)]
        subscriber = await app.connect(events=True)
        hook(app, "start_analysis", after=a_second)
        # The two that come later both find the other idle and the last of the session running.
        asking = (sockets[2], sockets[0], sockets[1])
        for socket, ticker in zip(asking, ("AAPL", "GOOGL", "MSFT"), strict=True):
            await socket.send("analyze", ticker=ticker)
            await trio.sleep(0.1)
        events = await subscriber.until("analysis_completed")
        turns = [
            (f["type"], f["ticker"])
            for f in events
            if f["type"] in {"analysis_started", "analysis_cancelled"}
        ]
        assert turns[-1] == ("analysis_started", "MSFT")
        # None starts while another has not ended.
        kinds = [kind for kind, _ in turns]
        assert all(pair != ("analysis_started",) * 2 for pair in pairwise(kinds))
        assert {ticker for ticker, _ in results(events)} == {"MSFT"}
        for early in asking[:2]:
            assert [f["code"] for f in await early.silence(1)] == ["superseded"]


async def test_a_run_of_another_socket_ends_when_a_newer_one_is_asked_for(autojump_clock: MockClock) -> None:
    async with open_app(metric_delay_seconds=Delay(5, 5)) as app:
        one, two, subscriber = await app.connect(), await app.connect(), await app.connect(events=True)
        await one.send("analyze", ticker="AAPL")
        await trio.sleep(1)
        asked = trio.current_time()
        await two.send("analyze", ticker="MSFT")
        # And not when its next result is refused.
        assert (await subscriber.until("analysis_cancelled"))[-1]["reason"] == "superseded"
        assert (await subscriber.until("analysis_started"))[-1]["ticker"] == "MSFT"
        assert trio.current_time() - asked < 1


@pytest.mark.parametrize("by", ["another socket", "the same socket", "cancel"])
async def test_a_restart_that_is_overtaken_is_not_waited_for_in_vain(
    autojump_clock: MockClock, by: str
) -> None:
    async with open_app(metric_delay_seconds=Delay(2, 2)) as app:
        one, two, subscriber = await app.connect(), await app.connect(), await app.connect(events=True)
        await one.send("analyze", ticker="AAPL", id=1)
        await trio.sleep(0.2)
        hook(app, "start_analysis", after=a_second)
        (group,) = app.server.services.hub.groups
        group.runs.renew(2)
        await trio.sleep(0.2)
        if by == "cancel":
            answer = await one.ask("cancel", id=2)
            assert (answer["type"], answer["ticker"], answer["id"]) == ("analysis_cancelled", "AAPL", 2)
        else:
            newer = two if by == "another socket" else one
            await newer.send("analyze", ticker="MSFT", id=2)
            if newer is two:
                assert (await one.receive())["code"] == "superseded"
            assert len(results(await newer.take(5))) == 5
        reasons = [f["reason"] for f in await subscriber.silence(5) if f["type"] == "analysis_cancelled"]
        ends = {"another socket": "superseded", "the same socket": "switched", "cancel": "cancelled"}
        assert reasons == ["portfolio_changed", ends[by]]
        assert (await app.document())["current_analysis"] is None


@pytest.mark.parametrize(
    ("call", "delay", "by"),
    [
        ("start_analysis", Delay(0, 0), "an edit"),
        ("start_analysis", Delay(0, 0), "a tick"),
        ("record_results", Delay(1, 1), "a tick"),
    ],
)
async def test_results_of_a_portfolio_that_changes_while_they_are_recorded_are_not_sent(
    autojump_clock: MockClock, call: str, delay: Delay, by: str
) -> None:
    async with open_app(metric_delay_seconds=delay) as app:
        client, other = await app.connect(), await app.connect()
        subscriber = await app.connect(events=True)

        async def portfolio_changes_under_it() -> None:
            app.server.services.store = store
            if by == "an edit":
                assert (await other.ask("trade", ticker="AAPL", shares=1))["version"] == 2
            else:
                (group,) = app.server.services.hub.groups
                # A price that is gone is further than any tolerance.
                group.runs.reprice({})

        store = app.store
        hook(app, call, after=portfolio_changes_under_it)
        await client.send("analyze", ticker="AAPL")
        events = await subscriber.until("analysis_completed")
        assert {f["run_id"] for f in events if f["type"] == "analysis_result"} == {2}
        assert {f["run_id"] for f in await client.take(5)} == {2}


@pytest.mark.parametrize("call", ["open_session", "start_analysis", "record_results", "set_holdings"])
async def test_a_store_that_is_away_is_said_to_be_and_is_used_again_when_it_is_back(
    autojump_clock: MockClock, call: str
) -> None:
    # Only what takes its time is recorded by a call of its own.
    delay = Delay(1, 1) if call == "record_results" else Delay(0, 0)
    async with open_app(metric_delay_seconds=delay) as app:
        working = app.store

        async def away() -> None:
            raise StoreUnavailable("Redis is away", sent=False)

        hook(app, call, before=away)
        client = await app.connect()
        request: dict[str, Any] = {"ticker": "AAPL"}
        action = "analyze"
        if call == "set_holdings":
            action, request = "set_holdings", {"holdings": {"AAPL": 1}}
        answer = await client.ask(action, **request)
        assert (answer["code"], answer["retryable"]) == ("unavailable", True)
        app.server.services.store = working
        await client.send("analyze", ticker="AAPL")
        assert len(results(await client.take(5))) == 5
        assert (await app.document())["current_analysis"] is None


async def test_a_portfolio_that_never_rests_ends_the_request_with_an_error(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client, other = await app.connect(), await app.connect()

        async def changes_again() -> None:
            await other.ask("trade", ticker="AAPL", shares=1)

        hook(app, "start_analysis", after=changes_again)
        answer = await client.ask("analyze", ticker="AAPL", id=4)
        assert (answer["code"], answer["id"], answer["retryable"]) == ("portfolio_changed", 4, True)
        assert (await client.ask("get_portfolio"))["type"] == "portfolio"


async def test_a_metric_that_raises_ends_itself_and_not_the_run(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @metric("broken")
    def broken(inputs: AnalysisInputs) -> float:
        raise RuntimeError(inputs.ticker)

    async with open_app(metrics=BUILT_IN.extended(broken)) as app:
        client = await app.connect()
        await client.send("analyze", ticker="AAPL")
        frames = await client.take(6)
        assert len(results(frames)) == 5
        assert (frames[5]["code"], frames[5]["metric"]) == ("metric_failed", "broken")
        await client.send("analyze", ticker="MSFT")
        await client.take(6)
    # Each run of each session would be a traceback.
    assert events(caplog) == [("metric_failed", {"metric": "broken", "session": "s", "run_id": 1})]
    assert "RuntimeError: AAPL" in caplog.text


async def test_a_heavy_metric_runs_in_a_thread_and_a_switch_does_not_wait_for_it() -> None:
    release = threading.Event()
    inside = threading.Event()

    @metric("heavy", heavy=True)
    def heavy(inputs: AnalysisInputs) -> float:
        if inputs.ticker == "AAPL":
            inside.set()
            release.wait(60)
        return 1.0

    try:
        # Threads take real time.
        with trio.fail_after(30):
            async with open_app(metrics=BUILT_IN.extended(heavy)) as app:
                client = await app.connect()
                await client.send("analyze", ticker="AAPL")
                assert len(results(await client.take(5))) == 5
                await trio.to_thread.run_sync(inside.wait)
                await client.send("analyze", ticker="MSFT")
                assert {ticker for ticker, _ in results(await client.take(6))} == {"MSFT"}
                assert not release.is_set()
    finally:
        release.set()
