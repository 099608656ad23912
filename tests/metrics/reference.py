"""The five numbers again, directly from their definitions: plain Python, one date at a time, slow.

It shares no line with the package. Closes are a dictionary of dates for each name; a name that always costs 1
is in ``cash``. Sums are exact to the last digit (`math.fsum`).
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from math import fsum, isfinite, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Closes: TypeAlias = "Mapping[str, Mapping[date, float]]"
NOTHING = 1e-24


def snapped(returns: int, first: date, last: date) -> int:
    frequency = returns * 365.25 / (last - first).days
    if frequency >= 300:
        return 365
    if frequency <= 20:
        return 12
    if frequency <= 60:
        return 52
    return 252


class Common(NamedTuple):
    """R of every name, its exponential weights, and A."""

    returns: dict[str, list[float]]
    weights: list[float]
    periods: int

    def covariance(self, one: list[float], other: list[float]) -> float:
        return fsum(w * x * y for w, x, y in zip(self.weights, one, other, strict=True))


def common(closes: Closes, names: Collection[str], cash: Collection[str]) -> Common:
    moving = [name for name in names if name not in cash]
    if not moving:
        return Common({name: [0.0] * 252 for name in names}, [1.0 / 252] * 252, 252)
    own = [
        {day for day, close in closes.get(name, {}).items() if 0 < close < float("inf")} for name in moving
    ]
    rows = sorted(set.intersection(*own))
    pairs = [(before, after) for before, after in pairwise(rows) if (after - before).days <= 14][-252:]
    returns = {
        name: [closes[name][after] / closes[name][before] - 1 for before, after in pairs]
        if name not in cash
        else [0.0] * len(pairs)
        for name in names
    }
    raw = [2 ** (-age / 63) for age in range(len(pairs) - 1, -1, -1)]
    periods = snapped(len(pairs), pairs[0][0], pairs[-1][1]) if pairs else 252
    return Common(returns, [each / fsum(raw) for each in raw], periods)


def momentum_return(closes: Closes, ticker: str, held: Collection[str]) -> float | None:
    """12-1 on its own closes; None where it has no year, or ended."""
    own = sorted((day, close) for day, close in closes[ticker].items() if 0 < close < float("inf"))
    newest = max(
        day for name in held for day, close in closes.get(name, {}).items() if 0 < close < float("inf")
    )
    if not own or (newest - own[-1][0]).days > 14:
        return None
    recent = [day for day, _ in own if (own[-1][0] - day).days <= 365]
    if len(recent) == 1:
        return None
    year = snapped(len(recent) - 1, recent[0], recent[-1])
    month = {365: 30, 252: 21, 52: 4, 12: 1}[year]
    if len(own) < year + 1:
        return None
    return own[-month - 1][1] / own[-year - 1][1] - 1


class Five(NamedTuple):
    risk: float | str
    concentration: float
    correlation: float | str
    momentum: float | str
    score: float | str

    def named(self) -> dict[str, Any]:
        keys = ("portfolio_risk", "concentration", "correlation", "momentum", "allocation_score")
        return dict(zip(keys, self, strict=True))


def five(
    closes: Closes,
    shares: Mapping[str, float],
    prices: Mapping[str, float],
    ticker: str,
    cash: Collection[str] = (),
) -> Five:
    held = [name for name in shares if shares[name] != 0]
    m = {name: shares[name] * prices[name] for name in held}
    gross = fsum(abs(each) for each in m.values())
    weight = m[ticker] / gross
    seen = common(closes, held, cash)
    if len(seen.weights) < 60:
        return Five("insufficient_history", abs(weight), *["insufficient_history"] * 3)
    covariance, r = seen.covariance, seen.returns
    places = range(len(seen.weights))
    rest = [fsum(m[name] * r[name][s] for name in held if name != ticker) for s in places]
    whole = [fsum(m[name] * r[name][s] for name in held) for s in places]
    a, c, v = covariance(r[ticker], r[ticker]), covariance(r[ticker], rest), covariance(rest, rest)
    q = covariance(whole, whole)
    flat = a <= NOTHING
    rest_gross = fsum(abs(m[name]) for name in held if name != ticker)
    risk: float | str
    score: float | str
    if q / gross**2 <= NOTHING:
        risk = score = "zero_portfolio_variance"
    else:
        risk = 0.0 if flat else m[ticker] * (m[ticker] * a + c) / q
        movers = [name for name in held if covariance(r[name], r[name]) > NOTHING]
        score = "zero_variance" if flat else 1 / len(movers) - risk
    correlation: float | str
    if len(held) == 1:
        correlation = "no_other_holdings"
    elif flat or v <= NOTHING * rest_gross**2:
        correlation = "zero_variance"
    else:
        correlation = c / sqrt(a * v)
    momentum: float | str
    raw = 0.0 if ticker in cash else momentum_return(closes, ticker, [n for n in held if n not in cash])
    if raw is None:
        momentum = "insufficient_history"
    elif flat:
        momentum = "zero_variance"
    else:
        momentum = weight * raw / sqrt(seen.periods * a)
    assert all(isinstance(each, str) or isfinite(each) for each in (risk, correlation, momentum, score))
    return Five(risk, abs(weight), correlation, momentum, score)
