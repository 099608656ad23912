"""One client invents thousands of names; the others still get theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from portfolio_trio.http import Head, Request, _upgrade
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
async def test_one_address_with_many_sessions_locks_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(market_update_interval_seconds=10_000) as app:
        monkeypatch.setattr(app.server.services.book, "_max_names", len(LISTED) + 100)
        ask = SessionRoute(app.server.services, app.server.gate)

        async def post(number: int, peer: str) -> tuple[int, dict[str, Any]]:
            body = json.dumps({"holdings": {f"P{number}": 1}}).encode()
            answer = await ask(Request(Head("POST", "/session", {}, ()), body, peer=peer))
            await trio.sleep(1)
            return answer.status, json.loads(answer.body)

        made = [await post(number, "192.0.2.1") for number in range(30)]
        assert {status for status, _ in made} == {201}
        clients = []
        for number in range(30):
            monkeypatch.setattr(_upgrade, "peer_of", lambda _: "::ffff:192.0.2.1")
            client = await app.connect(f"s{number}")
            clients.append(await client.ask("trade", ticker=f"T{number}", shares=1))
        codes = [answer.get("code") for answer in clients]
        assert codes == [None] * 20 + ["market_full"] * 10
        assert "the sessions of this address together may add 0 now" in clients[-1]["detail"]
        assert clients[-1]["retryable"]
        # What-ifs count as well, and so do new sessions.
        greedy = await app.connect("w")
        assert (await greedy.ask("what_if", trades={"W": 1}))["code"] == "market_full"
        assert (await greedy.ask("set_targets", weights={"W": 1}))["code"] == "market_full"
        assert (await greedy.ask("set_holdings", holdings={"W": 1}))["code"] == "market_full"
        assert (await post(99, "192.0.2.1"))[1]["code"] == "market_full"
        # What is known costs nothing, and others have room.
        assert (await greedy.ask("trade", ticker="T1", shares=1))["holdings"]["T1"] == 1
        monkeypatch.setattr(_upgrade, "peer_of", lambda _: "192.0.2.2")
        other = await app.connect("other")
        assert (await other.ask("trade", ticker="IBM", shares=1))["holdings"]["IBM"] == 1


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
