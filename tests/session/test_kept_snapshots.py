"""Snapshots are kept until anything they were taken from changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from portfolio_trio.market import MaxAge, PriceBook
from portfolio_trio.metrics import AnalysisError, Bars, ReturnsCache
from portfolio_trio.protocol.requests import Analyze
from portfolio_trio.session.snapshot import Snapshot, Snapshots
from portfolio_trio.store import Head
from portfolio_trio.targets import Targets
from tests.market.fakes import ScriptedSource, opened

if TYPE_CHECKING:
    from tests.support.clock import ManualClock

pytestmark = pytest.mark.trio

DAY = 86_400.0


class Taken:
    """The snapshots of one portfolio, whose text in the document is always the same object."""

    def __init__(self, book: PriceBook, source: ScriptedSource, clock: ManualClock) -> None:
        self.book, self.source, self.clock = book, source, clock
        self.snapshots = Snapshots(book, lambda: ReturnsCache(book.bars))
        self.head = Head(1, {"AAPL": 1.0, "MSFT": 2.0}, None, (b'{"AAPL":1,"MSFT":2}', b"null"))

    def take(self, ticker: str = "AAPL", run_id: int = 1, **changes: Any) -> Snapshot:
        return self.snapshots.take(Analyze(action="analyze", ticker=ticker, **changes), self.head, run_id)


def common(snapshot: Snapshot) -> dict[str, Any]:
    result = snapshot.texts.result("m", 0.5, "t", None)
    found: dict[str, Any] = json.loads(result.to_json())
    return found


async def prepare() -> Taken:
    source = ScriptedSource(AAPL=1.0, MSFT=2.0)
    # 2026-11-18 is today: with eight days the newest closes are just not too old.
    closes = np.full((2, 2), 10.0)
    source.bars = Bars(("2026-11-09", "2026-11-10"), ("AAPL", "MSFT"), closes)
    book, clock = await opened(source, max_age=MaxAge(bar_days=8.0))
    return Taken(book, source, clock)


async def test_runs_of_one_portfolio_share_what_does_not_depend_on_the_ticker() -> None:
    taken = await prepare()
    first, second = taken.take("AAPL", 1), taken.take("MSFT", 2, receipt=True)
    assert first.inputs.portfolio is second.inputs.portfolio
    assert (first.inputs.ticker, second.inputs.ticker) == ("AAPL", "MSFT")
    assert (common(first)["run_id"], common(second)["run_id"]) == (1, 2)
    assert "receipt" in common(second)


async def test_a_newer_tick_is_seen_at_once() -> None:
    taken = await prepare()
    before = taken.take()
    taken.source.prices["AAPL"] = 3.0
    await taken.book.advance()
    after = taken.take()
    assert after.inputs.price == 3.0
    assert common(after)["tick_id"] == taken.book.current.tick_id > common(before)["tick_id"]
    assert common(after)["snapshot"] != common(before)["snapshot"]


async def test_new_bars_are_seen_at_once() -> None:
    taken = await prepare()
    taken.take()
    taken.source.bars = Bars(
        ("2026-11-10", "2026-11-11"), ("AAPL", "MSFT"), np.array([[1.0, 2.0], [1.5, 2.5]])
    )
    await taken.book.advance()
    assert taken.take().inputs.last_bar == "2026-11-11"


async def test_bars_become_stale_at_midnight_without_a_tick() -> None:
    taken = await prepare()
    assert "stale" not in common(taken.take())
    taken.clock.move(DAY)
    assert common(taken.take())["stale"] is True


async def test_other_holdings_and_targets_are_another_portfolio() -> None:
    taken = await prepare()
    first = taken.take()
    taken.head = Head(2, {"AAPL": 2.0, "MSFT": 2.0}, None, (b'{"AAPL":2,"MSFT":2}', b"null"))
    second = taken.take()
    taken.head = Head(
        3,
        taken.head.holdings,
        Targets(weights={"AAPL": 1.0}),
        (taken.head.texts[0], b'{"weights":{"AAPL":1}}'),
    )
    third = taken.take()
    assert len({each.inputs.snapshot for each in (first, second, third)}) == 3


async def test_what_is_not_held_is_refused_whether_or_not_the_portfolio_is_kept() -> None:
    taken = await prepare()
    for _ in range(2):
        with pytest.raises(AnalysisError, match="not in the portfolio"):
            taken.take("TSLA")
        taken.take("AAPL")
