"""The peer of the benchmarks gives correct answers: a ratio to a server that does not would be worthless."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import trio

from portfolio_trio.market import PriceBook, open_price_source
from portfolio_trio.metrics import BUILT_IN, ReturnsCache, compute_text
from tests.support.redis_servers import NO_JSON_SERVER

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PEER = ROOT / "benchmarks" / "peers" / "fastapi_server.py"
HELD = {"AAPL": 10.0, "MSFT": 5.0}


class Socket:
    """A client that asks one thing after another, each when the one before is over, and then leaves."""

    def __init__(self, requests: Sequence[dict[str, Any]]) -> None:
        self._requests = list(requests)
        self.session: Any = None
        self.sent: list[dict[str, Any]] = []

    async def receive_text(self) -> str:
        if self.session._task is not None:
            await self.session._task
        if not self._requests:
            raise DisconnectedError
        return json.dumps(self._requests.pop(0))

    async def send_text(self, text: str) -> None:
        self.sent.append(json.loads(text))


class DisconnectedError(Exception):
    """The client has left."""


def _place(result: dict[str, Any]) -> tuple[int, str]:
    return result["run_id"], result["metric"]


def load_peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    for package in ("fastapi", "orjson", "uvicorn"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("benchmark_peer", PEER)
    assert spec is not None
    assert spec.loader is not None
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    return peer


async def serve(peer: Any, backend: Any, socket: Socket) -> list[str]:
    """Serve a socket until it is closed; return the commands and scripts that were called."""
    await backend.open()
    calls: list[str] = []
    call = backend.call

    async def counted(name: str, *args: object) -> object:
        calls.append(name)
        return await call(name, *args)

    backend.call = counted
    socket.session = peer.Session(backend, socket, "peer")
    with pytest.raises(DisconnectedError):
        await socket.session.run()
    await backend.close()
    return calls


@pytest.mark.parametrize(
    ("variant", "checkout"), [("tuned", None), ("per-result", None), ("per-result", ROOT), ("untuned", None)]
)
def test_the_peer_streams_what_it_records_and_the_metrics_say(
    server_url: str | None, variant: str, checkout: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server_url is None:
        pytest.skip(NO_JSON_SERVER)
    peer = load_peer(monkeypatch)
    metrics = peer.earlier_metrics(checkout) if checkout else peer.our_metrics
    book = PriceBook(open_price_source("simulated"), now=time.time)
    trio.run(book.open)
    asked = ["AAPL", "MSFT", "MSFT"]
    analyses = [{"action": "analyze", "ticker": ticker} for ticker in asked]
    socket = Socket([{"action": "set_holdings", "holdings": HELD}, *analyses])

    backend = peer.Backend(server_url, peer.VARIANTS[variant], book, metrics=metrics)
    calls = asyncio.run(serve(peer, backend, socket))
    sent = [message for message in socket.sent if message["type"] == "analysis_result"]
    with redis.Redis.from_url(server_url) as client:
        (document,) = json.loads(client.execute_command("JSON.GET", "portfolio:{peer}", "$"))
        client.delete("portfolio:{peer}")
    # Metrics that have a task each come in any order.
    recorded = sorted(document["analysis_results"], key=_place)
    assert recorded == [
        {name: field for name, field in message.items() if name != "type"}
        for message in sorted(sent, key=_place)
    ]
    assert document["run_counter"] == 3
    assert document["current_analysis"] is None
    inputs = [ReturnsCache(book.bars).inputs(ticker, HELD, book.prices_for(HELD)) for ticker in asked]
    expected = [
        (run_id, each.ticker, metric.name, compute_text(metric, each).value)
        for run_id, each in enumerate(inputs, 1)
        for metric in BUILT_IN.values()
    ]
    found = [(each["run_id"], each["ticker"], each["metric"], each["value"]) for each in sent]
    assert sorted(found) == sorted(expected)
    # From the second on, an analysis of the tuned one is one call.
    in_all = len(asked) * (len(BUILT_IN) + 2)
    assert len([name for name in calls if "session" not in name and "holdings" not in name]) == (
        len(BUILT_IN) + 2 + 2 if variant == "tuned" else in_all
    )
