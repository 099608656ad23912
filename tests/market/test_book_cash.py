"""Cash costs 1 at every tick, without a column, whatever the source quotes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from portfolio_trio.market import MarketError, PriceBook, PriceSourceError, SimulatedSource
from tests.market.fakes import ScriptedSource, opened, some_bars
from tests.support.clock import ManualClock

pytestmark = pytest.mark.trio


async def test_it_costs_1_at_every_tick_and_has_no_column() -> None:
    source = ScriptedSource(AAPL=1.5)
    book, _ = await opened(source, cash=("USD", "CASH"))
    for _ in range(3):
        assert book.current.prices == {"AAPL": 1.5, "CASH": 1.0, "USD": 1.0}
        assert book.prices_for(["CASH", "AAPL"]) == {"CASH": 1.0, "AAPL": 1.5}
        await book.advance()
    assert book.bars.tickers == ("AAPL",)
    assert (book.source_name, book.market_name) == ("scripted", "scripted, cash CASH, cash USD")
    # The source is asked for nothing that is not its own.
    assert source.asked == [{}, {"AAPL": 1.5}, {"AAPL": 1.5}, {"AAPL": 1.5}]
    assert source.admitted == []


async def test_those_who_commit_the_tick_see_it_too() -> None:
    book, _ = await opened(ScriptedSource(AAPL=1.5), cash=("CASH",))
    seen = []

    async def commit(tick: object) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(tick)

    tick = await book.advance(commit)
    assert seen == [tick]
    assert tick.prices == {"AAPL": 1.5, "CASH": 1.0}


async def test_it_stays_when_the_source_fails_and_when_names_leave() -> None:
    source = ScriptedSource(AAPL=1.5, MSFT=2.0)
    book, _ = await opened(source, cash=("CASH",))
    source.quote_error = PriceSourceError("gone")
    assert (await book.advance()).prices == {"AAPL": 1.5, "MSFT": 2.0, "CASH": 1.0}
    source.bars = some_bars("MSFT")
    assert (await book.advance()).prices == {"MSFT": 2.0, "CASH": 1.0}


async def test_it_stays_when_the_tick_of_another_process_is_taken() -> None:
    book, _ = await opened(ScriptedSource(AAPL=1.5), cash=("CASH",))
    other = replace(book.current, tick_id=book.current.tick_id + 1, prices={"AAPL": 3.0})
    await book.adopt(other)
    assert book.current.prices == {"AAPL": 3.0, "CASH": 1.0}
    await book.adopt(replace(other, tick_id=other.tick_id + 1, prices={"AAPL": 4.0, "CASH": 7.0}))
    assert book.current.prices == {"AAPL": 4.0, "CASH": 1.0}


async def test_a_column_of_ones_is_cash_and_a_quote_for_it_does_not_count() -> None:
    source = ScriptedSource(AAPL=1.5, CASH=72.5)
    source.bars = some_bars("AAPL", "CASH", level=1.0)
    book, _ = await opened(source, cash=("CASH",))
    assert book.current.prices == {"AAPL": 1.5, "CASH": 1.0}
    assert not book.unpriced


async def test_a_column_that_is_something_else_is_refused_by_name() -> None:
    source = ScriptedSource(AAPL=1.5, CASH=72.5)
    with pytest.raises(MarketError, match=r"CASH at 10 on 2026-11-01.*--cash"):
        await opened(source, cash=("CASH",))
    # Called otherwise, it is a stock like any other.
    book, _ = await opened(source, cash=("USD",))
    assert book.current.prices == {"AAPL": 1.5, "CASH": 72.5, "USD": 1.0}
    # While the server runs, such a file keeps the old bars.
    bars, source.bars = source.bars, some_bars("AAPL", "USD")
    assert (await book.advance()).prices["USD"] == 1.0
    assert book.bars is bars
    assert "USD at 10" in str(book.last_error)


async def test_a_market_that_makes_up_any_name_makes_up_no_cash() -> None:
    book = PriceBook(SimulatedSource(3), now=ManualClock(), cash=("CASH",))
    await book.open()
    await book.advance()
    assert book.prices_for(["CASH"]) == {"CASH": 1.0}
    assert "CASH" not in book.bars.column
