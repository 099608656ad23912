"""A session's documents and sockets, in memory, for the peers' tests."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import wait_all_tasks_blocked
from typing_extensions import override

from portfolio_trio.faults import Faults
from portfolio_trio.hub.events import Batch, PeerEvent
from portfolio_trio.hub.hub import Hub
from portfolio_trio.hub.members import Member, SessionRunner, SessionSubscriber
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.peers.subscriber import PeerSubscriber
from portfolio_trio.protocol.messages import AnalysisCancelled, Running
from portfolio_trio.protocol.results import ComputedResult
from portfolio_trio.store import (
    CurrentAnalysis,
    Known,
    Portfolio,
    ResultsPage,
    RunEnd,
    RunStart,
    SessionMissing,
    StoreUnavailable,
    Valued,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import Kind
    from portfolio_trio.hub.run_state import EndReason, Run
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.protocol.messages import Message

AT = "2026-11-18T11:06:40.000Z"
ME = "me"


def current(run_id: int, *, worker: str = "two", version: int = 1, ticker: str = "AAPL") -> CurrentAnalysis:
    return CurrentAnalysis(ticker, AT, run_id, version, tick_id=1, recorded=0, worker=worker)


def running(run_id: int, version: int = 1) -> Running:
    return Running(ticker="AAPL", started_at=AT, run_id=run_id, version=version, tick_id=1)


def open_run(group: SessionGroup) -> int | None:
    """The number of the open run, here or on another worker."""
    remote = None if group.remote.run is None else group.remote.run.run_id
    return group.runs.running or remote


def start(run_id: int, version: int = 1, *, replaced: int = 0, others: tuple[str, ...] = ()) -> RunStart:
    return RunStart(run_id, {"AAPL": 1.0}, version, 100.0, others, replaced=replaced)


class FakeStore:
    """Documents; each call is recorded, waits if `gate` is set, and fails while `away`."""

    worker = ME

    def __init__(self, *session_ids: str) -> None:
        self.documents = {name: document(name) for name in session_ids}
        self.attached: dict[str, set[str]] = {name: set() for name in session_ids}
        self.calls: list[tuple[str, str]] = []
        self.finished: list[tuple[str, int]] = []
        self.away = False
        self.unreadable: set[str] = set()
        self.gate: trio.Event | None = None

    async def attach(self, session_id: str, *, known: Known | None = None) -> Portfolio:  # noqa: ARG002 - it never falls back
        await self._serve("attach", session_id)
        self.attached[session_id].add(ME)
        return self.documents[session_id]

    async def leave_session(self, session_id: str) -> None:
        await self._serve("leave", session_id)
        self.attached[session_id].discard(ME)

    async def finish_analysis(
        self,
        session_id: str,
        *,
        run_id: int,
        **_fences: object,
    ) -> RunEnd:
        await self._serve("finish", session_id)
        self.finished.append((session_id, run_id))
        ending = self.documents[session_id].end_of(run_id)
        if ending is not None:
            return RunEnd(cleared=False, ending=ending)
        return RunEnd(cleared=True, others=self.documents[session_id].others, run_id=run_id, ticker="AAPL")

    async def newest_results(self, session_id: str, **_bounds: object) -> ResultsPage:
        await self._serve("results", session_id)
        return ResultsPage((), more=False)

    def change(self, session_id: str, **fields: Any) -> Portfolio:
        self.documents[session_id] = replace(self.documents[session_id], **fields)
        return self.documents[session_id]

    def counted(self, what: str) -> int:
        return [call for call, _ in self.calls].count(what)

    async def _serve(self, what: str, session_id: str) -> None:
        self.calls.append((what, session_id))
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.away or session_id in self.unreadable:
            raise StoreUnavailable("away", sent=False)
        if session_id not in self.documents:
            raise SessionMissing(session_id)


def document(session_id: str, **fields: Any) -> Portfolio:
    shares = {"AAPL": 1.0}
    whole = Portfolio(session_id, shares, 1, 100.0, Valued(1, AT), current_analysis=None, others=("two",))
    return replace(whole, **fields)


class FakeSubscriber(SessionSubscriber, SessionRunner, Member):
    """A socket with at most one run."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.dropped: list[int | None] = []
        self.renewed: list[int] = []
        self.run_id: int | None = None
        self.cleared = 0
        self.busy: trio.Event | None = None
        """Ending a run waits for this."""
        self.failed = 0
        self.fault: Exception | None = None
        """A bug that every operation on the socket raises."""

    @property
    @override
    def subscriber(self) -> SessionSubscriber:
        return self

    @property
    @override
    def runner(self) -> SessionRunner:
        return self

    @property
    def seen(self) -> list[str]:
        """What was seen: plain texts as they are, messages as their type, run and reason."""
        return [shown(frame) for frame in self.frames]

    @override
    def fail(self) -> None:
        self.failed += 1

    @override
    def enqueue(self, event: str, run: Run | None = None) -> None:
        self._raise_fault()
        self.frames.append(event)

    @override
    def enqueue_latest(self, event: str) -> None:
        self._raise_fault()
        self.frames.append(event)

    def _raise_fault(self) -> None:
        if self.fault is not None:
            raise self.fault

    @override
    def answer(self, *messages: Message | ComputedResult, run: Run | None = None) -> None:
        raise AssertionError("nothing is asked here")

    @property
    @override
    def receives_events(self) -> bool:
        return True

    @property
    @override
    def running(self) -> int | None:
        return self.run_id

    @override
    def drop(self, run: Run) -> None:
        self.dropped.append(run.run_id)

    @override
    def reprice(self, prices: Mapping[str, float]) -> None:
        raise AssertionError("no tick here")

    @override
    async def stop(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        raise AssertionError("ended by number only")

    @override
    async def clear(self) -> None:
        self.cleared += 1

    @override
    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        if self.busy is not None:
            await self.busy.wait()
        if self.run_id is not None and self.run_id < run_id and standing in {None, self.run_id}:
            self.frames.append(f"superseded by {run_id}")
            self.run_id = None

    @override
    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        if self.run_id != run_id:
            return None
        self.run_id = None
        return AnalysisCancelled(ticker="AAPL", run_id=run_id, reason="cancelled")

    @override
    def renew(self, version: int, standing: int | None = None) -> None:
        self.renewed.append(version)


def shown(frame: str) -> str:
    if not frame.startswith("{"):
        return frame
    message = json.loads(frame)
    parts = (message["type"], message.get("run_id"), message.get("reason"), message.get("version"))
    return " ".join(str(part) for part in parts if part is not None)


class FakePublisher:
    """Keeps what is told."""

    me = ME

    def __init__(self) -> None:
        self.told: list[tuple[str, PeerEvent]] = []
        self.forgotten: list[str] = []

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        self.told += [(other, peer_event) for other in others]

    def forget(self, worker: str) -> None:
        self.forgotten.append(worker)

    def is_unreachable(self, worker: str) -> bool:
        return worker in self.forgotten


class World:
    """One worker's peer subscriber, hub, store and publisher, and batches from worker ``two``."""

    def __init__(self, *session_ids: str) -> None:
        self.store = FakeStore(*session_ids)
        self.publisher = FakePublisher()
        self.faults = Faults()
        self.hub = Hub(self.publisher, self.faults)
        # It stands for the documents, of which a peer subscriber asks no more than that.
        self.peer_subscriber = PeerSubscriber(self.hub, self.store, self.faults)  # type: ignore[arg-type] # see above
        self._number = 0

    @asynccontextmanager
    async def subscribe(self, session_id: str) -> AsyncIterator[tuple[SessionGroup, FakeSubscriber]]:
        """A socket that has subscribed, for the length of the block."""
        subscriber = FakeSubscriber()
        with self.hub.join(session_id, subscriber) as group:
            state = await self.store.attach(session_id)
            group.document.enter(state)
            group.answer(subscriber, portfolio_message(state))
            subscriber.frames.clear()
            self.store.calls.clear()
            yield group, subscriber

    def batch(self, *events: PeerEvent, skip: int = 0) -> None:
        previous = self._number + skip
        self._number = previous + 1
        batch = Batch(sender="two", number=self._number, previous=previous, events=events)
        self.peer_subscriber.receive(batch.model_dump_json().encode())


@asynccontextmanager
async def opened(*session_ids: str, faults: int = 0) -> AsyncIterator[World]:
    """A world for the length of the block; a given number of faults must be contained in it."""
    world = World(*session_ids)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.peer_subscriber.run)
        yield world
        await wait_all_tasks_blocked()
        assert not world.peer_subscriber._waiting
        assert world.faults.counts.total() == faults
        nursery.cancel_scope.cancel()


def peer_event(kind: Kind, run_id: int | None = None, *, session_id: str = "s", **fields: Any) -> PeerEvent:
    """An event whose message is a plain text."""
    if kind == "claim":
        fields = {"version": 1, "ticker": "AAPL", **fields}
    elif kind == "portfolio":
        fields = {
            "frame": portfolio_message(document(session_id, version=fields["version"])).to_json(),
            **fields,
        }
    elif kind not in {"cancel", "look"}:
        fields = {"frame": f"<{kind} {run_id}>", **fields}
    if kind == "analysis_started" and run_id is not None:
        fields = {"running": running(run_id), **fields}
    return PeerEvent(session_id=session_id, kind=kind, run_id=run_id, **fields)
