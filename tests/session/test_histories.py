"""The proof of cancellation: random histories of a whole server, in virtual time over memory streams.

Several sockets of several sessions ask, switch, cancel, edit, leave and stop reading, while the market ticks
and jumps and the store fails, lags or loses replies at any call. After every step what was seen so far is
held against what always holds, and at the end every run must have ended. In some the server drains in the
middle of it, while others knock. A history that breaks a law is shrunk and printed as a timeline.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from portfolio_trio.market import SimulatedSource
from portfolio_trio.peers.orphans import TRIES
from portfolio_trio.server.server import GOODBYE_SECONDS, PEERS_SECONDS
from portfolio_trio.session.analysis import START_SECONDS
from portfolio_trio.settings import Delay
from portfolio_trio.store import PortfolioStore, StoreError, StoreUnavailable
from tests.support.app import METRICS, App, Client, Frame, Reader, open_app
from tests.support.laws import (
    check_completed,
    check_order,
    check_recorded,
    check_snapshots,
    check_values,
    check_versions,
)
from tests.support.streams import PromptStream, StallingStream, taking_at_once

# The first three are held by a new session; all can be bought.
TICKERS = ("AAPL", "GOOGL", "MSFT", "JPM")
SESSIONS = ("a", "b")
CALLS = ("open_session", "start_analysis", "record_results", "finish_analysis", "trade", "revalue_all")
TURNS = {"analysis_started", "analysis_completed", "analysis_cancelled", "analysis_failed"}
BUDGET = 30_000
DRAIN_SECONDS = 3.0
# Additional time of the drain: for the ends of runs, and closing the sockets.
DRAIN_BOUND = DRAIN_SECONDS + PEERS_SECONDS + GOODBYE_SECONDS


@dataclass(frozen=True)
class Step:
    """What one socket does next, or the market, the store, or time."""

    what: str
    session: str = "a"
    socket: int = 0
    ticker: str = "AAPL"
    call: str = "start_analysis"
    seconds: float = 0.0


def steps_of(what: str) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        st.just(what),
        session=st.sampled_from(SESSIONS),
        socket=st.integers(0, 1),
        ticker=st.sampled_from(TICKERS),
        call=st.sampled_from(CALLS),
        # Long, short, and shorter than a store that lags.
        seconds=st.sampled_from([0.001, 0.5, 2.0, 2.5, 7.0]),
    )


# Asking is what most histories are about.
STEPS = st.one_of(
    *(steps_of(what) for what in ("analyze", "analyze", "follow", "wait", "wait", "settle")),
    *(steps_of(what) for what in ("cancel", "edit", "leave", "stall", "resume", "tick", "jump")),
    *(steps_of(what) for what in ("store is far behind", "store works")),
    *(steps_of(what) for what in ("store fails", "store lags", "store loses replies")),
)
KNOCKS = st.one_of(STEPS, *[steps_of("knock")] * 5)


class FaultyStore:
    """The real store, which on one of its calls fails, lags, or does its work and loses the reply."""

    def __init__(self, store: PortfolioStore, nursery: trio.Nursery) -> None:
        self._store = store
        self._nursery = nursery
        self.call, self.state = "", "store works"

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self.call or self.state == "store works":
            return method

        async def faulty(*args: Any, **more: Any) -> Any:
            state = self.state
            if state == "store lags":
                await trio.sleep(1.0)
            if state == "store fails":
                await trio.lowlevel.checkpoint()
                raise StoreUnavailable("Redis is away", sent=False)
            if state == "store is far behind":
                await self._carry_out_late(method, *args, **more)
            outcome = await method(*args, **more)
            if state == "store loses replies":
                raise StoreUnavailable("the connection was lost", sent=True)
            return outcome

        return faulty

    async def _carry_out_late(self, method: Any, *args: Any, **more: Any) -> None:
        """Later than a start is waited for, although its requester may be gone, as with a real connection."""

        async def carry_out() -> None:
            await trio.sleep(START_SECONDS + 1)
            with suppress(StoreError):
                await method(*args, **more)

        self._nursery.start_soon(carry_out)
        await trio.sleep(START_SECONDS + 1)
        raise StoreUnavailable("the reply was lost", sent=True)


class Subscriber(Reader):
    """One socket: what it saw, and the transport that can be stalled."""

    def __init__(self, client: Client, transport: StallingStream) -> None:
        super().__init__(client)
        self.transport = transport
        self.is_stalled = False
        self.read_at_drain = True
        """Its peer has been there and reading for as long as the drain lasts."""


@dataclass
class Story:
    """Plays a history and keeps what everybody saw."""

    app: App
    store: FaultyStore
    room: int
    "How many bytes a socket takes at once."
    subscribers: dict[tuple[str, int], Subscriber] = field(default_factory=dict)
    left: list[Subscriber] = field(default_factory=list)
    late: list[StallingStream] = field(default_factory=list)
    accepted: list[Subscriber] = field(default_factory=list)
    drain_took: float | None = None
    is_draining: bool = False
    watchers: dict[str, Subscriber] = field(default_factory=dict)
    ticks: dict[int, dict[str, float]] = field(default_factory=dict)
    newest_valued: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    timeline: list[str] = field(default_factory=list)

    async def play(self, steps: list[Step]) -> None:
        self.app.server.updater._ledger = self.store
        self.remember_tick()
        for session in SESSIONS:
            self.watchers[session] = await self.join(session, events=True)
            for socket in range(2):
                self.subscribers[session, socket] = await self.join(session, events=socket == 1)
        for step in steps:
            self.timeline.append(f"{trio.current_time():8.3f}  {step}")
            await self.do(step)
            self.remember_tick()
            self.check()
        self.store.state = "store works"
        for transport in (*(subscriber.transport for subscriber in self.everybody()), *self.late):
            transport.resume()
        if self.is_draining:
            await trio.sleep(60)
            self.check()
            await self.check_the_drain(steps)
            return
        # The longest that any run can still take, restarts and lagging calls included.
        await trio.sleep(60)
        self.check()
        await self.check_the_end()

    def everybody(self) -> list[Subscriber]:
        return [*self.watchers.values(), *self.subscribers.values(), *self.left]

    def remember_tick(self) -> None:
        tick = self.app.server.services.book.current
        self.ticks[tick.tick_id] = dict(tick.prices)

    async def join(self, session: str, *, events: bool) -> Subscriber:
        ours, theirs = memory_stream_pair()
        transport = PromptStream(theirs, ours, self.room)
        self.app.server.connections.start_soon(self.app.server.http_server.serve, transport)
        subscriber = Subscriber(await self.app.connect_through(ours, session, events=events), transport)
        self.app.nursery.start_soon(subscriber.read)
        return subscriber

    async def knock(self, session: str) -> None:
        """Connect, with a delayed acceptance."""
        ours, theirs = memory_stream_pair()
        transport = StallingStream(theirs)
        transport.stall_sending()
        self.late.append(transport)
        self.app.server.connections.start_soon(self.app.server.http_server.serve, transport)
        # Refused, or accepted after its time limit: the library raises that in its own task.
        with suppress(BaseExceptionGroup):
            async with trio.open_nursery() as nursery:
                app = App(self.app.server, nursery)
                subscriber = Subscriber(await app.connect_through(ours, session, events=True), transport)
                self.accepted.append(subscriber)
                await subscriber.read()

    async def drain(self) -> None:
        began = trio.current_time()
        await self.app.server.drain()
        self.drain_took = trio.current_time() - began

    async def do(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case for each thing that can happen
        subscriber = self.subscribers[step.session, step.socket]
        match step.what:
            case "analyze":
                await self.send(subscriber, "analyze", ticker=step.ticker, receipt=True)
            case "follow":
                await self.send(subscriber, "analyze", ticker=step.ticker, receipt=True, follow=True)
            case "cancel":
                await self.send(subscriber, "cancel")
            case "edit":
                await self.send(subscriber, "trade", ticker=step.ticker, shares=1)
            case "leave":
                await trio.aclose_forcefully(subscriber.client.stream)
                if self.is_draining:
                    # No client is admitted any longer.
                    subscriber.read_at_drain = False
                    return
                self.left.append(subscriber)
                self.subscribers[step.session, step.socket] = await self.join(
                    step.session, events=step.socket == 1
                )
            case "stall":
                subscriber.transport.stall_sending()
                subscriber.is_stalled, subscriber.read_at_drain = (
                    True,
                    subscriber.read_at_drain and not self.is_draining,
                )
            case "resume":
                for transport in (subscriber.transport, *self.late):
                    transport.resume()
                subscriber.is_stalled = False
            case "knock":
                self.app.nursery.start_soon(self.knock, step.session)
                await trio.testing.wait_all_tasks_blocked()
            case "drain":
                if not self.is_draining:
                    self.is_draining = True
                    for each in self.everybody():
                        each.read_at_drain = not each.is_stalled and each.closed is None
                    self.app.nursery.start_soon(self.drain)
            case "tick":
                await self.app.server.updater.tick()
            case "jump":
                await self.jump(step.ticker)
            case "wait":
                await trio.sleep(step.seconds)
            case "settle":
                await trio.testing.wait_all_tasks_blocked()
            case state:
                self.store.call, self.store.state = step.call, state

    async def send(self, subscriber: Subscriber, action: str, **fields: object) -> None:
        # A socket that was closed as too slow receives nothing more; that is accepted.
        try:
            await subscriber.client.send(action, **fields)
        except Exception:  # noqa: BLE001 - however the library says that it is over
            return

    async def jump(self, ticker: str) -> None:
        """One tick in which one name moves by a half, so that whatever runs on it is stale."""
        book = self.app.server.services.book
        book.prices_for([ticker])
        source, quote = book._source, SimulatedSource.quote
        assert isinstance(source, SimulatedSource)

        async def jumping(previous: dict[str, float]) -> dict[str, float]:
            quoted = dict(await quote(source, previous))
            return {**quoted, ticker: previous[ticker] * 1.5}

        source.quote = jumping  # type: ignore[method-assign, assignment]
        try:
            await self.app.server.updater.tick()
        finally:
            del source.quote

    def check(self) -> None:
        for watcher in self.watchers.values():
            check_turns(watcher.frames)
            check_versions(watcher.frames)
            check_values(watcher.frames)
        for subscriber in self.everybody():
            check_order(subscriber.frames)
            check_snapshots(subscriber.frames, self.ticks)
        for session in self.app.server._sessions:
            assert session.subscriber._outbox._bytes <= BUDGET

    async def check_the_drain(self, steps: list[Step]) -> None:
        """It ended in time; reading clients were told; each run that was seen to start was seen to end."""
        assert self.drain_took is not None, "the drain has not ended"
        assert self.drain_took <= DRAIN_BOUND
        assert not self.app.server._sessions
        for subscriber in (*self.watchers.values(), *self.subscribers.values(), *self.accepted):
            assert subscriber.was_told or not subscriber.read_at_drain, f"closed with {subscriber.closed}"
        store_works = not any(step.what.startswith("store") for step in steps)
        for session, watcher in self.watchers.items():
            turns = [f for f in watcher.frames if f["type"] in TURNS]
            assert not turns or turns[-1]["type"] != "analysis_started", f"{turns[-1]} never ended"
            check_completed(watcher.frames)
            document = await self.app.document(session)
            check_recorded(watcher.frames, document["analysis_results"])
            assert document["current_analysis"] is None or not store_works

    async def check_the_end(self) -> None:
        for session, watcher in self.watchers.items():
            # Followed analyses would continue forever.
            stopper = await self.app.connect(session)
            await stopper.send("cancel")
            assert (await stopper.until("analysis_cancelled"))[-1]["reason"] == "cancelled"
            await trio.testing.wait_all_tasks_blocked()
            turns = [f for f in watcher.frames if f["type"] in TURNS]
            assert not turns or turns[-1]["type"] != "analysis_started", f"{turns[-1]} never ended"
            check_completed(watcher.frames)
            # Nothing that was begun stays, at the latest after a few sweeps.
            for _ in range(TRIES):
                await self.app.server.updater.tick()
                await trio.sleep(1)
            document = await self.app.document(session)
            assert document["current_analysis"] is None
            check_recorded(watcher.frames, document["analysis_results"])
            # Whatever the store did to it, the session is as good as new.
            last = await self.app.connect(session)
            await last.send("analyze", ticker=next(iter(document["holdings"])))
            assert [f["run_id"] for f in await last.take(len(METRICS))] == [document["run_counter"] + 1] * 5
            assert (await self.app.document(session))["current_analysis"] is None


def check_turns(frames: list[Frame]) -> None:
    """One run at a time; each ends once; nothing of a run outside its turn."""
    current: int | None = None
    newest = 0
    ended: set[int] = set()
    for frame in frames:
        run_id = frame.get("run_id")
        if frame["type"] == "analysis_started":
            assert current is None, f"run {run_id} started while {current} had not ended"
            assert run_id is not None
            assert run_id > newest, f"run {run_id} started after {newest}"
            current = newest = run_id
        elif frame["type"] in {"analysis_result", "metric_error"}:
            assert run_id == current, f"a result of run {run_id} while {current} was the current one"
        elif frame["type"] in TURNS and run_id is not None:
            assert run_id not in ended, f"run {run_id} ended twice"
            ended.add(run_id)
            current = None


DELAYS = st.sampled_from([None, Delay(2, 5), Delay(2, 2)])
ROOMS = st.sampled_from([0, 100, 1_000_000])


@settings(
    max_examples=int(os.environ.get("PORTFOLIO_TEST_HISTORIES", "120")),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=16), delay=DELAYS, room=ROOMS)
def test_what_always_holds_holds_in_every_history(steps: list[Step], delay: Delay | None, room: int) -> None:
    play(steps, delay, room)


@settings(
    max_examples=int(os.environ.get("PORTFOLIO_TEST_HISTORIES", "120")),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(before=st.lists(KNOCKS, max_size=10), during=st.lists(KNOCKS, max_size=8), delay=DELAYS, room=ROOMS)
def test_a_drain_tells_everybody_whatever_goes_on(
    before: list[Step], during: list[Step], delay: Delay | None, room: int
) -> None:
    play([*before, Step("drain"), *during], delay, room)


def play(steps: list[Step], delay: Delay | None, room: int) -> None:
    async def main() -> None:
        async with open_app(
            metric_delay_seconds=delay,
            max_queue_bytes=BUDGET,
            send_seconds=20,
            drain_seconds=DRAIN_SECONDS,
            market_update_interval_seconds=10_000,
        ) as app:
            store = FaultyStore(app.store, app.nursery)
            app.server.services.peer_subscriber._orphans._store = store  # type: ignore[assignment]
            app.server.services.store = store  # type: ignore[assignment]
            story = Story(app, store, room)
            try:
                await story.play(steps)
            except BaseException:
                note("\n".join(["timeline:", *story.timeline]))
                raise

    with taking_at_once():
        trio.run(main, clock=MockClock(autojump_threshold=0))
