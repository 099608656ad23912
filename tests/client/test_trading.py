"""A trade is made once, even if its answer is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from portfolio_trio.client import Disconnected, Limits, RequestFailed, RequestTimedOut
from portfolio_trio.store import OutcomeUnknown
from tests.support.app import open_app
from tests.support.client import STATE, Peer, Transport, enter, scripted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio.testing import MockClock

pytestmark = pytest.mark.trio


async def answer(peer: Peer, expect: Mapping[str, object], **changes: object) -> None:
    """Take one request, which has to say at least this, and answer it with a state."""
    asked = await peer.receive()
    assert {name: asked.get(name) for name in expect} == expect
    await peer.send_state(id=asked["id"], **changes)


def greet(**changes: object) -> Callable[[Peer], Awaitable[None]]:
    """A connection that gives a state, answers one get_portfolio with it, then a trade at its version."""

    async def script(peer: Peer) -> None:
        await peer.send_state(**changes)
        await answer(peer, {"action": "get_portfolio"}, **changes)
        version = changes.get("version", STATE.version)
        await answer(peer, {"action": "trade", "version": version}, version=9, holdings={"AAPL": 105})
        await peer.until_closed()

    return script


async def drop_the_trade(peer: Peer) -> None:
    await peer.send_state()
    asked = await peer.receive()
    assert (asked["action"], asked["version"]) == ("trade", STATE.version)


async def test_a_trade_whose_answer_was_lost_is_not_sent_again_if_it_was_made(
    autojump_clock: MockClock,
) -> None:
    made = greet(version=2, holdings={"AAPL": 105})
    async with scripted(drop_the_trade, made) as (portfolio, _):
        assert (await portfolio.trade("aapl", 5)).version == 2


async def test_one_that_was_not_made_is_sent_again_for_the_same_version(autojump_clock: MockClock) -> None:
    async with scripted(drop_the_trade, greet()) as (portfolio, _):
        assert (await portfolio.trade("AAPL", 5)).version == 9


@pytest.mark.parametrize(
    "now", [{"version": 3, "holdings": {"AAPL": 105}}, {"version": 2, "holdings": {"AAPL": 95}}]
)
async def test_where_nobody_can_tell_that_is_said(autojump_clock: MockClock, now: dict[str, Any]) -> None:
    async with scripted(drop_the_trade, greet(**now)) as (portfolio, _):
        with pytest.raises(RequestFailed, match="check whether it was made") as caught:
            await portfolio.trade("AAPL", 5)
        assert (caught.value.code, caught.value.retryable) == ("outcome_unknown", False)
        assert isinstance(caught.value.__cause__, Disconnected)


async def test_an_edit_of_somebody_else_is_no_reason_to_give_up(autojump_clock: MockClock) -> None:
    async def conflict(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        fields = {"code": "version_conflict", "detail": "", "retryable": True}
        await peer.send(type="error", id=asked["id"], **fields)
        await answer(peer, {"action": "get_portfolio"}, version=4)
        await answer(peer, {"action": "trade", "version": 4}, version=5)
        await peer.until_closed()

    async with scripted(conflict) as (portfolio, _):
        assert (await portfolio.trade("AAPL", 5)).version == 5
    async with scripted(conflict) as (portfolio, _):
        with pytest.raises(RequestFailed, match="version_conflict"):
            await portfolio.trade("AAPL", 5, version=1)


async def test_a_server_that_never_answers_is_not_asked_for_ever(autojump_clock: MockClock) -> None:
    async def silent(peer: Peer) -> None:
        await peer.send_state()
        await peer.until_closed()

    async with scripted(silent, limits=Limits(request_seconds=5)) as (portfolio, _):
        with pytest.raises(RequestTimedOut) as caught:
            await portfolio.trade("AAPL", 5)
        assert caught.value.sent


@pytest.mark.parametrize("ran", [True, False])
async def test_a_reply_that_the_server_lost_leads_to_one_trade(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    ran: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with open_app() as app, enter(app) as portfolio:
        trade, calls = app.store.trade, 0

        async def lossy(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                if ran:
                    await trade(*args, **kwargs)
                raise OutcomeUnknown("s")
            return await trade(*args, **kwargs)

        monkeypatch.setattr(app.store, "trade", lossy)
        assert (await portfolio.trade("AAPL", 5)).holdings["AAPL"] == 105
        assert calls == (1 if ran else 2)
        assert ((await app.document())["version"], (await app.document())["holdings"]["AAPL"]) == (2, 105)


@pytest.mark.parametrize("times", [3, 99])
async def test_the_portfolio_is_read_again_while_the_store_is_away(
    autojump_clock: MockClock, times: int
) -> None:
    """A reply is lost because the server lost its store: the first reads find it away."""

    async def away(peer: Peer) -> None:
        await peer.send_state()
        asked = await peer.receive()
        await peer.send(type="error", id=asked["id"], code="outcome_unknown", detail="", retryable=False)
        for _ in range(min(times, 7)):
            asked = await peer.receive()
            assert asked["action"] == "get_portfolio"
            await peer.send(type="error", id=asked["id"], code="unavailable", detail="", retryable=True)
        if times < 7:
            await answer(peer, {"action": "get_portfolio"}, version=2, holdings={"AAPL": 105})
        await peer.until_closed()

    async with scripted(away) as (portfolio, _):
        if times < 7:
            assert (await portfolio.trade("AAPL", 5)).version == 2
        else:
            with pytest.raises(RequestFailed, match="outcome_unknown"):
                await portfolio.trade("AAPL", 5)


async def test_a_connection_cut_behind_the_trade_leads_to_one_trade(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        transport = Transport(app)
        async with enter(app, transport) as portfolio, trio.open_nursery() as nursery:

            async def cut() -> None:
                while (await app.document())["version"] == 1:
                    await trio.lowlevel.checkpoint()
                await transport.cut()

            nursery.start_soon(cut)
            assert (await portfolio.trade("AAPL", 5)).holdings["AAPL"] == 105
        assert (await app.document())["holdings"]["AAPL"] == 105
