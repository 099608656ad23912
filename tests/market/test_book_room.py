"""Room in the book: no session takes all of it, and names that nobody holds are removed."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from typing_extensions import override

from portfolio_trio.market import Admission, MarketFullError, PriceBook, SimulatedSource, Tick
from portfolio_trio.market._admissions import IDLE_ROUNDS, PER_SESSION
from portfolio_trio.market._simulated import LISTED
from tests.market.fakes import ScriptedSource
from tests.support.clock import ManualClock
from tests.support.logs import events

pytestmark = pytest.mark.trio


async def market(*, max_names: int = 10_000) -> tuple[PriceBook, ManualClock]:
    clock = ManualClock()
    book = PriceBook(CheapSource(), now=clock, max_names=max_names)
    await book.open()
    return book, clock


class CheapSource(SimulatedSource):
    """Supplies every name at once: one column for all of them."""

    @override
    def admit(self, ticker: str) -> Admission | None:
        return Admission(self._bars.closes[:, 0], 100.0)


def invented(request: int, count: int = 500) -> list[str]:
    return [f"X{request}Y{number}" for number in range(count)]


async def test_one_session_cannot_take_all_the_room() -> None:
    book, _ = await market()
    for request in range(20):
        if request < PER_SESSION // 500:
            assert len(book.prices_for(invented(request), session_id="greedy")) == 500
        else:
            with pytest.raises(MarketFullError, match="this session may add 0"):
                book.prices_for(invented(request), session_id="greedy")
    assert book.prices_for(["IBM", "ORCL"], session_id="other").keys() == {"IBM", "ORCL"}
    assert len(book.prices_for(invented(99), session_id="third")) == 500


async def test_one_address_cannot_take_all_the_room_with_many_sessions() -> None:
    book, _ = await market()
    for request in range(200):
        with suppress(MarketFullError):
            book.prices_for(invented(request), session_id=f"greedy {request}", address="192.0.2.1")
    # Name by name it gets no more, either.
    for request in range(2_000):
        with suppress(MarketFullError):
            book.prices_for([f"Z{request}"], session_id=f"z{request}", address="192.0.2.1")
    with pytest.raises(MarketFullError, match="the sessions of this address together may add 0 now"):
        book.prices_for(["Z"], session_id="z", address="192.0.2.1")
    assert 4_000 < len(book.bars.tickers) <= 5_000 + len(LISTED)
    # Another address has room, and after it the next.
    for number in range(2, 5):
        asked = {"session_id": f"s{number}", "address": f"192.0.2.{number}"}
        for request in range(2):
            assert len(book.prices_for(invented(1_000 * number + request, 200), **asked)) == 200


async def test_an_address_gets_its_share_back_with_the_names() -> None:
    book, clock = await market(max_names=200 + len(LISTED))
    for number in range(100):
        book.prices_for([f"A{number}"], session_id=f"s{number}", address="192.0.2.1")
    with pytest.raises(MarketFullError, match="this address"):
        book.prices_for(["B"], session_id="b", address="192.0.2.1")
    await sweep(book, clock, count=IDLE_ROUNDS)
    assert book.prices_for(["B"], session_id="b", address="192.0.2.1").keys() == {"B"}
    assert not (book._admissions._by_address.keys() - {"192.0.2.1"})
    await sweep(book, clock, count=IDLE_ROUNDS)
    # Nothing is remembered of addresses without names.
    assert not book._admissions._by_address
    assert not book._admissions._by_session


async def test_many_sessions_leave_room_for_the_next() -> None:
    book, _ = await market()
    for request in range(200):
        try:
            book.prices_for(invented(request), session_id=f"greedy {request}")
        except MarketFullError:
            continue
    assert book.prices_for(["IBM"], session_id="other").keys() == {"IBM"}
    assert len(book.bars.tickers) < 10_000


async def test_a_refused_request_admits_nothing() -> None:
    book, _ = await market()
    before = book.bars
    with pytest.raises(MarketFullError):
        book.prices_for([*invented(1), *invented(2), *invented(3)], session_id="greedy")
    assert book.bars is before
    # What is known costs nothing.
    assert len(book.prices_for(LISTED, session_id="greedy")) == len(LISTED)


async def test_what_is_held_already_is_nobodys_share() -> None:
    book, _ = await market(max_names=1_000)
    assert len(book.prices_for(invented(1))) == 500
    assert len(book.prices_for(invented(2))) == 1_000 - 500 - len(LISTED)


async def test_a_source_that_supplies_no_names_has_no_full_market() -> None:
    source = ScriptedSource(AAPL=1.0)
    book = PriceBook(source, now=ManualClock(), max_names=1)
    await book.open()
    assert book.prices_for(["NOPE"], session_id="s") == {}


async def test_the_limit_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    book, clock = await market(max_names=len(LISTED))
    for seconds in (0, 1, 58, 2, 60):
        clock.move(seconds)
        for number in range(10):
            with pytest.raises(MarketFullError):
                book.prices_for([f"N{number}"], session_id="s")
    said = [fields for _, fields in events(caplog, "market_full", level="warning")]
    assert len(said) == 3
    assert (said[1]["session"], said[1]["held_back"]) == ("s", 29)


async def sweep(book: PriceBook, clock: ManualClock, *held: str, count: int = 1) -> None:
    for _ in range(count):
        clock.move(30)
        await book.advance()
        book.release(held)


async def test_what_nobody_holds_gives_its_place_back() -> None:
    book, clock = await market(max_names=1_100)
    book.prices_for(["IBM", *invented(1, 100)], session_id="s")
    await sweep(book, clock, "IBM", count=IDLE_ROUNDS - 1)
    assert len(book.bars.tickers) == len(LISTED) + 101
    await sweep(book, clock, "IBM")
    assert book.bars.tickers == (*LISTED, "IBM")
    assert set(book.current.prices) == set(book.bars.tickers)
    # The session has its share back, too.
    for request in range(20):
        book.prices_for(invented(request, 100), session_id="s")
        await sweep(book, clock, count=IDLE_ROUNDS)


async def test_what_is_asked_for_meanwhile_stays() -> None:
    book, clock = await market()
    book.prices_for(["IBM"], session_id="s")
    for _ in range(5):
        await sweep(book, clock, count=IDLE_ROUNDS - 1)
        assert book.prices_for(["IBM"], session_id="other")


async def test_what_is_to_be_kept_stays() -> None:
    book, clock = await market()
    book.prices_for(["IBM"])
    book.keep(["IBM"])
    await sweep(book, clock, count=5)
    assert "IBM" in book.bars.column


async def test_back_within_the_tick_a_name_costs_what_it_did() -> None:
    """Others may have seen it at this tick."""
    book, clock = await market()
    book.prices_for(["IBM"])
    await sweep(book, clock, count=IDLE_ROUNDS - 1)
    clock.move(30)
    price = (await book.advance()).prices["IBM"]
    book.release(())
    assert "IBM" not in book.current.prices
    assert book.prices_for(["IBM"]) == {"IBM": price}
    assert price != 100.0


async def test_a_follower_drops_what_the_leader_does_not_know() -> None:
    book, _ = await market()
    book.prices_for(["IBM", "ORCL"], session_id="s")
    for number in range(1, 6):
        prices = {**dict.fromkeys(LISTED, 1.0), "IBM": 5.0}
        await book.adopt(Tick(10**15 + number, "then", prices))
        await trio.lowlevel.checkpoint()
    assert book.bars.tickers == (*LISTED, "IBM")


async def test_names_that_lose_their_history_are_nobodys_share_any_more() -> None:
    source = ScriptedSource(AAPL=1.0)
    source.supplies = {"MSFT": 7.0}
    book = PriceBook(source, now=ManualClock())
    await book.open()
    book.prices_for(["MSFT"], session_id="s")
    assert len(book._admissions) == 1
    source.supplies = {}
    source.bars = ScriptedSource(AAPL=1.0, GOOG=2.0).bars
    await book.advance()
    assert len(book._admissions) == 0
