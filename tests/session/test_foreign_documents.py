"""Somebody else has changed a field of a session's document: each answer has its kind, nothing breaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import trio
from hypothesis import Phase, example, given, settings
from trio.testing import MockClock

from portfolio_trio.peers.run_ends import WORD_SECONDS
from portfolio_trio.settings import Delay
from tests.store.documents import changed, changes
from tests.support.app import App, Client, Frame, open_app

if TYPE_CHECKING:
    from tests.store.documents import Document, Path

REQUESTS: Final[tuple[Frame, ...]] = (
    {"action": "get_portfolio"},
    {"action": "analyze", "ticker": "AAPL", "receipt": True},
    {"action": "get_results"},
    {"action": "get_results", "ticker": "AAPL", "limit": 2},
    {"action": "get_risk", "correlations": True, "receipt": True},
    {"action": "what_if", "trades": {"MSFT": 5}, "receipt": True},
    {"action": "plan", "to": "weights"},
    {"action": "plan", "to": "budgets"},
    {"action": "get_history"},
    {"action": "trade", "ticker": "AAPL", "shares": 1},
    {"action": "set_targets", "weights": {"AAPL": 1, "MSFT": 1}},
    {"action": "cancel"},
    {"action": "trade", "ticker": "MSFT", "shares": -75},
    {"action": "analyze", "ticker": "GOOGL"},
    {"action": "set_holdings", "holdings": {"AAPL": 1}},
)
# Errors that a client may be told: of the document, or of numbers in it that are possible but of no use.
TOLD: Final = {
    "session_broken",
    "session_expired",
    "not_held",
    "empty_portfolio",
    "bad_price",
    "unknown_ticker",
    "value_overflow",
    "invalid_message",
    "superseded",
    "portfolio_changed",
    "cancelled",
    "zero_variance",
    "insufficient_history",
    "no_plan",
    "no_other_holdings",
    "value_too_low",
    "zero_portfolio_variance",
}


async def lived_in(app: App) -> Document:
    """A document with something in every field, and sockets of every kind that see it."""
    client = await app.connect()
    await client.ask("set_targets", weights={"AAPL": 1, "MSFT": 2}, budgets={"AAPL": 1, "GOOGL": 1})
    for ticker in ("AAPL", "MSFT"):
        await client.send("analyze", ticker=ticker)
        await client.silence(1.5)
    document: Document = await app.document()
    # And a run of a worker that says nothing.
    document["run_counter"] += 1
    document["current_analysis"] = {
        "ticker": "AAPL",
        "started_at": document["last_activity"],
        "run_id": document["run_counter"],
        "version": document["version"],
        "tick_id": document["valued"]["tick_id"],
        "recorded": 0,
        "worker": "other",
        "token": "t",
    }
    return document


def assert_told(frames: list[Frame]) -> None:
    for frame in frames:
        assert frame.get("code") in {None, *TOLD}, frame
        json.dumps(frame, allow_nan=False)


async def ask_everything(app: App, clients: list[Client]) -> None:
    for request in REQUESTS:
        for client in clients:
            await client.send(**request)
            # An event may wait for the end of the run that no worker runs.
            frames = await client.silence(0.5) or await client.silence(1.5 * WORD_SECONDS)
            assert frames, request
            assert_told(frames)
    for path in ("/session/s", "/session/s/results"):
        answer = await app.get(path)
        assert answer.status in {200, 404, 503}
        assert_told([json.loads(answer.body)] if answer.status == 503 else [])


async def survive(path: Path, value: object) -> None:
    async with open_app(metric_delay_seconds=Delay(0.2, 0.6), market_update_interval_seconds=10_000) as app:
        before = await lived_in(app)
        early = [await app.connect(events=True), await app.connect()]
        await early[0].receive()
        foreign = changed(before, path, value)
        # The values of lines are known only at the tick of the total.
        for way in ("at its tick", "at the next tick, during a run"):
            if way != "at its tick":
                await early[1].send("analyze", ticker="AAPL")
                await early[1].silence(0.3)
            await app.server._redis.execute_command("JSON.SET", "portfolio:{s}", "$", json.dumps(foreign))
            if way != "at its tick":
                await app.server.updater.tick()
            late = await app.connect(events=True)
            frames = await late.silence(0.1)
            assert frames
            assert_told(frames)
            await ask_everything(app, [*early, late])
            for client in (*early, late):
                # The socket is still there.
                await client.send("get_portfolio", id=way)
                assert any(frame.get("id") == way for frame in await client.silence(1.5 * WORD_SECONDS))
        # Any faults were contained, which `open_app` does not forgive.


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(change=changes)
@example(change=(("holdings", "AAPL"), 1e308))
@example(change=(("run_counter",), "x"))
def test_every_answer_is_of_the_protocol(change: tuple[Path, object]) -> None:
    trio.run(survive, *change, clock=MockClock(autojump_threshold=0))
