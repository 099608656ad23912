"""The clients of the load driver: their requests, timing, and records of the answers."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import deque
from typing import Any, Final

import orjson
from _portfolios import COMMON, WIDE_MARKET
from _sockets import Socket, frame
from typing_extensions import override

TICKERS: Final = tuple(COMMON)
ANALYZE: Final = {
    ticker: frame(json.dumps({"action": "analyze", "ticker": ticker}).encode())
    for ticker in (*TICKERS, *WIDE_MARKET)
}
GET_PORTFOLIO: Final = frame(b'{"action":"get_portfolio"}')
RESULTS: Final = 5
HOLD_SECONDS: Final = 20.0


class Clock:
    """When measuring begins and ends, for all clients of a run."""

    def __init__(self) -> None:
        self.begin = self.end = math.inf

    def start(self, warm_up: float, seconds: float) -> None:
        """Measure for a number of seconds, after a warm-up."""
        self.begin = time.perf_counter() + warm_up
        self.end = self.begin + seconds

    def counts(self, moment: float) -> bool:
        """Whether what ended at this moment counts."""
        return self.begin <= moment < self.end


class Analyst(Socket):
    """Asks, takes five results, asks again."""

    def __init__(self, clock: Clock, number: int) -> None:
        super().__init__()
        self._clock = clock
        self._turn = number
        self._asked = 0.0
        self._got = RESULTS
        self._first = 0.0
        self.firsts: list[float] = []
        self.lasts: list[float] = []
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()
        self._tickers = TICKERS
        self._holds: asyncio.Future[None] | None = None

    @property
    def missing(self) -> int:
        """Results that should have come and did not."""
        return RESULTS - self._got

    async def hold(self, holdings: dict[str, float]) -> None:
        """Hold something else than a new session does, and ask for that."""
        self._tickers = tuple(holdings)
        self._holds = asyncio.get_running_loop().create_future()
        self.send(frame(json.dumps({"action": "set_holdings", "holdings": holdings}).encode()))
        await asyncio.wait_for(self._holds, HOLD_SECONDS)

    def ask(self) -> None:
        """Ask for the next ticker, unless time is up."""
        now = time.perf_counter()
        if now >= self._clock.end:
            self.done.set_result(None)
            return
        self._turn += 1
        self._got, self._asked = 0, now
        self._ticker = self._tickers[self._turn % len(self._tickers)]
        self.send(ANALYZE[self._ticker])

    @override
    def on_message(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        kind = message["type"]
        if self._holds is not None and not self._holds.done():
            if kind == "error":
                self._holds.set_exception(ConnectionError(message["detail"]))
            elif kind == "portfolio":
                self._holds.set_result(None)
            return
        if kind == "error":
            self.errors += 1
        if kind != "analysis_result" or message["ticker"] != self._ticker:
            return
        now = time.perf_counter()
        self._got += 1
        if self._got == 1:
            self._first = now
        if self._got == RESULTS:
            if self._clock.counts(now):
                self.firsts.append(self._first - self._asked)
                self.lasts.append(now - self._asked)
            self.ask()

    @override
    def on_closed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Switcher(Socket):
    """Asks, takes the first result, thinks, asks for another ticker while the rest is outstanding."""

    def __init__(self, clock: Clock, number: int, think: float) -> None:
        super().__init__()
        self._clock = clock
        self._turn = number
        self._think = think
        self._draw = random.Random(number)  # noqa: S311 - spreads load
        self._ticker = ""
        self._asked: float | None = None
        self.latencies: list[float] = []
        self.stale = 0
        self.done = asyncio.get_running_loop().create_future()

    def ask(self) -> None:
        """Switch to the next ticker, unless time is up."""
        self._asked = time.perf_counter()
        if self._asked >= self._clock.end or self.closed:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._turn += 1
        self._ticker = TICKERS[self._turn % len(TICKERS)]
        self.send(ANALYZE[self._ticker])

    @override
    def on_message(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        if message["type"] != "analysis_result":
            return
        if message["ticker"] != self._ticker:
            # Before the first of the new one it may have been on its way when the switch was sent.
            self.stale += self._asked is None
            return
        if self._asked is None:
            return
        now = time.perf_counter()
        if self._clock.counts(now):
            self.latencies.append(now - self._asked)
        self._asked = None
        if self._think:
            asyncio.get_running_loop().call_later(self._draw.uniform(0, 2 * self._think), self.ask)
        else:
            self.ask()

    @override
    def on_closed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Caller(Socket):
    """One request at a time, each with one answer."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answer.cancel()

    async def ask(self, ready: bytes) -> dict[str, Any]:
        """Send a request and return the next message."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send(ready)
        return await self._answer

    @override
    def on_message(self, payload: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(orjson.loads(payload))

    @override
    def on_closed(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("closed before the answer"))


class Solo(Analyst):
    """One client whose analyses are counted and not timed out."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, 0)
        self._left = 0

    async def analyze(self, count: int) -> list[float]:
        """So many analyses, one after another; how long each took."""
        self._left, self.lasts = count, []
        self.done = asyncio.get_running_loop().create_future()
        self.ask()
        await self.done
        return self.lasts

    @override
    def ask(self) -> None:
        if not self._left:
            self.done.set_result(None)
            return
        self._left -= 1
        super().ask()


class Visitor(Socket):
    """Asks at random moments, whether or not the server is quick: now the portfolio, now an analysis.

    Requests that become due while an answer is outstanding are sent right after it, and their time counts
    from when they were due: a slow moment of the server affects all requests that fall into it.
    """

    def __init__(self, clock: Clock, number: int, think: float) -> None:
        super().__init__()
        self._clock = clock
        self._think = think
        self._draw = random.Random(number)  # noqa: S311 - spreads load
        self._waiting: deque[float] = deque()
        self._ticker = ""
        self._run = -1
        self._got = 0
        self._over = False
        self.portfolios: list[float] = []
        self.analyses: list[float] = []
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()

    @property
    def missing(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def come(self) -> None:
        """Something falls due now; the next does after a random time of mean ``think``."""
        now = time.perf_counter()
        if now >= self._clock.end or self.closed:
            self._over = True
            self._end()
            return
        self._waiting.append(now)
        if len(self._waiting) == 1:
            self._ask()
        asyncio.get_running_loop().call_later(self._draw.expovariate(1 / self._think), self.come)

    def _ask(self) -> None:
        self._got, self._run = 0, -1
        self._ticker = self._draw.choice(TICKERS) if self._draw.random() < 0.5 else ""  # noqa: PLR2004 - one half
        self.send(ANALYZE[self._ticker] if self._ticker else GET_PORTFOLIO)

    @override
    def on_message(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        kind = message["type"]
        if kind == "error":
            self.errors += 1
        elif kind == "portfolio" and not self._ticker:
            self._answered(self.portfolios)
        elif kind == "analysis_result" and message["ticker"] == self._ticker:
            self._take_result(message["run_id"])

    def _take_result(self, run: int) -> None:
        # A tick that moves the portfolio by much restarts the analysis, with a new number.
        self._got = self._got + 1 if run == self._run else 1
        self._run = run
        if self._got == RESULTS:
            self._answered(self.analyses)

    def _answered(self, taken: list[float]) -> None:
        now = time.perf_counter()
        due = self._waiting.popleft()
        if self._clock.counts(now):
            taken.append(now - due)
        if self._waiting:
            self._ask()
        else:
            self._end()

    def _end(self) -> None:
        if self._over and (self.closed or not self._waiting) and not self.done.done():
            self.done.set_result(None)

    @override
    def on_closed(self) -> None:
        self._over = True
        self._end()
