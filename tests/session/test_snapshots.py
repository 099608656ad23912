"""Snapshots of one portfolio at one tick after another: each is what somebody new to the portfolio takes."""

from __future__ import annotations

import pytest

from portfolio_trio.hub.unpriced import UnpricedError
from portfolio_trio.market import PriceBook
from portfolio_trio.metrics import ReturnsCache
from portfolio_trio.protocol.requests import Analyze
from portfolio_trio.session.snapshot import Snapshot, Snapshots
from portfolio_trio.store import Head
from tests.market.fakes import ScriptedSource, opened

pytestmark = pytest.mark.trio

HEAD = Head(1, {"OLD": 2.0, "NEW": 1.0, "USD": 10.0}, None, (b"holdings", b""))
REQUEST = Analyze(action="analyze", ticker="NEW", receipt=True)


def snapshots(book: PriceBook) -> Snapshots:
    caches: list[ReturnsCache] = []

    def newest() -> ReturnsCache:
        if not caches or caches[-1].bars is not book.bars:
            caches.append(ReturnsCache(book.bars, cash=book.cash))
        return caches[-1]

    return Snapshots(book, newest)


def same(ours: Snapshot, book: PriceBook, prices: dict[str, float]) -> None:
    """It is the one that is taken by somebody who has taken none, and its prices are these."""
    theirs = snapshots(book).take(REQUEST, HEAD, 1)
    texts = [each.texts.result("x", 1.0, "now", None).to_json() for each in (ours, theirs)]
    assert texts[0] == texts[1]
    assert ours.tick is book.current
    assert ours.inputs.snapshot == theirs.inputs.snapshot
    assert ours.inputs.prices.tolist() == theirs.inputs.prices.tolist()
    assert dict(zip(ours.inputs.tickers, ours.inputs.prices.tolist(), strict=True)) == prices


async def test_each_tick_has_its_own_prices() -> None:
    source = ScriptedSource(OLD=3.0, NEW=5.0)
    book, _ = await opened(source, cash=("USD",))
    ours = snapshots(book)
    for new in (5.0, 6.0, 7.0):
        source.prices["NEW"] = new
        await book.advance()
        same(ours.take(REQUEST, HEAD, 1), book, {"NEW": new, "OLD": 3.0, "USD": 1.0})


async def test_columns_that_move_bring_no_price_of_another_name() -> None:
    source = ScriptedSource(FIRST=1.0, OLD=3.0)
    source.supplies = {"GONE": 9.0, "NEW": 5.0, "LATER": 8.0}
    book, _ = await opened(source, cash=("USD",))
    ours = snapshots(book)
    book.prices_for(["GONE"])
    book.prices_for(HEAD.holdings)
    book.prices_for(["LATER"])
    prices = {"NEW": 5.0, "OLD": 3.0, "USD": 1.0}
    same(ours.take(REQUEST, HEAD, 1), book, prices)
    column = book.bars.column["NEW"]
    for _ in range(3):
        book.release(("NEW", "LATER"))
    assert book.bars.column["NEW"] != column
    same(ours.take(REQUEST, HEAD, 1), book, prices)


async def test_a_name_that_loses_its_price_is_named() -> None:
    source = ScriptedSource(OLD=3.0, NEW=5.0)
    book, _ = await opened(source, cash=("USD",))
    ours = snapshots(book)
    ours.take(REQUEST, HEAD, 1)
    source.prices["OLD"] = 0.0
    await book.advance()
    with pytest.raises(UnpricedError) as caught:
        ours.take(REQUEST, HEAD, 1)
    assert caught.value.tickers == ("OLD",)
