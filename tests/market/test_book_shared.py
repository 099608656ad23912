"""Price books of several processes: one shares its ticks, the others adopt them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pytest
import trio

from portfolio_trio.market import PriceSourceError, Tick
from tests.market.fakes import ScriptedSource, opened, some_bars
from tests.support.clock import START

pytestmark = pytest.mark.trio

START_ID = int(START * 1000)


class RefusedError(Exception):
    """What a commit raises."""


@dataclass
class Commit:
    """The way to the other processes: takes its time, and refuses while told to."""

    refuses: bool = False
    gate: trio.Event | None = None
    given: Tick | None = None

    async def __call__(self, tick: Tick) -> None:
        self.given = tick
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses:
            raise RefusedError


def tick_of(tick_id: int, *, stale: bool = False, **prices: float) -> Tick:
    return Tick(tick_id, "then", prices, stale)


class TestAdopt:
    async def test_the_first_tick_is_taken_though_the_own_one_is_newer(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        assert await book.adopt(tick_of(7, AAPL=5.0))
        assert book.current == tick_of(7, AAPL=5.0)

    @pytest.mark.parametrize("late", [6, 7])
    async def test_an_older_or_equal_tick_changes_nothing(self, late: int) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        await book.adopt(tick_of(7, AAPL=5.0), unpriced=("MSFT",))
        before, why = book.current, book.unpriced
        assert not await book.adopt(tick_of(late, stale=True, AAPL=6.0))
        assert book.current is before
        assert (book.unpriced, book.last_error) == (why, None)

    async def test_a_newer_tick_takes_the_place_of_the_old_one(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        await book.adopt(tick_of(7, AAPL=5.0))
        assert await book.adopt(tick_of(8, AAPL=6.0))
        assert book.current == tick_of(8, AAPL=6.0)

    async def test_own_ticks_count_as_taken(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        commit = Commit()
        await book.share(commit)
        assert commit.given is book.current
        assert not await book.adopt(book.current)
        tick = await book.advance(commit)
        assert commit.given == tick
        assert not await book.adopt(replace(tick, prices={"AAPL": 9.0}))
        assert book.current is tick

    async def test_ticks_made_after_an_adopted_one_come_after_it(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        far = START_ID + 10**9
        await book.adopt(tick_of(far, AAPL=5.0))
        assert (await book.advance()).tick_id == far + 1

    async def test_the_source_is_asked_with_the_adopted_prices(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        await book.adopt(tick_of(7, AAPL=5.0))
        await book.advance()
        assert source.asked[-1] == {"AAPL": 5.0}

    async def test_what_was_handed_out_does_not_change(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        prices = {"AAPL": 5.0}
        await book.adopt(Tick(7, "then", prices))
        first = book.current
        prices["AAPL"] = 6.0
        await book.adopt(tick_of(8, AAPL=7.0))
        assert first.prices == {"AAPL": 5.0}


class TestNames:
    async def test_a_name_that_is_new_here_is_admitted_with_its_bars(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        await book.adopt(tick_of(7, AAPL=5.0, MSFT=8.0))
        assert book.current.prices == {"AAPL": 5.0, "MSFT": 8.0}
        assert book.bars.tickers == ("AAPL", "MSFT")
        assert book.prices_for(["MSFT"]) == {"MSFT": 8.0}

    async def test_a_name_without_bars_here_is_left_out(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        await book.adopt(tick_of(7, AAPL=5.0, MSFT=8.0))
        assert book.current.prices == {"AAPL": 5.0}
        assert book.prices_for(["MSFT"]) == {}

    async def test_a_full_book_takes_the_prices_of_what_it_knows(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0, "V": 9.0}
        book, _ = await opened(source, max_names=2)
        await book.adopt(tick_of(7, AAPL=5.0, MSFT=8.0, V=9.0))
        assert book.current.prices == {"AAPL": 5.0, "MSFT": 8.0}

    async def test_a_name_that_only_this_process_knows_keeps_its_first_price(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        book.prices_for(["MSFT"])
        for tick_id in (7, 8):
            await book.adopt(tick_of(tick_id, AAPL=5.0))
            assert book.current.prices == {"AAPL": 5.0, "MSFT": 7.0}
        # As soon as it is told a price, that one counts.
        await book.adopt(tick_of(9, AAPL=5.0, MSFT=7.5))
        assert book.current.prices["MSFT"] == 7.5

    async def test_a_name_that_has_no_price_elsewhere_has_none_here(self) -> None:
        source = ScriptedSource(AAPL=1.0, V=3.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        book.prices_for(["MSFT"])
        await book.adopt(tick_of(7, AAPL=5.0), unpriced=("MSFT", "V"))
        assert book.current.prices == {"AAPL": 5.0}
        assert book.prices_for(["MSFT", "V"]) == {}
        assert list(book.unpriced) == ["MSFT", "V"]
        await book.adopt(tick_of(8, AAPL=5.0, V=4.0))
        assert (book.current.prices, book.unpriced) == ({"AAPL": 5.0, "MSFT": 7.0, "V": 4.0}, {})

    async def test_a_name_without_a_price_stays_so_when_this_process_takes_over(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        book.prices_for(["MSFT"])
        await book.adopt(tick_of(7, AAPL=5.0), unpriced=("MSFT",))
        source.quote_error = OSError("the feed is down")
        tick = await book.advance(Commit())
        assert (tick.prices, tick.stale, list(book.unpriced)) == ({"AAPL": 5.0}, True, ["MSFT"])
        # Followers are told, or they would take the first price again.
        other, _ = await opened(source_like(source))
        other.prices_for(["MSFT"])
        await other.adopt(tick, unpriced=tuple(book.unpriced))
        assert other.current.prices == tick.prices


def source_like(source: ScriptedSource) -> ScriptedSource:
    twin = ScriptedSource(AAPL=1.0)
    twin.supplies = source.supplies
    return twin


class TestCommit:
    @pytest.mark.parametrize("method", ["advance", "share"])
    async def test_what_may_not_be_given_to_all_is_not_published(self, method: str) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        before, source.prices = book.current, {"AAPL": 2.0}
        with pytest.raises(RefusedError):
            await getattr(book, method)(Commit(refuses=True))
        assert book.current is before
        # It does not count as shared: any tick of the others is newer.
        assert await book.adopt(tick_of(1, AAPL=5.0))

    async def test_the_next_tick_comes_after_the_refused_one(self) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        commit = Commit()
        await book.share(commit)
        with pytest.raises(RefusedError):
            await book.advance(Commit(refuses=True))
        tick = await book.advance(commit)
        assert (book.current, commit.given) == (tick, tick)

    async def test_readers_see_the_old_tick_until_all_can_have_the_new_one(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        before, source.prices = book.current, {"AAPL": 2.0}
        commit = Commit(gate=trio.Event())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.advance, commit)
            await trio.testing.wait_all_tasks_blocked()
            assert book.current is before
            assert commit.gate is not None
            commit.gate.set()
        assert book.current is commit.given

    async def test_a_commit_that_is_cancelled_publishes_nothing_here(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        before = book.current
        commit = Commit(gate=trio.Event())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.advance, commit)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert book.current is before
        # The others may have it: then it is taken from them.
        assert commit.given is not None
        assert await book.adopt(commit.given)
        assert book.current == commit.given

    async def test_a_name_admitted_during_the_commit_joins_the_tick(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.supplies = {"MSFT": 7.0}
        book, _ = await opened(source)
        source.prices = {"AAPL": 2.0}
        commit = Commit(gate=trio.Event())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.advance, commit)
            await trio.testing.wait_all_tasks_blocked()
            assert book.prices_for(["MSFT"]) == {"MSFT": 7.0}
            assert commit.gate is not None
            commit.gate.set()
        assert commit.given is not None
        assert commit.given.prices == {"AAPL": 2.0}
        assert book.current == replace(commit.given, prices={"AAPL": 2.0, "MSFT": 7.0})


class TestFailure:
    async def test_bars_that_cannot_be_read_keep_no_tick_away(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        bars, source.load_error = book.bars, OSError("no such file")
        assert await book.adopt(tick_of(7, AAPL=5.0))
        # The prices are new, so nothing is stale; the old bars are reported.
        assert book.current == tick_of(7, AAPL=5.0)
        assert book.bars is bars
        assert "no such file" in str(book.last_error)
        source.load_error = None
        await book.adopt(tick_of(8, AAPL=5.0))
        assert book.last_error is None

    async def test_a_tick_that_is_stale_elsewhere_is_stale_here_and_says_why(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        book, _ = await opened(ScriptedSource(AAPL=1.0))
        with caplog.at_level(logging.INFO):
            for tick_id in (7, 8):
                await book.adopt(tick_of(tick_id, stale=True, AAPL=5.0))
                assert book.current.stale
                assert isinstance(book.last_error, PriceSourceError)
            await book.adopt(tick_of(9, AAPL=5.0))
        assert (book.current.stale, book.last_error) == (False, None)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]

    async def test_a_name_that_left_the_bars_is_left_out(self) -> None:
        source = ScriptedSource(AAPL=1.0, MSFT=2.0)
        book, _ = await opened(source)
        source.bars = some_bars("AAPL")
        await book.adopt(tick_of(7, AAPL=5.0, MSFT=6.0))
        assert book.current.prices == {"AAPL": 5.0}

    async def test_cancelled_while_bars_are_read_it_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        before = book.current
        monkeypatch.setattr(source, "load", trio.sleep_forever)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.adopt, tick_of(7, AAPL=5.0))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert book.current is before
        monkeypatch.undo()
        assert await book.adopt(tick_of(7, AAPL=5.0))
