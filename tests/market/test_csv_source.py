"""The CSV source as a price book uses it: files are followed, broken ones keep the last good prices."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.market import (
    CsvSource,
    MaxAge,
    PriceBook,
    PriceFileError,
    PriceSource,
    PriceSourceError,
    _watched_file,
)
from portfolio_trio.market._files import read_regular, version_of
from tests.support.clock import START, ManualClock
from tests.support.logs import events

if TYPE_CHECKING:
    from portfolio_trio.market._files import FileContent, Version

pytestmark = pytest.mark.trio

CASES = Path(__file__).parents[1] / "cases"
TODAY = START + 2 * 86_400.0
BARS = "date,AAPL,MSFT,GONE\n2026-11-18,1.5,2,7\n2026-11-19,1.6,2.5,\n"


def put(path: Path, content: str | bytes | None) -> None:
    """Replace `path` as a writer should: write another file, then rename it. None takes it away."""
    if content is None:
        path.unlink()
        return
    new = path.with_suffix(".new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(path)


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "bars.csv"
    put(path, BARS)
    return path


@pytest.fixture
def live(tmp_path: Path) -> Path:
    path = tmp_path / "live.json"
    put(path, '{"AAPL": 10, "MSFT": 20, "GONE": 30}')
    return path


async def opened(bars: Path, live: Path | None = None) -> PriceBook:
    # Patience without measure: a noisy machine must not turn a slow file into a stale tick.
    source = CsvSource(bars, live, now=ManualClock(TODAY), moment=60.0)
    book = PriceBook(source, now=ManualClock(TODAY), quote_timeout=60.0)
    await book.open()
    return book


async def test_it_is_a_price_source(bars: Path) -> None:
    assert isinstance(CsvSource(bars), PriceSource)


async def test_the_newest_close_is_the_live_price(bars: Path) -> None:
    book = await opened(bars)
    assert book.current.prices == {"AAPL": 1.6, "MSFT": 2.5, "GONE": 7.0}
    assert book.bars.tickers == ("AAPL", "MSFT", "GONE")


async def test_a_close_counts_for_seven_days_beside_newer_ones(bars: Path) -> None:
    put(
        bars,
        "date,AAPL,WEEK,GONE,NEVER\n2026-11-11,1,1,7,\n2026-11-12,1,8,,\n2026-11-19,2,,,\n2026-11-20,,,,\n",
    )
    book = await opened(bars)
    assert book.current.prices == {"AAPL": 2.0, "WEEK": 8.0}
    assert book.unpriced == {"GONE": "its last close is of 2026-11-11", "NEVER": "no close at all"}


@pytest.mark.parametrize(
    ("case", "prices"),
    [
        ("last_row_blank", {"AAPL": 73.7166, "MSFT": 206.7608, "GOOGL": 297.8856}),
        (
            "stocks_plus_btc_ends_on_sunday",
            {"AAPL": 73.1162, "MSFT": 201.8878, "GOOGL": 289.4335, "BTC-USD": 98398.6},
        ),
        ("delisted_name_ends_early", {"AAPL": 73.7166, "MSFT": 206.7608, "GOOGL": 297.8856}),
    ],
)
async def test_the_newest_closes_of_files_as_tools_write_them(case: str, prices: dict[str, float]) -> None:
    later = ManualClock(START + 30 * 86_400.0)
    book = PriceBook(CsvSource(CASES / f"{case}.csv", now=later), now=later, open_timeout=60.0)
    await book.open()
    assert book.current.prices == prices


async def test_a_day_in_the_future_is_taken_when_it_has_come(bars: Path) -> None:
    clock = ManualClock(TODAY)
    book = PriceBook(CsvSource(bars, now=clock, moment=60.0), now=clock, quote_timeout=60.0)
    await book.open()
    put(bars, BARS + "2026-11-21,1.7,,\n")
    assert (await book.advance()).stale
    assert "line 4, column 1: 2026-11-21 is in the future" in str(book.last_error)
    clock.move(86_400.0)
    assert (await book.advance()).prices["AAPL"] == 1.7
    assert book.last_error is None


async def test_a_name_without_a_column_is_not_supplied(bars: Path) -> None:
    book = await opened(bars)
    assert book.prices_for(["AAPL", "NVDA"]) == {"AAPL": 1.6}


async def test_live_prices_come_from_the_live_file_and_without_a_column_from_nowhere(
    bars: Path, live: Path
) -> None:
    put(live, '{"AAPL": 10, "MSFT": 20, "GONE": 30, "NVDA": 5}')
    book = await opened(bars, live)
    assert book.current.prices == {"AAPL": 10.0, "MSFT": 20.0, "GONE": 30.0}
    assert (book.current.stale_prices, book.unpriced) == ({}, {})


async def test_a_name_that_the_live_file_leaves_out_counts_at_its_last_close_for_as_long(
    bars: Path, live: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(live, '{"AAPL": 10}')
    book = await opened(bars, live)
    for tick in (book.current, await book.advance()):
        assert tick.prices == {"AAPL": 10.0, "MSFT": 2.5, "GONE": 7.0}
        assert tick.stale_prices == {"MSFT": "2026-11-19", "GONE": "2026-11-18"}
        assert not tick.stale
        assert not book.unpriced
    assert events(caplog) == [
        ("live_prices_left_out", {"names": 2, "last_closes": "MSFT (of 2026-11-19); GONE (of 2026-11-18)"})
    ]
    put(live, '{"AAPL": 10, "MSFT": 20}')
    tick = await book.advance()
    assert (tick.prices["MSFT"], tick.stale_prices) == (20.0, {"GONE": "2026-11-18"})


@pytest.mark.parametrize(("days", "kept"), [(None, True), (2, True), (1, False)])
async def test_a_close_that_is_too_old_stands_for_no_price(
    bars: Path, live: Path, days: float | None, *, kept: bool
) -> None:
    put(live, '{"AAPL": 10, "MSFT": 20}')
    clock = ManualClock(TODAY)
    source = CsvSource(bars, live, now=clock, moment=60.0)
    book = PriceBook(source, now=clock, max_age=MaxAge(bar_days=days))
    await book.open()
    assert ("GONE" in book.current.prices) is kept
    assert book.current.stale_prices == ({"GONE": "2026-11-18"} if kept else {})
    assert book.unpriced == ({} if kept else {"GONE": f"not in {live}"})


async def test_what_has_ended_or_never_had_a_close_has_no_price(bars: Path, live: Path) -> None:
    put(bars, "date,AAPL,ENDED,NEVER\n2026-11-11,1.5,3,\n2026-11-19,1.6,,\n")
    put(live, '{"AAPL": 10}')
    book = await opened(bars, live)
    assert (book.current.prices, book.current.stale_prices) == ({"AAPL": 10.0}, {})
    assert list(book.unpriced) == ["ENDED", "NEVER"]


async def test_a_live_file_without_one_price_says_nothing_of_the_market(bars: Path, live: Path) -> None:
    put(live, '{"AAPL": null}')
    book = await opened(bars, live)
    assert (book.current.prices, book.current.stale_prices) == ({}, {})
    assert book.current.why == ("no name has a usable price",)


async def test_a_new_live_file_is_used_at_the_next_tick(bars: Path, live: Path) -> None:
    book = await opened(bars, live)
    put(live, '{"AAPL": 11, "MSFT": 21, "GONE": 31}')
    assert (await book.advance()).prices == {"AAPL": 11.0, "MSFT": 21.0, "GONE": 31.0}
    put(live, '{"AAPL": 12, "MSFT": 22, "GONE": 32}')  # the same size
    assert (await book.advance()).prices["AAPL"] == 12.0


@pytest.mark.parametrize("broken", ["", '{"AAPL": 11, "MS', "[]", b"\xff", None])
async def test_a_broken_live_file_keeps_the_last_good_prices(
    bars: Path, live: Path, broken: str | bytes | None
) -> None:
    book = await opened(bars, live)
    good = book.current
    put(live, broken)
    for _ in range(2):
        tick = await book.advance()
        assert tick.prices == good.prices
        assert tick.as_of == good.as_of
        assert tick.stale
        assert isinstance(book.last_error, PriceFileError)
        assert book.last_error.path == live
    put(live, '{"AAPL": 11}')
    tick = await book.advance()
    assert tick.prices == {"AAPL": 11.0, "MSFT": 2.5, "GONE": 7.0}
    assert not tick.stale
    assert book.last_error is None


async def test_one_broken_live_price_leaves_out_that_name(bars: Path, live: Path) -> None:
    book = await opened(bars, live)
    put(live, '{"AAPL": "abc", "MSFT": 21, "GONE": 31}')
    tick = await book.advance()
    assert tick.prices == {"MSFT": 21.0, "GONE": 31.0}
    assert not tick.stale
    assert book.unpriced == {"AAPL": "'abc' is not a price"}


async def test_a_file_that_has_grown_is_told_of_once(bars: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    book = await opened(bars)
    await book.advance()
    assert not events(caplog)
    put(bars, "date,AAPL,MSFT,NEW\n2026-11-19,1.6,2.5,3\n2026-11-20,1.7,2.6,3\n")
    for _ in range(3):
        await book.advance()
    assert events(caplog) == [("prices_read", {"file": str(bars), "names": 3, "last_bar": "2026-11-20"})]


async def test_a_new_closed_bar_is_picked_up(bars: Path) -> None:
    book = await opened(bars)
    put(bars, BARS + "2026-11-20,1.7,,8\n")
    tick = await book.advance()
    assert book.bars.dates[-1] == "2026-11-20"
    assert tick.prices == {"AAPL": 1.7, "MSFT": 2.5, "GONE": 8.0}


async def test_a_broken_bars_file_keeps_the_old_bars_and_live_prices_go_on(bars: Path, live: Path) -> None:
    book = await opened(bars, live)
    before = book.bars
    put(bars, BARS + "2026-11-20,1.7,abc,8\n")
    put(live, '{"AAPL": 11, "MSFT": 21, "GONE": 31}')
    tick = await book.advance()
    assert tick.prices == {"AAPL": 11.0, "MSFT": 21.0, "GONE": 31.0}
    assert not tick.stale
    assert book.bars is before
    assert str(book.last_error) == f"{bars}, line 4, column MSFT: 'abc' is not a price"
    put(bars, BARS)
    await book.advance()
    assert book.last_error is None


async def test_without_live_file_broken_bars_make_the_tick_stale(bars: Path) -> None:
    book = await opened(bars)
    good = book.current
    put(bars, "")
    tick = await book.advance()
    assert tick.prices == good.prices
    assert tick.stale
    put(bars, BARS)
    assert not (await book.advance()).stale


@pytest.mark.parametrize("missing", ["bars", "live"])
async def test_a_missing_file_stops_the_start(bars: Path, live: Path, missing: str) -> None:
    path = {"bars": bars, "live": live}[missing]
    put(path, None)
    with pytest.raises(PriceFileError, match="no such file") as caught:
        await opened(bars, live)
    assert caught.value.path == path


async def test_load_comes_before_quote(bars: Path) -> None:
    with pytest.raises(PriceSourceError, match="load"):
        await CsvSource(bars).quote({})


async def test_files_are_read_in_a_thread_and_only_when_they_changed(
    bars: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[str, bool]] = []

    def counted(path: Path, *, max_bytes: int) -> FileContent:
        reads.append((path.name, threading.current_thread() is threading.main_thread()))
        return read_regular(path, max_bytes=max_bytes)

    monkeypatch.setattr(_watched_file, "read_regular", counted)
    book = await opened(bars, live)
    kept = book.bars
    await book.advance()
    assert reads == [("bars.csv", False), ("live.json", False)]
    assert book.bars is kept
    put(live, json.dumps({"AAPL": 11}))
    await book.advance()
    assert reads[2:] == [("live.json", False)]


async def test_a_file_that_cannot_be_used_is_read_once_for_each_version(
    bars: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = await opened(bars, live)
    reads = []

    def counted(path: Path, *, max_bytes: int) -> FileContent:
        reads.append(path.name)
        return read_regular(path, max_bytes=max_bytes)

    monkeypatch.setattr(_watched_file, "read_regular", counted)
    put(bars, BARS + "2026-11-20,1.7,abc,8\n")
    put(live, "{")
    for _ in range(3):
        assert (await book.advance()).stale
    assert reads == ["bars.csv", "live.json"]
    put(bars, BARS + "2026-11-20,1.7,9,8\n")
    put(live, '{"AAPL": 7, "MSFT": 9, "GONE": 8}')
    assert (await book.advance()).prices == {"AAPL": 7.0, "MSFT": 9.0, "GONE": 8.0}
    assert book.last_error is None
    assert reads[2:] == ["bars.csv", "live.json"]


async def test_a_long_reading_holds_up_no_tick_and_is_neither_lost_nor_begun_again(
    bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(TODAY)
    source = CsvSource(bars, now=clock, moment=60.0, patience=0.1)
    book = PriceBook(source, now=clock, quote_timeout=60.0)
    await book.open()
    source._moment = 0.0
    free, reads = threading.Event(), []

    def slow(path: Path, *, max_bytes: int) -> FileContent:
        reads.append(path.name)
        free.wait(60.0)
        return read_regular(path, max_bytes=max_bytes)

    monkeypatch.setattr(_watched_file, "read_regular", slow)
    put(bars, BARS + "2026-11-20,1.7,9,8\n")
    try:
        for _ in range(3):
            tick = await book.advance()
            assert (tick.prices["AAPL"], tick.stale) == (1.6, False)
        await trio.sleep(0.2)
        # Now it has had the patience of a start.
        assert (await book.advance()).stale
        assert "still being read" in str(book.last_error)
    finally:
        free.set()
    source._moment = 60.0
    tick = await book.advance()
    assert (tick.prices["AAPL"], tick.stale) == (1.7, False)
    assert reads == ["bars.csv"]


async def test_a_file_system_that_hangs_costs_one_thread_and_no_tick(
    bars: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = await opened(bars, live)
    book._quote_timeout = 0.05
    began, free, hung = threading.Event(), threading.Event(), []

    def hanging(path: Path) -> Version:
        if path == live:
            hung.append(path)
            began.set()
            free.wait(60.0)
        return version_of(path)

    monkeypatch.setattr(_watched_file, "version_of", hanging)
    try:
        assert (await book.advance()).stale
        assert began.wait(60.0)
        for _ in range(2):
            tick = await book.advance()
            assert tick.stale
            assert tick.prices == {"AAPL": 10.0, "MSFT": 20.0, "GONE": 30.0}
        assert hung == [live]
    finally:
        free.set()
    book._quote_timeout = 60.0
    assert not (await book.advance()).stale


async def test_a_writer_in_place_never_shows_half(bars: Path, live: Path) -> None:
    """Byte by byte over the old file: each tick has all of the old prices or all of the new."""
    book = await opened(bars, live)
    old = book.current.prices
    content = b'{"AAPL": 111, "MSFT": 211, "GONE": 311}'
    descriptor = os.open(live, os.O_WRONLY | os.O_TRUNC)
    try:
        for byte in content:
            tick = await book.advance()
            assert tick.stale
            assert tick.prices == old
            os.write(descriptor, bytes([byte]))
    finally:
        os.close(descriptor)
    assert (await book.advance()).prices == {"AAPL": 111.0, "MSFT": 211.0, "GONE": 311.0}


async def test_a_cancelled_load_leaves_the_source_usable(bars: Path) -> None:
    source = CsvSource(bars)
    with trio.CancelScope() as scope:
        scope.cancel()
        await source.load()
    assert scope.cancelled_caught
    assert (await source.load()).dates[-1] == "2026-11-19"
