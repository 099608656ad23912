"""The same doubles wherever they are read: streamed, requested, recorded, in the document.

A whole server on a socket, on every engine.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
import trio_websocket

from portfolio_trio.http import serve_listeners
from portfolio_trio.metrics import BUILT_IN, Receipt, recompute
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings
from tests.support.app import METRICS, Client
from tests.support.tickers import OF_THE_WORLD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portfolio_trio.server.server import Server
    from tests.store.engines import Engine

pytestmark = pytest.mark.trio

ASKED: Final = {"AAPL": 123456789.12345679, "GOOGL": 0.1 + 0.2, "MSFT": 1e-9, "V": -0.7 - 0.1}
KEPT: Final = {"AAPL": 123456789.123457, "GOOGL": 0.3, "MSFT": 1e-9, "V": -0.8}


@asynccontextmanager
async def served(engine: Engine, **settings: Any) -> AsyncIterator[tuple[Server, Client]]:
    """A server on a socket of loopback, and a client of it."""
    with trio.fail_after(60):
        async with (
            open_server(Settings(redis_url=engine.url, **settings)) as server,
            trio.open_nursery() as nursery,
        ):
            await server.services.store._client.flushdb()
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            serve = partial(
                serve_listeners, listeners, server.http_server.serve, handler_nursery=server.connections
            )
            await nursery.start(serve)
            port = listeners[0].socket.getsockname()[1]
            async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/ws/s") as socket:
                yield server, Client(socket, socket)  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


async def test_what_is_streamed_asked_for_and_recorded_is_one_number(engine: Engine) -> None:
    async with served(engine, default_holdings={"AAPL": 1.0}) as (server, client):
        edited = await client.ask("set_holdings", holdings=ASKED)
        assert edited["holdings"] == KEPT
        await client.send("analyze", ticker="GOOGL", receipt=True)
        streamed = await client.take(len(METRICS))
        assert [frame["type"] for frame in streamed] == ["analysis_result"] * len(METRICS)
        portfolio = await client.ask("get_portfolio")
        recorded = (await client.ask("get_results"))["results"]
        document = await server.services.store.get_document("s")
        assert recorded == [{name: frame[name] for name in frame if name != "type"} for frame in streamed]
        # The document has the receipt once.
        assert document["analysis_results"] == [
            recorded[0],
            *({name: each[name] for name in each if name != "receipt"} for each in recorded[1:]),
        ]
        assert document["holdings"] == portfolio["holdings"] == streamed[0]["receipt"]["holdings"] == KEPT
        assert document["total_value"] == portfolio["total_value"] == edited["total_value"]

        traded = await client.ask("trade", ticker="AAPL", shares=1 / 3)
        assert traded["holdings"] == {**KEPT, "AAPL": 123456789.45679}
        document = await server.services.store.get_document("s")
        assert (document["holdings"], document["total_value"]) == (traded["holdings"], traded["total_value"])

        result = streamed[0]
        receipt = Receipt(
            **{name: result[name] for name in ("ticker", "snapshot", "method", "tick_id", "as_of")},
            **result["receipt"],
            results={frame["metric"]: frame["value"] for frame in streamed},
        )
        replay = recompute(receipt, server.services.book.bars, BUILT_IN)
        assert replay.equal
        assert [each.recomputed for each in replay.comparisons] == [
            each.recorded for each in replay.comparisons
        ]


async def test_selling_in_fractions_leaves_nothing(engine: Engine) -> None:
    async with served(engine, default_holdings={"MSFT": 1.0}) as (_, client):
        assert (await client.ask("trade", ticker="AAPL", shares=10000.1))["holdings"]["AAPL"] == 10000.1
        await client.ask("trade", ticker="AAPL", shares=-10000)
        left = await client.ask("trade", ticker="AAPL", shares=-0.1)
        assert left["holdings"] == {"MSFT": 1.0}
        refused = await client.ask("trade", ticker="AAPL", shares=1e-10)
        assert refused["code"] == "invalid_message"
        assert "AAPL round to zero" in refused["detail"]


async def test_names_of_the_world_go_over_the_wire(engine: Engine) -> None:
    held = {name.lower(): place + 1.0 for place, name in enumerate(OF_THE_WORLD)}
    async with served(engine, default_holdings=held) as (server, client):
        portfolio = await client.ask("get_portfolio")
        assert portfolio["holdings"] == {name.upper(): shares for name, shares in held.items()}
        for name in ("m&m.ns", "brk/b", "^gspc", "eurusd=x", "NYSE:BRK_B"):
            await client.send("analyze", ticker=name)
            frames = await client.take(len(METRICS))
            assert {frame["ticker"] for frame in frames} == {name.upper()}
            answer = await client.ask("get_results", ticker=name)
            assert [each["metric"] for each in answer["results"]] == [frame["metric"] for frame in frames]
        assert (await client.ask("trade", ticker="BRK/B", shares=-8))["holdings"].get("BRK/B") is None
        document = await server.services.store.get_document("s")
        assert isinstance(document["holdings"], dict)
        assert list(document["holdings"]) == [name.upper() for name in held if name != "brk/b"]


async def test_a_file_of_asian_stocks_is_served(engine: Engine) -> None:
    prices = Path(__file__).parents[1] / "cases" / "asian_index_fx_tickers.csv"
    held = {"0700.HK": 100.0, "7203.T": 50.0, "^GSPC": 1.0, "EURUSD=X": 1000.0}
    async with served(engine, default_holdings=held, prices=f"csv:{prices}") as (_, client):
        assert (await client.ask("get_portfolio"))["holdings"] == held
