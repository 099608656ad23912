"""Simulated prices: a seeded market that is the same in every process and on every machine.

Each name follows a geometric random walk with one market factor: per day
``r = beta * market + own * noise``, ``close = close * (1 + r)``. All arithmetic is integer or
IEEE 754 addition, multiplication, division and square root, whose results do not depend on the
processor or the library version as those of `exp`, `log` and the generators of `numpy.random` may.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import trio

from portfolio_trio.market._source import Admission
from portfolio_trio.metrics.bars import Bars
from portfolio_trio.tickers import is_ticker

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

LISTED: Final = (
    "AAPL", "AMZN", "AVGO", "BAC", "COST", "CVX", "DIS", "GOOGL", "HD", "JNJ",
    "JPM", "KO", "MA", "META", "MSFT", "NVDA", "PG", "TSLA", "UNH", "V", "WMT", "XOM",
)  # fmt: skip
"""The names listed from the start; any other valid ticker is admitted on request."""

CLOSED_BARS: Final = 520
"""Closed daily bars of every name: two years of business days."""

LAST_BAR: Final = "2026-11-20"
"""The fixed date of the newest closed bar."""

TICKS_PER_DAY: Final = 780
"""A tick has this fraction of a day's variance: 30 seconds of a session of 6.5 hours."""

_MARKET_DRIFT: Final = 0.0004  # a day, about 10 % a year
_MARKET_VOLATILITY: Final = 0.008  # a day
_BETA: Final = (0.6, 1.6)
# Together with the market's share, the daily volatility of a name is between 1.0 and 2.9 %.
_OWN_VOLATILITY: Final = (0.009, 0.026)
_LAST_CLOSE: Final = (10.0, 500.0)

_STEP: Final = 1.0 / math.sqrt(TICKS_PER_DAY)
_QUOTED_DECIMALS: Final = 4
_LOWEST_QUOTE: Final = 0.0001


@dataclass(frozen=True, slots=True)
class _Name:
    """The parameters of one name, drawn from the seed and the ticker alone."""

    history_key: int
    live_key: int
    beta: float
    own_volatility: float
    last_close: float


class SimulatedSource:
    """Prices of an imaginary market, for first steps, demonstrations and tests.

    Bars depend only on the seed and the ticker. Live prices start at the last close and move with each tick
    by a day's move divided by the square root of `TICKS_PER_DAY`, 0.03 to 0.1 %, however much time passes
    between two ticks; the n-th tick of every run with one seed is the same.
    """

    def __init__(self, seed: int = 0) -> None:
        self.name = "simulated"
        self._seed = seed
        self._names: dict[str, _Name] = {}
        self._ticks = 0
        self._market = _draw(seed, "")
        self._market_returns = _MARKET_DRIFT + _MARKET_VOLATILITY * _history_noise(self._market.history_key)
        closes = np.column_stack([self._closes(self._name(ticker)) for ticker in LISTED])
        self._bars = Bars(_business_days(), LISTED, closes)

    async def load(self) -> Bars:
        """Return the bars of `LISTED`, shape ``(CLOSED_BARS, 22)``; never changes."""
        await trio.lowlevel.checkpoint()
        return self._bars

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float]:
        """Move every previous price by one step; a listed name that had none starts at its last close."""
        await trio.lowlevel.checkpoint()
        self._ticks += 1
        start = {ticker: self._name(ticker).last_close for ticker in LISTED if ticker not in previous}
        return {**self._moved(previous), **start}

    def admit(self, ticker: str) -> Admission | None:
        """Return bars and last close of any valid ticker."""
        if not is_ticker(ticker):
            return None
        name = self._name(ticker)
        return Admission(self._closes(name), name.last_close)

    def _name(self, ticker: str) -> _Name:
        name = self._names.get(ticker)
        if name is None:
            name = self._names[ticker] = _draw(self._seed, ticker)
        return name

    def _closes(self, name: _Name) -> npt.NDArray[np.float64]:
        returns = name.beta * self._market_returns + name.own_volatility * _history_noise(name.history_key)
        path = np.cumprod(1.0 + returns)
        closes: npt.NDArray[np.float64] = np.round(path / path[-1] * name.last_close, 2)
        return closes

    def _moved(self, previous: Mapping[str, float]) -> dict[str, float]:
        names = [self._name(ticker) for ticker in previous]
        tick = np.array([self._ticks], dtype=np.uint64)
        keys = np.array([self._market.live_key, *(name.live_key for name in names)], dtype=np.uint64)
        noise = _noise(keys, tick)[:, 0]
        beta = np.array([name.beta for name in names])
        own = np.array([name.own_volatility for name in names])
        step = _STEP * (beta * (_MARKET_VOLATILITY * noise[0]) + own * noise[1:])
        moved = np.round(np.array(list(previous.values())) * (1.0 + step), _QUOTED_DECIMALS)
        return dict(zip(previous, np.maximum(moved, _LOWEST_QUOTE).tolist(), strict=True))


def _draw(seed: int, ticker: str) -> _Name:
    digest = hashlib.sha256(f"portfolio_trio simulated market {seed} {ticker}".encode()).digest()
    history_key, live_key, beta, own, level, _ = struct.unpack(">QQIIII", digest)
    share = level / 2**32
    return _Name(
        history_key,
        live_key,
        _between(_BETA, beta / 2**32),
        _between(_OWN_VOLATILITY, own / 2**32),
        # Squared, so that more names are cheap than expensive.
        round(_between(_LAST_CLOSE, share * share), 2),
    )


def _between(bounds: tuple[float, float], share: float) -> float:
    low, high = bounds
    return low + (high - low) * share


def _history_noise(key: int) -> npt.NDArray[np.float64]:
    days = np.arange(CLOSED_BARS, dtype=np.uint64)
    return _noise(np.array([key], dtype=np.uint64), days).reshape(CLOSED_BARS)


def _noise(keys: npt.NDArray[np.uint64], steps: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Return nearly normal noise, mean 0 and variance 1, shape ``(len(keys), len(steps))``.

    Each value depends only on its key and step. Each is the sum of twelve 16-bit uniform numbers (Irwin-Hall)
    from three words of SplitMix64 (Steele, Lea, Flood 2014), summed as integers, so that neither order nor
    byte order matters.
    """
    words = steps[:, None] * np.uint64(3) + np.arange(1, 4, dtype=np.uint64)
    z = np.add(keys[:, None, None], words * np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    total: npt.NDArray[np.int64] = z.view(np.uint16).sum(axis=-1, dtype=np.int64)
    noise: npt.NDArray[np.float64] = (total - 6 * 65535) / 65536.0
    return noise


def _business_days() -> tuple[str, ...]:
    """Monday to Friday, `CLOSED_BARS` of them, the last on `LAST_BAR`."""
    days = np.busday_offset(np.array([LAST_BAR], dtype="datetime64[D]"), np.arange(1 - CLOSED_BARS, 1))
    return tuple(str(day) for day in days)
