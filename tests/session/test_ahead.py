"""A run that is computed ahead: fewer calls, the same messages, the same document."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from portfolio_trio.hub.known_document import KnownDocument
from tests.support.app import App, open_app

pytestmark = pytest.mark.trio


class Counting:
    """The store, and the names of the calls that a run makes."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in {"start_analysis", "record_results"}:
            self.calls.append(name)
        return getattr(self._store, name)


def counted(app: App) -> Counting:
    store = Counting(app.store)
    app.server.services.store = store  # type: ignore[assignment] # all that a session asks of it is there
    return store


async def test_a_run_of_immediate_metrics_is_one_call(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect()
        store = counted(app)
        for ticker in ("AAPL", "MSFT"):
            await client.send("analyze", ticker=ticker)
            assert {frame["ticker"] for frame in await client.take(5)} == {ticker}
        assert store.calls == ["start_analysis"] * 2


async def test_after_an_edit_of_anybody_it_is_two_at_most(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        client = await app.connect("s")
        # Behind the back of this server, as another one does.
        services = app.server.services
        tick = services.book.current
        await app.store.trade("s", "AAPL", 1, tick=tick, at=tick.as_of)
        store = counted(app)
        await client.send("analyze", ticker="AAPL")
        assert len(await client.take(5)) == 5
        assert store.calls == ["start_analysis", "record_results"]
        await client.send("analyze", ticker="AAPL")
        assert len(await client.take(5)) == 5
        assert store.calls == ["start_analysis", "record_results", "start_analysis"]


async def story(monkeypatch: pytest.MonkeyPatch, *, ahead: bool) -> tuple[list[Any], dict[str, Any]]:
    """What a client sees and what the document keeps; times and random names left out."""
    with monkeypatch.context() as patch:
        if not ahead:
            patch.setattr(KnownDocument, "head", None)
        async with open_app() as app:
            client = await app.connect(events=True)
            await client.send("analyze", ticker="AAPL", id=1)
            frames = await client.until("analysis_completed")
            await client.send("trade", ticker="AAPL", shares=5)
            frames += await client.until("portfolio")
            await client.send("analyze", ticker="GOOGL", id=2, receipt=True)
            frames += await client.until("analysis_completed")
            await client.send("analyze", ticker="NOPE")
            frames += await client.until("analysis_failed")
            document = await app.document()
    for item in (*frames, *document["analysis_results"]):
        item.pop("timestamp", None)
        item.pop("incarnation", None)
    for end in document["run_ends"]:
        end.pop("token", None)
    kept = {"run_counter", "version", "current_analysis", "run_ends", "analysis_results", "result_sizes"}
    return frames, {name: document[name] for name in kept}


async def test_the_client_and_the_document_see_no_difference(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await story(monkeypatch, ahead=True) == await story(monkeypatch, ahead=False)
