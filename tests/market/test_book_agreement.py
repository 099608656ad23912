"""Price books that feed one another: under one tick_id a name has one price, in every book."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from portfolio_trio.market import PriceBook, SimulatedSource, Tick
from tests.market.laws import LAW
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.trio

BOOKS = 3
BOOK = st.integers(0, BOOKS - 1)
# One that is listed, and some that are admitted when asked for.
NAMES = ("AAPL", "ABC", "XYZ", "Q")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["lead", "lose", "refuse", "fail"]), BOOK, st.just("")),
        st.tuples(st.sampled_from(["admit", "lead while asked for"]), BOOK, st.sampled_from(NAMES)),
        st.tuples(st.just("follow"), BOOK, st.just("")),
    ),
    max_size=40,
)


class LostError(Exception):
    """The tick was not shared, or that is unknown."""


class FaultySource(SimulatedSource):
    """A market whose feed can be down."""

    down = False

    @override
    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float]:
        if self.down:
            raise OSError("the feed is down")
        return await super().quote(previous)


class Market:
    """Some books, the tick that all can have, and every price that anybody has seen."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sources = [FaultySource() for _ in range(BOOKS)]
        # Room for two admitted names: the books can differ in what they know.
        self.books = [PriceBook(source, now=self.clock, max_names=24) for source in self.sources]
        self.shared: tuple[Tick, tuple[str, ...]] | None = None
        self.seen: dict[tuple[int, str], float] = {}

    async def open(self) -> None:
        for book in self.books:
            await book.open()
        await self.books[0].share(lambda tick: self.publish(self.books[0], tick))
        for book in self.books[1:]:
            await self.follow(book)

    async def publish(self, book: PriceBook, tick: Tick) -> None:
        if self.shared is not None and tick.tick_id <= self.shared[0].tick_id:
            raise LostError
        self.shared = (tick, tuple(book.unpriced))

    async def follow(self, book: PriceBook) -> None:
        if self.shared is not None:
            tick, unpriced = self.shared
            await book.adopt(tick, unpriced=unpriced)

    async def lead(self, number: int, how: str, name: str) -> None:
        book = self.books[number]
        self.clock.move(0.0 if how == "refuse" else 30.0)
        self.sources[number].down = how == "fail"

        async def commit(tick: Tick) -> None:
            if how != "refuse":
                await self.publish(book, tick)
            if name:
                book.prices_for([name])
            if how in {"refuse", "lose"}:
                raise LostError

        try:
            await book.advance(commit)
        except LostError:
            return

    def check(self) -> None:
        for book in self.books:
            tick = book.current
            for name, price in tick.prices.items():
                assert self.seen.setdefault((tick.tick_id, name), price) == price
            assert set(tick.prices) <= set(book.bars.column)


@LAW
@given(STEPS)
async def test_books_agree_on_every_name_that_they_price(steps: list[tuple[str, int, str]]) -> None:
    market = Market()
    await market.open()
    market.check()
    for what, number, name in steps:
        if what == "admit":
            market.books[number].prices_for([name])
        elif what == "follow":
            await market.follow(market.books[number])
        else:
            await market.lead(number, what, name)
        market.check()
    for book in market.books:
        await market.follow(book)
    market.check()
    assert market.shared is not None
    assert {book.current.tick_id for book in market.books} == {market.shared[0].tick_id}
