"""The simulated market: the same everywhere, plausible, and moving."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import portfolio_trio
from portfolio_trio.market import PriceBook, PriceSource, SimulatedSource
from portfolio_trio.market._simulated import CLOSED_BARS, LAST_BAR, LISTED, _draw, _noise
from tests.market.laws import LAW
from tests.support.clock import ManualClock
from tests.support.tickers import NO_TICKERS, TICKERS

SAMPLE = [f"N{number}" for number in range(400)]

FINGERPRINT = """
import hashlib, trio
from portfolio_trio.market import PriceBook, SimulatedSource
async def main():
    book = PriceBook(SimulatedSource(42), now=lambda: 1.0)
    await book.open()
    book.prices_for(["ZZZ.A", "B-1"])
    for _ in range(3):
        await book.advance()
    digest = hashlib.sha256(book.bars.closes.astype("<f8").tobytes())
    digest.update(repr((book.bars.dates, book.bars.tickers, dict(book.current.prices))).encode())
    print(digest.hexdigest())
trio.run(main)
"""


def daily_returns(source: SimulatedSource, tickers: list[str]) -> np.ndarray:
    closes = []
    for ticker in tickers:
        admission = source.admit(ticker)
        assert admission is not None
        closes.append(admission.closes)
    table = np.column_stack(closes)
    return table[1:] / table[:-1] - 1.0


async def ticks(seed: int, count: int, names: list[str]) -> list[dict[str, float]]:
    book = PriceBook(SimulatedSource(seed), now=ManualClock())
    await book.open()
    book.prices_for(names)
    return [dict((await book.advance()).prices) for _ in range(count)]


def test_it_is_a_price_source() -> None:
    assert isinstance(SimulatedSource(), PriceSource)


def test_another_process_sees_the_same_market() -> None:
    """The digest was taken once: it also guards the market against changes, whatever the machine."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(portfolio_trio.__file__).parents[1]),
        "PYTHONHASHSEED": "7",
    }
    printed = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed.strip() == "30ec9af4ebcc0884b69175dc5d48ddaec63fd4cbeb59f0a673ee73f46f01f0f1"


@LAW
@given(seed=st.integers(), ticker=TICKERS)
def test_any_ticker_has_a_full_plausible_history(seed: int, ticker: str) -> None:
    admission = SimulatedSource(seed).admit(ticker)
    again = SimulatedSource(seed).admit(ticker)
    assert admission is not None
    assert again is not None
    assert admission.closes.shape == (CLOSED_BARS,)
    assert CLOSED_BARS >= 300
    assert np.isfinite(admission.closes).all()
    assert (admission.closes > 0.0).all()
    assert admission.price == admission.closes[-1]
    assert 10.0 <= admission.price <= 500.0
    assert (admission.closes == again.closes).all()
    assert math.isclose(round(admission.price, 2), admission.price)


@pytest.mark.parametrize("name", ["aapl", *NO_TICKERS])
def test_what_is_no_ticker_is_not_supplied(name: str) -> None:
    assert SimulatedSource().admit(name) is None


@LAW
@given(st.integers(), st.integers())
def test_seeds_make_different_markets(one: int, other: int) -> None:
    same = _draw(one, "AAPL") == _draw(other, "AAPL")
    assert same == (one == other)


def test_daily_volatility_is_that_of_shares() -> None:
    volatility = daily_returns(SimulatedSource(1), SAMPLE).std(axis=0)
    assert volatility.min() > 0.009
    assert volatility.max() < 0.033
    assert volatility.max() / volatility.min() > 2.0


def test_every_name_moves_with_the_market() -> None:
    returns = daily_returns(SimulatedSource(1), SAMPLE)
    market = returns.mean(axis=1)
    correlation = np.array([np.corrcoef(column, market)[0, 1] for column in returns.T])
    beta = returns.T @ (market - market.mean()) / ((market - market.mean()) @ (market - market.mean()))
    assert correlation.min() > 0.05
    assert 0.3 < np.median(correlation) < 0.7
    assert np.percentile(beta, 5) < 0.8
    assert np.percentile(beta, 95) > 1.25


def test_names_differ_beyond_the_market() -> None:
    between = np.corrcoef(daily_returns(SimulatedSource(1), SAMPLE[:60]).T)
    off_diagonal = between[~np.eye(60, dtype=bool)]
    assert 0.05 < off_diagonal.mean() < 0.5
    assert off_diagonal.max() < 0.9


def test_noise_is_nearly_normal_and_independent_of_its_neighbours() -> None:
    keys = np.array(
        [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in SAMPLE], np.uint64
    )
    noise = _noise(keys, np.arange(500, dtype=np.uint64))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1.0) < 0.01
    assert abs((noise**4).mean() - 2.9) < 0.1  # twelve uniform numbers: 3 - 1.2 / 12
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.01
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.01
    assert (_noise(keys[5:7], np.array([3], np.uint64))[:, 0] == noise[5:7, 3]).all()


@pytest.mark.trio
async def test_bars_are_business_days_up_to_a_fixed_date() -> None:
    bars = await SimulatedSource().load()
    assert bars.tickers == LISTED
    assert bars.dates[-1] == LAST_BAR
    assert len(bars.dates) == CLOSED_BARS
    assert np.is_busday(np.array(bars.dates, dtype="datetime64[D]")).all()
    assert np.busday_count(bars.dates[0], bars.dates[-1]) == CLOSED_BARS - 1


@pytest.mark.trio
async def test_the_first_tick_is_the_last_close_and_later_ones_move() -> None:
    book = PriceBook(SimulatedSource(), now=ManualClock())
    first = await book.open()
    assert list(first.prices.values()) == book.bars.closes[-1].tolist()
    second = await book.advance()
    moves = np.array([second.prices[t] / first.prices[t] - 1.0 for t in LISTED])
    assert (moves != 0.0).all()
    assert 0.0001 < np.sqrt((moves**2).mean()) < 0.002


@pytest.mark.trio
async def test_ticks_repeat_from_run_to_run_and_differ_from_each_other() -> None:
    run = await ticks(5, 4, ["ZZZ"])
    assert run == await ticks(5, 4, ["ZZZ"])
    assert run != await ticks(6, 4, ["ZZZ"])
    moves = [b["ZZZ"] / a["ZZZ"] for a, b in itertools.pairwise(run)]
    assert len(set(moves)) == len(moves)


@pytest.mark.trio
async def test_one_name_moves_alike_whoever_else_is_there() -> None:
    alone = [tick["ZZZ"] for tick in await ticks(5, 4, ["ZZZ"])]
    in_company = [tick["ZZZ"] for tick in await ticks(5, 4, [*SAMPLE[:50], "ZZZ"])]
    assert alone == in_company


@pytest.mark.trio
async def test_live_prices_move_together() -> None:
    run = await ticks(5, 300, SAMPLE[:100])
    prices = np.array([list(tick.values()) for tick in run])
    returns = prices[1:] / prices[:-1] - 1.0
    market = returns.mean(axis=1)
    assert min(np.corrcoef(column, market)[0, 1] for column in returns.T) > 0.0


@pytest.mark.trio
@pytest.mark.parametrize("price", [0.00001, 1e9])
async def test_extreme_prices_stay_prices(price: float) -> None:
    source = SimulatedSource()
    for _ in range(50):
        quoted = await source.quote({"AAPL": price})
        price = quoted["AAPL"]
        assert 0.0 < price < math.inf
