"""One client invents thousands of names; the others still get theirs."""

from __future__ import annotations

import json
from typing import Any

import trio

from portfolio_trio.http import Head, Request
from portfolio_trio.market._simulated import LISTED
from portfolio_trio.server.session_route import SessionRoute
from tests.http.memory_server import VIRTUAL_TIME
from tests.support.app import HOLDINGS, open_app

INTERVAL = 30.0


def invented(request: int) -> dict[str, Any]:
    return {f"X{request}Y{number}": 1 for number in range(500)}


@VIRTUAL_TIME
async def test_twenty_times_500_names_lock_nobody_out() -> None:
    async with open_app(market_update_interval_seconds=INTERVAL) as app:
        greedy, other = await app.connect("greedy"), await app.connect("other")
        codes, answer = [], {}
        for request in range(20):
            answer = await greedy.ask("set_holdings", holdings=invented(request), id=request)
            codes.append(answer.get("code", "fine"))
            assert answer["id"] == request
        assert codes == ["fine"] * 2 + ["market_full"] * 18
        assert answer["retryable"]
        assert (await other.ask("trade", ticker="IBM", shares=1))["holdings"] == {**HOLDINGS, "IBM": 1}
        assert (await greedy.ask("set_holdings", holdings={"AAPL": 1}))["holdings"] == {"AAPL": 1}
        # Names that nobody holds are removed; held names and the default holdings stay.
        await trio.sleep(5.5 * INTERVAL)
        book = app.server.services.book
        assert set(book.bars.tickers) == {*LISTED, "IBM"}
        assert (await greedy.ask("set_holdings", holdings=invented(99)))["type"] == "portfolio"


@VIRTUAL_TIME
async def test_new_sessions_bring_no_more_than_their_share() -> None:
    async with open_app(sessions_per_second=1_000) as app:
        ask = SessionRoute(app.server.services, app.server.gate)
        answers = []
        for request in range(40):
            body = json.dumps({"holdings": invented(request)}).encode()
            answers.append(await ask(Request(Head("POST", "/session", {}, ()), body)))
        assert {answer.status for answer in answers} == {201, 503}
        assert json.loads(answers[-1].body)["code"] == "market_full"
        other = await app.connect("other")
        assert "IBM" in (await other.ask("trade", ticker="IBM", shares=1))["holdings"]
