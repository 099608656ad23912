"""Add your own metric: the largest loss of the position from a peak, over the known daily closes.

A metric is a function from the inputs of a run to a number; the decorator gives it its name, the registry its
position. A metric in an installed package is found through the entry-point group `portfolio_trio.metrics`.
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import trio
from trio_websocket import open_websocket_url

from portfolio_trio.metrics import BUILT_IN, AnalysisInputs, Detail, MetricError, Result, metric
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Settings


class DrawdownDetail(Detail):
    """The detail: the number of closes it was computed from."""

    closes: int


@metric("max_drawdown", detail=DrawdownDetail)
def max_drawdown(inputs: AnalysisInputs) -> Result:
    """The largest relative fall from a peak, min over t of P_t / max(P_s, s <= t) - 1; -1..0."""
    closes = inputs.closes
    if not closes.size:
        raise MetricError("insufficient_history", f"{inputs.ticker} has no closes", [inputs.ticker])
    drawdowns = closes / np.maximum.accumulate(closes) - 1.0
    return Result(float(drawdowns.min()), DrawdownDetail(closes=closes.size))


async def main() -> None:
    """Analyse one ticker with six metrics."""
    metrics = BUILT_IN.extended(max_drawdown)
    async with open_server(Settings(port=0), metrics=metrics) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        async with open_websocket_url(f"ws://{host}:{port}/ws/example") as socket:
            await socket.send_message(json.dumps({"action": "analyze", "ticker": "MSFT"}))
            for _ in metrics:
                message = json.loads(await socket.get_message())
                print(
                    f"{message['metric']:17} {message['value']:10.6f}  {json.dumps(message['detail'])[:70]}"
                )
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
