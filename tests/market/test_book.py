"""The price book: ticks, admissions, new bars."""

from __future__ import annotations

import itertools
import logging
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from portfolio_trio.market import (
    Admission,
    BookNotOpenError,
    PriceBook,
    SimulatedSource,
    Tick,
    Unusable,
)
from tests.market.fakes import ScriptedSource, opened, some_bars
from tests.market.laws import LAW
from tests.support.clock import START, ManualClock
from tests.support.logs import events, log_text

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.trio

START_ID = int(START * 1000)


async def test_first_tick_has_prices_id_and_time() -> None:
    book, _ = await opened(ScriptedSource(AAPL=1.5, MSFT=2))
    assert book.current == Tick(START_ID, "2026-11-18T11:06:40.000Z", {"AAPL": 1.5, "MSFT": 2.0})
    assert book.bars.tickers == ("AAPL", "MSFT")
    assert book.source_name == "scripted"
    assert book.last_error is None


async def test_nothing_to_read_before_open() -> None:
    book = PriceBook(ScriptedSource(AAPL=1.0), now=ManualClock())
    with pytest.raises(BookNotOpenError, match="await open"):
        _ = book.current
    with pytest.raises(BookNotOpenError, match="await open"):
        _ = book.bars
    with pytest.raises(BookNotOpenError):
        book.prices_for(["AAPL"])


@LAW
@given(st.lists(st.floats(-100.0, 100.0), max_size=20))
async def test_tick_ids_rise_whatever_the_clock_does(moves: list[float]) -> None:
    book, clock = await opened(ScriptedSource(AAPL=1.0))
    for seconds in moves:
        before = book.current.tick_id
        clock.move(seconds)
        tick = await book.advance()
        assert tick.tick_id == max(before + 1, int(clock() * 1000))


async def test_a_tick_hands_the_previous_prices_to_the_source() -> None:
    source = ScriptedSource(AAPL=1.0)
    book, _ = await opened(source)
    source.prices = {"AAPL": 2.0}
    await book.advance()
    await book.advance()
    assert source.asked == [{}, {"AAPL": 1.0}, {"AAPL": 2.0}]


@pytest.mark.parametrize(
    "bad",
    [math.nan, math.inf, -math.inf, 0.0, -1.0, True, "1.0", None, Decimal(1), 10**400, Unusable("halted")],
)
async def test_a_bad_price_leaves_out_its_own_name_only(bad: Any) -> None:
    source = ScriptedSource(AAPL=1.0, MSFT=2.0)
    book, _ = await opened(source)
    source.prices = {"AAPL": 3.0, "MSFT": bad}
    tick = await book.advance()
    assert tick.prices == {"AAPL": 3.0}
    assert not tick.stale
    assert list(book.unpriced) == ["MSFT"]
    assert book.prices_for(["AAPL", "MSFT"]) == {"AAPL": 3.0}
    source.prices = {"AAPL": 3.0, "MSFT": 4.0}
    assert (await book.advance()).prices == {"AAPL": 3.0, "MSFT": 4.0}
    assert not book.unpriced


@pytest.mark.parametrize("good", [1, 1.0, np.float64(1.0), np.float32(1.0), np.int64(1)])
async def test_any_real_number_is_a_price(good: Any) -> None:
    book, _ = await opened(ScriptedSource(AAPL=good))
    assert book.current.prices == {"AAPL": 1.0}
    assert type(book.current.prices["AAPL"]) is float


async def test_the_reason_for_a_missing_price_is_kept_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ScriptedSource(AAPL=1.0, MSFT=Unusable("halted"), V=math.nan)
    with caplog.at_level(logging.WARNING):
        book, _ = await opened(source)
        await book.advance()
        await book.advance()
    assert book.unpriced == {"MSFT": "halted", "V": "nan is not a price"}
    assert events(caplog) == [("unpriced", {"names": 2, "reasons": "MSFT (halted); V (nan is not a price)"})]


async def test_names_that_come_and_go_with_each_tick_are_a_line_for_each_period(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    source = ScriptedSource(AAPL=1.0, MSFT=2.0)
    book, _ = await opened(source)
    for number in range(120):
        source.prices["MSFT"] = Unusable("halted") if number % 2 else 2.0
        await book.advance()
        await trio.sleep(1)
    said = [fields for _, fields in events(caplog, "unpriced")]
    assert [fields.get("held_back", 0) for fields in said] == [0, 29]


async def test_a_name_that_is_quoted_no_more_has_no_price() -> None:
    source = ScriptedSource(AAPL=1.0, MSFT=2.0)
    book, _ = await opened(source)
    del source.prices["MSFT"]
    assert (await book.advance()).prices == {"AAPL": 1.0}


async def test_a_name_without_bars_is_not_priced() -> None:
    source = ScriptedSource(AAPL=1.0)
    source.prices["MSFT"] = 2.0
    book, _ = await opened(source)
    assert book.current.prices == {"AAPL": 1.0}


async def test_prices_are_also_in_the_order_of_the_bars() -> None:
    source = ScriptedSource(AAPL=1.0, MSFT=math.nan, V=3.0)
    source.supplies = {"KO": 7.0}
    book, _ = await opened(source, cash=("USD",))
    first = book.column_prices
    # The last one is that of cash.
    assert book.bars.tickers == ("AAPL", "MSFT", "V")
    np.testing.assert_array_equal(first, [1.0, math.nan, 3.0, 1.0])
    assert book.column_prices is first
    assert not first.flags.writeable
    book.prices_for(["KO"])
    assert book.bars.column["KO"] == 3
    np.testing.assert_array_equal(book.column_prices, [1.0, math.nan, 3.0, 7.0, 1.0])
    source.prices |= {"V": 4.0, "KO": 8.0}
    await book.advance()
    np.testing.assert_array_equal(book.column_prices, [1.0, math.nan, 4.0, 8.0, 1.0])


class TestAdmission:
    async def test_a_new_name_joins_the_current_tick_and_the_bars(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0, "V": 8.0}
        book, _ = await opened(source)
        before, bars = book.current, book.bars
        assert book.prices_for(["MSFT", "AAPL", "V", "MSFT"]) == {"MSFT": 7.0, "AAPL": 1.0, "V": 8.0}
        assert book.current == Tick(before.tick_id, before.as_of, {"AAPL": 1.0, "MSFT": 7.0, "V": 8.0})
        assert before.prices == {"AAPL": 1.0}  # what was handed out does not change
        assert book.bars.tickers == ("AAPL", "MSFT", "V")
        assert book.bars.dates is bars.dates
        assert book.bars.closes.tolist() == [[10.0, 7.0, 8.0]] * 3
        assert book.bars is not bars
        assert source.admitted == ["MSFT", "V"]

    async def test_known_names_change_nothing(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        book.prices_for(["MSFT"])
        tick, bars = book.current, book.bars
        book.prices_for(["MSFT", "AAPL"])
        assert book.current is tick
        assert book.bars is bars

    async def test_what_the_source_does_not_supply_is_left_out(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        bars = book.bars
        assert book.prices_for(["nonsense", "", "MSFT"]) == {}
        assert book.bars is bars

    async def test_a_listed_name_without_a_price_is_not_admitted(self) -> None:
        source = ScriptedSource(AAPL=1.0, MSFT=math.nan)
        source.supplies = {"MSFT": 5.0}
        book, _ = await opened(source)
        assert book.prices_for(["MSFT"]) == {}
        assert source.admitted == []

    async def test_the_book_is_bounded(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"A": 1.0, "B": 2.0, "C": 3.0}
        book, _ = await opened(source, max_names=3)
        assert book.prices_for(["A", "B", "C"]) == {"A": 1.0, "B": 2.0}
        assert book.prices_for(["C"]) == {}
        assert book.bars.tickers == ("AAPL", "A", "B")

    @pytest.mark.parametrize(
        "admission",
        [
            Admission(np.ones(3), math.nan),
            Admission(np.ones(3), 0.0),
            Admission(np.ones(4), 1.0),
            Admission(np.ones((3, 1)), 1.0),
            ZeroDivisionError("in the plug-in"),
        ],
    )
    async def test_a_source_that_admits_badly_spoils_nothing(
        self, admission: Admission | Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Bad(ScriptedSource):
            @override
            def admit(self, ticker: str) -> Admission | None:
                self.admitted.append(ticker)
                if isinstance(admission, Exception):
                    raise admission
                return admission

        book, _ = await opened(Bad(AAPL=1.0))
        assert book.prices_for(["AAPL", "MSFT"]) == {"AAPL": 1.0}
        assert book.bars.tickers == ("AAPL",)
        assert "MSFT" in log_text(caplog)
        # Each client that asks for a name comes by there.
        for _ in range(10):
            book.prices_for(["MSFT"])
        assert len(caplog.records) == 1

    async def test_a_name_admitted_while_the_source_quotes_keeps_its_price(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        source.gate, source.quoting = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.advance)
            await source.quoting.wait()
            book.prices_for(["MSFT"])
            source.prices = {"AAPL": 2.0}
            source.gate.set()
        assert book.current.prices == {"AAPL": 2.0, "MSFT": 7.0}
        source.prices = {"AAPL": 2.0, "MSFT": 8.0}
        assert (await book.advance()).prices == {"AAPL": 2.0, "MSFT": 8.0}

    @LAW
    @given(st.permutations(["A", "B", "C", "D", "E"]), st.sets(st.integers(1, 4)))
    async def test_order_and_batches_do_not_matter(self, order: list[str], cuts: set[int]) -> None:
        async def prices(batches: list[list[str]]) -> tuple[Mapping[str, float], dict[str, list[float]]]:
            book = PriceBook(SimulatedSource(3), now=ManualClock())
            await book.open()
            for batch in batches:
                book.prices_for(batch)
            columns = {t: book.bars.closes[:, i].tolist() for t, i in book.bars.column.items()}
            return (await book.advance()).prices, columns

        bounds = [0, *sorted(cuts), 5]
        batches = [order[a:b] for a, b in itertools.pairwise(bounds)]
        assert await prices(batches) == await prices([["A", "B", "C", "D", "E"]])


class TestNewBars:
    async def test_new_bars_replace_the_old_and_keep_admitted_names(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        book.prices_for(["MSFT"])
        source.bars = some_bars("AAPL", days=4)
        source.prices["MSFT"] = 8.0
        tick = await book.advance()
        assert book.bars.closes.tolist() == [[10.0, 7.0]] * 4
        assert tick.prices == {"AAPL": 1.0, "MSFT": 8.0}

    async def test_the_same_bars_change_nothing(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        bars = book.bars
        await book.advance()
        assert book.bars is bars

    async def test_a_name_that_left_the_bars_has_no_price(self) -> None:
        source = ScriptedSource(AAPL=1.0, MSFT=2.0)
        book, _ = await opened(source)
        source.bars = some_bars("AAPL")
        source.quote_error = OSError("gone")
        tick = await book.advance()
        assert tick.prices == {"AAPL": 1.0}
        assert tick.stale

    async def test_broken_bars_keep_the_old_and_the_prices_go_on(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        bars = book.bars
        source.load_error = OSError("no such file")
        source.prices = {"AAPL": 2.0}
        tick = await book.advance()
        assert tick.prices == {"AAPL": 2.0}
        assert not tick.stale
        assert book.bars is bars
        assert "no such file" in str(book.last_error)
        source.load_error = None
        await book.advance()
        assert book.last_error is None
