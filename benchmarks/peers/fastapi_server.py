"""The obvious alternative: FastAPI, uvicorn with uvloop and redis.asyncio.

A task per analysis, a task per metric inside it, one EVALSHA and one message per result. It uses the
scripts, the metrics and the prices of this package, and no other part of it. The market does not move here.

tuned:      a pool that is large enough, orjson, no logging, uvicorn's fastest parts; and one script an
            analysis, computed on what the last reply said, as the server does that it is measured against.
per-result: the same, but one call for the start, one for each result and one for the end.
untuned:    as a first version often is: redis-py's pool of 100, the standard library's json, debug logging.
--whole-document: the scripts that change a session decode and encode all of its document, as a first script
            does; what a script costs then grows with what the document holds.
--metrics CHECKOUT: the metrics, and the models of their details, of an earlier version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import redis.asyncio
import trio
import uvicorn
from _earlier import earlier_metrics
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from portfolio_trio import metrics as our_metrics
from portfolio_trio.canonical import canonical_text
from portfolio_trio.market import PriceBook, open_price_source
from portfolio_trio.store.scripts import NAMES, script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import ModuleType

    from portfolio_trio.metrics import AnalysisInputs, Bars, Metric

HOLDINGS = {"AAPL": 100.0, "GOOGL": 50.0, "MSFT": 75.0}
TTL_SECONDS, MAX_RESULTS, MAX_RESULT_BYTES = 86_400, 1_000, 2**22
COMPLETED = '"outcome":"completed","results":5,"errors":0'
POOL = 4_096
# It is one process and tells no other.
WORKER = ""

WHOLE_DOCUMENT = {
    "start_analysis": """
        local document = cjson.decode(redis.call('JSON.GET', KEYS[1], '.'))
        document.run_counter = document.run_counter + 1
        document.current_analysis = {ticker = ARGV[1], started_at = ARGV[2], run_id = document.run_counter,
            version = document.version, tick_id = tonumber(ARGV[3]), recorded = 0}
        if #document.analysis_results == 0 then document.analysis_results = nil end
        redis.call('JSON.SET', KEYS[1], '.', cjson.encode(document))
        redis.call('EXPIRE', KEYS[1], ARGV[4])
        return {'ok', tostring(document.run_counter), cjson.encode(document.holdings),
            tostring(document.version), tostring(document.total_value)}
    """,
    "record_results": """
        local document = cjson.decode(redis.call('JSON.GET', KEYS[1], '.'))
        local current, results = document.current_analysis, document.analysis_results or {}
        if current == cjson.null or current.run_id ~= tonumber(ARGV[1]) then return {'superseded', '0'} end
        for index = 13, #ARGV do table.insert(results, cjson.decode(ARGV[index])) end
        while #results > tonumber(ARGV[6]) do table.remove(results, 1) end
        document.analysis_results = results
        document.last_activity = ARGV[4]
        redis.call('JSON.SET', KEYS[1], '.', cjson.encode(document))
        redis.call('EXPIRE', KEYS[1], ARGV[5])
        return {'ok'}
    """,
}


class Variant(NamedTuple):
    """How the server is put together."""

    dumps: Callable[[object], str]
    loads: Callable[[str | bytes], Any]
    ready: Callable[[str], object]  # what puts JSON text into what is dumped
    one_trip: bool
    pool: dict[str, Any]
    uvicorn: dict[str, Any]


def _orjson_text(value: object) -> str:
    return orjson.dumps(value).decode()


TUNED = Variant(
    dumps=_orjson_text,
    loads=orjson.loads,
    ready=orjson.Fragment,
    one_trip=True,
    pool={"max_connections": POOL},
    uvicorn={
        "loop": "uvloop",
        "http": "httptools",
        "ws": "websockets-sansio",
        "ws_per_message_deflate": False,
        "log_level": "critical",
        "access_log": False,
    },
)
VARIANTS = {
    "tuned": TUNED,
    "per-result": TUNED._replace(one_trip=False),
    "untuned": Variant(
        json.dumps, json.loads, json.loads, one_trip=False, pool={}, uvicorn={"log_level": "debug"}
    ),
}


class Known(NamedTuple):
    """The session in a reply, with the exact texts."""

    run_id: int
    version: bytes
    holdings: bytes
    targets: bytes


class Backend:
    """Redis, prices and metrics as the handlers use them."""

    def __init__(
        self,
        url: str,
        variant: Variant,
        book: PriceBook,
        *,
        whole_document: bool = False,
        delays: tuple[float, float] | None = None,
        metrics: ModuleType = our_metrics,
    ) -> None:
        self.loads, self.dumps, self._ready = variant.loads, variant.dumps, variant.ready
        self._client = redis.asyncio.Redis.from_url(url, **variant.pool)
        self._book = book
        self._metrics, self.metrics = metrics, list(metrics.BUILT_IN.values())
        self._bars: Bars | None = None
        self._returns: Any = None
        self._sources = {name: script(name).source for name in NAMES}
        if whole_document:
            self._sources |= WHOLE_DOCUMENT
        self._shas: dict[str, str] = {}
        self._delays = delays
        self.one_trip = variant.one_trip and not whole_document and delays is None

    async def open(self) -> None:
        """Load the scripts."""
        for name, source in self._sources.items():
            self._shas[name] = await self._client.script_load(source)

    async def close(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    async def call(self, name: str, session_id: str, *args: str | bytes | float) -> list[bytes]:
        """Run one script on the key of a session."""
        key = f"portfolio:{{{session_id}}}"
        reply: list[bytes] = await self._client.evalsha(self._shas[name], 1, key, *args)
        return reply

    async def open_session(self, session_id: str) -> dict[str, Any]:
        """Create or refresh a session; return its portfolio."""
        tick = self._book.current
        prices = self._book.prices_for(HOLDINGS)
        document = {
            "session_id": session_id,
            "holdings": HOLDINGS,
            "version": 1,
            "total_value": sum(shares * prices[name] for name, shares in HOLDINGS.items()),
            "valued": {"tick_id": tick.tick_id, "as_of": tick.as_of},
            "run_counter": 0,
            "current_analysis": None,
            "run_ends": [],
            "analysis_results": [],
            "result_sizes": [],
            "results_bytes": 0,
            "last_activity": now(),
            "attached": [],
            "incarnation": "peer",
        }
        text = json.dumps(document, separators=(",", ":"))
        reply = await self.call("open_session", session_id, text, now(), TTL_SECONDS, WORKER, "", "")
        if reply[0] == b"opened":
            names = ("holdings", "version", "total_value", "valued", "current_analysis")
            document |= dict(zip(names, map(self.loads, reply[1:]), strict=False))
        del document["analysis_results"]
        return {"type": "portfolio", **document}

    async def set_holdings(self, session_id: str, holdings: dict[str, float]) -> dict[str, Any]:
        """Replace what a session holds; return its portfolio."""
        tick, prices = self._book.current, self._book.prices_for(holdings)
        total = sum(shares * prices[name] for name, shares in holdings.items())
        values = ("", self.dumps(holdings), canonical_text(total), tick.tick_id, tick.as_of)
        await self.call("set_holdings", session_id, *values, now(), TTL_SECONDS, WORKER, "", "")
        return await self.open_session(session_id)

    @property
    def returns(self) -> Any:  # noqa: ANN401 - of whichever version
        """The returns of the newest bars: names that are new have come with new ones."""
        if self._bars is not self._book.bars:
            self._bars = bars = self._book.bars
            returns, own = self._metrics.ReturnsCache, self._metrics.Bars
            self._returns = returns(own(bars.dates, bars.tickers, bars.closes))
        return self._returns

    async def start(self, session_id: str, ticker: str) -> tuple[Known, AnalysisInputs]:
        """Start a run; return what the reply says, and what the metrics see."""
        args = (ticker, now(), self._book.current.tick_id, TTL_SECONDS, WORKER, "", "", "", "", "", "")
        reply = await self.call("start_analysis", session_id, *args)
        _, run_id, holdings, version, *more = reply
        # The scripts that rewrite the document know no targets.
        known = Known(int(run_id), version, holdings, more[2] if len(more) > 2 else b"")  # noqa: PLR2004
        return known, self.inputs(ticker, holdings)

    def inputs(self, ticker: str, holdings: bytes) -> AnalysisInputs:
        """The inputs of a run's metrics."""
        held = self.loads(holdings)
        inputs: AnalysisInputs = self.returns.inputs(ticker, held, self._book.prices_for(held))
        return inputs

    def record(self, message: dict[str, Any]) -> str:
        """The stored form of a result."""
        return self.dumps({name: value for name, value in message.items() if name != "type"})

    async def run(self, session_id: str, ticker: str, known: Known) -> list[dict[str, Any]] | None:
        """A whole run in one call; None, and it has only been started, where the document says otherwise."""
        run_id, inputs = known.run_id + 1, self.inputs(ticker, known.holdings)
        messages = [self.result(metric, inputs, run_id) for metric in self.metrics]
        args = (ticker, now(), self._book.current.tick_id, TTL_SECONDS, WORKER, "", "", "", "", "", "")
        texts = (run_id, known.version, known.holdings, known.targets)
        rest = (MAX_RESULTS, MAX_RESULT_BYTES, "1", 0)
        records = map(self.record, messages)
        reply = await self.call("start_analysis", session_id, *args, *texts, *rest, *records)
        return messages if reply[7] == b"1" else None

    async def wait(self, place: int) -> None:
        """Hold up every metric but the first."""
        if self._delays is not None and place:
            await asyncio.sleep(random.uniform(*self._delays))  # noqa: S311 - spreads load

    def result(self, metric: Metric, inputs: AnalysisInputs, run_id: int) -> dict[str, Any]:
        """One metric as the message that is sent."""
        value, detail = self._compute(metric, inputs)
        return {
            "type": "analysis_result",
            "ticker": inputs.ticker,
            "metric": metric.name,
            "value": value,
            "timestamp": now(),
            "run_id": run_id,
            "snapshot": inputs.snapshot,
            "tick_id": self._book.current.tick_id,
            "as_of": self._book.current.as_of,
            "method": self._metrics.METHOD_VERSION,
            "detail": detail,
        }

    def _compute(self, metric: Metric, inputs: AnalysisInputs) -> tuple[float, object]:
        if self._metrics is our_metrics:
            value, text = our_metrics.compute_text(metric, inputs)
            return value, None if text is None else self._ready(text)
        result = self._metrics.compute(metric, inputs)
        return result.value, None if result.detail is None else result.detail.model_dump()


def now() -> str:
    """The time, RFC 3339."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Session:
    """One socket."""

    def __init__(self, backend: Backend, socket: WebSocket, session_id: str) -> None:
        self._backend = backend
        self._socket = socket
        self._session_id = session_id
        self._task: asyncio.Task[None] | None = None
        self._known: Known | None = None

    async def run(self) -> None:
        """Take requests until the client leaves."""
        await self._backend.open_session(self._session_id)
        try:
            while True:
                request = self._backend.loads(await self._socket.receive_text())
                await self._stop()
                if request["action"] == "analyze":
                    self._task = asyncio.create_task(self._analyze(request["ticker"]))
                else:
                    self._known = None
                    portfolio = await (
                        self._backend.set_holdings(self._session_id, request["holdings"])
                        if request["action"] == "set_holdings"
                        else self._backend.open_session(self._session_id)
                    )
                    await self._socket.send_text(self._backend.dumps(portfolio))
        except WebSocketDisconnect:
            await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task
            self._task = None

    async def _analyze(self, ticker: str) -> None:
        # If it is cancelled in flight, the state of the document is unknown.
        known, self._known = self._known, None
        if known is not None and self._backend.one_trip:
            messages = await self._backend.run(self._session_id, ticker, known)
            if messages is not None:
                self._known = known._replace(run_id=known.run_id + 1)
                for message in messages:
                    await self._socket.send_text(self._backend.dumps(message))
                return
        known, inputs = await self._backend.start(self._session_id, ticker)
        self._known = known
        run_id, version = known.run_id, int(known.version)
        async with asyncio.TaskGroup() as group:
            for place, metric in enumerate(self._backend.metrics):
                group.create_task(self._compute(place, metric, inputs, run_id, version))
        await self._backend.call("finish_analysis", self._session_id, run_id, WORKER, "", "", COMPLETED, "1")

    async def _compute(
        self, place: int, metric: Metric, inputs: AnalysisInputs, run_id: int, version: int
    ) -> None:
        backend = self._backend
        await backend.wait(place)
        message = backend.result(metric, inputs, run_id)
        record = backend.record(message)
        limits = (TTL_SECONDS, MAX_RESULTS, MAX_RESULT_BYTES)
        args = (run_id, version, "", now(), *limits, "0", WORKER, "", "", 0, record)
        reply = await backend.call("record_results", self._session_id, *args)
        if reply[0] == b"ok":
            await self._socket.send_text(backend.dumps(message))


def make_app(backend: Backend) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await backend.open()
        yield
        await backend.close()

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws/{session_id}")
    async def serve(websocket: WebSocket, session_id: str) -> None:
        await websocket.accept()
        await Session(backend, websocket, session_id).run()

    return app


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--variant", choices=VARIANTS, default="tuned")
    parser.add_argument("--whole-document", action="store_true")
    parser.add_argument("--delays", help="LOW,HIGH seconds that every metric but the first waits")
    parser.add_argument("--ping-seconds", type=float, default=20.0, help="from one ping to the next")
    parser.add_argument("--metrics", type=Path, help="a checkout of an earlier version, to use its metrics")
    options = parser.parse_args()
    variant = VARIANTS[options.variant]
    if options.variant == "untuned":
        logging.basicConfig(level=logging.DEBUG)
    book = PriceBook(open_price_source("simulated"), now=time.time)
    # The price book belongs to Trio; once open, it is read without awaiting anything.
    trio.run(book.open)
    low, _, high = (options.delays or "").partition(",")
    delays = (float(low), float(high)) if low else None
    backend = Backend(
        options.redis_url,
        variant,
        book,
        whole_document=options.whole_document,
        delays=delays,
        metrics=earlier_metrics(options.metrics) if options.metrics else our_metrics,
    )
    uvicorn.run(
        make_app(backend),
        host="127.0.0.1",
        port=options.port,
        ws_ping_interval=options.ping_seconds,
        **variant.uvicorn,
    )


if __name__ == "__main__":
    main()
