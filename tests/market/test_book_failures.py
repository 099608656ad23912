"""The price book when its source fails or is late, and its readers while they wait."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from portfolio_trio.market import PriceBook, PriceSourceError, PriceSourceTimeoutError, Tick
from tests.market.fakes import ScriptedSource, opened
from tests.support.clock import ManualClock, virtual_wall_time
from tests.support.logs import events

pytestmark = pytest.mark.trio


class TestFailure:
    async def test_prices_stay_with_their_time_and_the_tick_is_stale(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, clock = await opened(source)
        first = book.current
        source.quote_error = ValueError("feed is down")
        clock.move(30.0)
        with caplog.at_level(logging.INFO):
            stale = await book.advance()
            source.quote_error = ValueError("feed is down, as before")
            await book.advance()
            source.quote_error = ValueError("feed is down")
            await book.advance()
            error = book.last_error
            why = (str(error),)
            assert stale == Tick(first.tick_id + 30_000, first.as_of, first.prices, stale=True, why=why)
            assert isinstance(error, PriceSourceError)
            source.quote_error = None
            tick = await book.advance()
        assert not tick.stale
        assert tick.as_of == "2026-11-18T11:07:10.000Z"
        assert book.last_error is None
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        begin, end = events(caplog)
        assert begin[0] == "prices_stale_begin"
        assert "feed is down" in begin[1]["error"]
        assert (end[0], end[1]["times"]) == ("prices_stale_end", 3)

    @pytest.mark.parametrize("method", ["load", "quote"])
    async def test_a_late_source_is_not_waited_for(
        self, method: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
    ) -> None:
        source = ScriptedSource(AAPL=1.0)
        book = PriceBook(source, now=virtual_wall_time, quote_timeout=5.0)
        await book.open()

        async def never(*_: object) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(source, method, never)
        before = autojump_clock.current_time()
        tick = await book.advance()
        assert autojump_clock.current_time() == before + 5.0
        assert tick.stale == (method == "quote")
        assert isinstance(book.last_error, PriceSourceTimeoutError)
        assert "5 s" in str(book.last_error)
        monkeypatch.undo()
        assert not (await book.advance()).stale

    @pytest.mark.parametrize("method", ["load", "quote"])
    async def test_what_is_neither_bars_nor_prices_is_refused(
        self, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)

        async def nonsense(*_: object) -> int:
            await trio.lowlevel.checkpoint()
            return 7

        monkeypatch.setattr(source, method, nonsense)
        tick = await book.advance()
        assert tick.prices == {"AAPL": 1.0}
        assert tick.stale == (method == "quote")
        assert "7" in str(book.last_error)

    @pytest.mark.parametrize("attribute", ["load_error", "quote_error"])
    async def test_open_has_nothing_to_fall_back_on(self, attribute: str) -> None:
        source = ScriptedSource(AAPL=1.0)
        setattr(source, attribute, OSError("no such file"))
        book = PriceBook(source, now=ManualClock())
        with pytest.raises(PriceSourceError, match=r"scripted.*no such file"):
            await book.open()
        setattr(source, attribute, None)
        assert (await book.open()).prices == {"AAPL": 1.0}

    async def test_open_gives_up_in_the_end(self, autojump_clock: trio.testing.MockClock) -> None:
        source = ScriptedSource(AAPL=1.0)
        source.gate = trio.Event()
        with pytest.raises(PriceSourceTimeoutError):
            await PriceBook(source, now=virtual_wall_time, open_timeout=60.0).open()
        assert autojump_clock.current_time() == 60.0

    async def test_a_cancelled_tick_publishes_nothing(self) -> None:
        source = ScriptedSource(AAPL=1.0)
        book, _ = await opened(source)
        before = book.current
        source.gate, source.quoting = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.advance)
            await source.quoting.wait()
            nursery.cancel_scope.cancel()
        assert book.current is before
        assert book.last_error is None
        source.gate = None
        assert (await book.advance()).tick_id == before.tick_id + 1
