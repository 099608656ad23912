"""The limit: a bare trio-websocket server that answers each request with five prepared frames.

It parses nothing, computes nothing and stores nothing. The frames are as long as real results.
"""

from __future__ import annotations

import argparse
import json

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from portfolio_trio.market import PriceBook, open_price_source
from portfolio_trio.metrics import BUILT_IN, METHOD_VERSION, ReturnsCache, compute

HOLDINGS = {"AAPL": 100.0, "GOOGL": 50.0, "MSFT": 75.0}
TIME = "2026-11-22T09:30:00.125Z"


def ready_frames(book: PriceBook, ticker: str) -> tuple[str, ...]:
    """Five results of one ticker as the other servers send them."""
    inputs = ReturnsCache(book.bars).inputs(ticker, HOLDINGS, book.prices_for(HOLDINGS))
    frames = []
    for metric in BUILT_IN.values():
        result = compute(metric, inputs)
        message = {
            "type": "analysis_result",
            "ticker": ticker,
            "metric": metric.name,
            "value": result.value,
            "timestamp": TIME,
            "run_id": 1,
            "snapshot": inputs.snapshot,
            "tick_id": book.current.tick_id,
            "as_of": TIME,
            "method": METHOD_VERSION,
            "detail": result.detail.model_dump() if result.detail else None,
        }
        frames.append(json.dumps(message, separators=(",", ":")))
    return tuple(frames)


async def main(port: int) -> None:
    """Serve until the process ends."""
    book = PriceBook(open_price_source("simulated"), now=lambda: 0.0)
    await book.open()
    answers: dict[str | bytes, tuple[str, ...]] = {
        json.dumps({"action": "analyze", "ticker": ticker}): ready_frames(book, ticker) for ticker in HOLDINGS
    }

    def frames_for(asked: str | bytes) -> tuple[str, ...]:
        ready = answers.get(asked)
        if ready is None:
            # Once for each ticker of the load: frames as long as the others.
            request = json.loads(asked)
            known = answers[json.dumps({"action": "analyze", "ticker": "AAPL"})]
            if request["action"] != "analyze":
                return ('{"type":"portfolio"}',)
            ready = tuple(each.replace('"AAPL"', json.dumps(request["ticker"])) for each in known)
            answers[asked] = ready
        return ready

    async def answer(request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            while True:
                for ready in frames_for(await socket.get_message()):
                    await socket.send_message(ready)
        except ConnectionClosed:
            return

    await serve_websocket(answer, "127.0.0.1", port, ssl_context=None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    trio.run(main, parser.parse_args().port)
