"""Receipts: inputs and results of a run, and recomputing them."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from portfolio_trio.metrics.compute import compute
from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.returns import ReturnsCache
from portfolio_trio.metrics.snapshot import METHOD_VERSION
from portfolio_trio.targets import NO_TARGETS, Targets

if TYPE_CHECKING:
    from portfolio_trio.metrics.bars import Bars
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.metrics.registry import MetricRegistry

RELATIVE_TOLERANCE = 1e-9
"""Machines sum in different orders: values within this tolerance count as equal."""
ROUNDING = 1e-12
"""The absolute tolerance: a small value may be the difference of fractions, as the gap to a budget is."""


class Receipt(BaseModel):
    """The inputs and results of a run; with the closed bars, everything needed to recompute it.

    Attributes:
        ticker: The name analysed.
        holdings: Signed shares of each name.
        prices: Live prices of the snapshot, in currency units.
        targets: Target weights and risk budgets, as they were set.
        snapshot: The hash of holdings, prices, targets, bars and method: 64 hexadecimal digits.
        method: `METHOD_VERSION` of the run.
        tick_id: The market tick of the prices.
        as_of: The time of that tick, RFC 3339 in UTC.
        last_bar: ISO date of the newest close of any holding; None if there was none, then all given bars are
            used.
        cash: The holdings that are cash, which always costs 1.
        results: The value of each metric, or its error code.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    ticker: str
    holdings: dict[str, float]
    prices: dict[str, float]
    targets: Targets = NO_TARGETS
    snapshot: str = Field(pattern=r"^[0-9a-f]{64}$")
    method: str
    tick_id: int
    as_of: str
    last_bar: str | None = None
    cash: tuple[str, ...] = ()
    results: dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric, recorded and recomputed: a value, or the code of an error.

    Attributes:
        metric: Its name.
        recorded: The value in the receipt.
        recomputed: The recomputed value; None if no metric of this name is installed.
        equal: Whether both are the same code, or the same number to 1e-9 relative
            or 1e-12 absolute.
    """

    metric: str
    recorded: float | str
    recomputed: float | str | None
    equal: bool


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of recomputing a receipt.

    Attributes:
        snapshot: The hash of the rebuilt inputs. If it differs from the receipt's, the holdings, prices, bars
            or the method differ, so differing values are to be expected.
        snapshot_equal: Whether it is the receipt's.
        method: The method version used now.
        method_equal: Whether it is the receipt's.
        comparisons: One for each metric of the receipt, in its order.
    """

    snapshot: str
    snapshot_equal: bool
    method: str
    method_equal: bool
    comparisons: tuple[Comparison, ...]

    @property
    def equal(self) -> bool:
        """Whether everything is equal: snapshot, method and every metric."""
        return self.snapshot_equal and self.method_equal and all(each.equal for each in self.comparisons)


def recompute(receipt: Receipt, bars: Bars, registry: MetricRegistry) -> Replay:
    """Recompute a recorded run from its receipt and the closed bars.

    Bars newer than the receipt's `last_bar` are left out, so a price file that has grown since still works.

    Raises:
        AnalysisError: The receipt's holdings and prices allow no analysis at all.
    """
    known = bars if receipt.last_bar is None else bars.until(receipt.last_bar)
    inputs = ReturnsCache(known, cash=receipt.cash).inputs(
        receipt.ticker, receipt.holdings, receipt.prices, targets=receipt.targets
    )
    comparisons = tuple(
        _compare(name, recorded, _outcome(name, inputs, registry))
        for name, recorded in receipt.results.items()
    )
    return Replay(
        snapshot=inputs.snapshot,
        snapshot_equal=inputs.snapshot == receipt.snapshot,
        method=METHOD_VERSION,
        method_equal=receipt.method == METHOD_VERSION,
        comparisons=comparisons,
    )


def _outcome(name: str, inputs: AnalysisInputs, registry: MetricRegistry) -> float | str | None:
    metric = registry.get(name)
    if metric is None:
        return None
    try:
        return compute(metric, inputs, detail=False).value
    except MetricError as error:
        return error.code


def _compare(name: str, recorded: float | str, recomputed: float | str | None) -> Comparison:
    if isinstance(recorded, float) and isinstance(recomputed, float):
        equal = isclose(recorded, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=ROUNDING)
    else:
        equal = recorded == recomputed
    return Comparison(name, recorded, recomputed, equal)
