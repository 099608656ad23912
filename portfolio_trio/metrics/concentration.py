"""How much of the portfolio's gross value one position is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from typing_extensions import override

from portfolio_trio.metrics.registry import Detail, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs


class ConcentrationDetail(Detail):
    """Beside `concentration`.

    Attributes:
        weight: w_i = m_i / G, signed: negative for a short position.
        active_weight: The value less the target weight, 1/N over all holdings unless set; sums to 0
            over the holdings and what else is wanted.
        overweight: Whether the active weight is above 0.
        hhi: Herfindahl-Hirschman index, sum of w^2: 1/N to 1.
        effective_holdings: 1 / HHI, the number of equal positions as concentrated as these: 1 to N.
        rank: 1 for the largest gross value; equal values share the better rank.
    """

    weight: float
    active_weight: float
    overweight: bool
    hhi: float
    effective_holdings: float
    rank: int

    @override
    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        """Compute it beside a share of gross value."""
        weights = inputs.weights
        active = value - inputs.target
        hhi = float(weights.dot(weights))
        return cls(
            weight=inputs.weight,
            active_weight=active,
            overweight=active > 0.0,
            hhi=hhi,
            effective_holdings=1.0 / hhi,
            rank=1 + int(np.count_nonzero(np.abs(weights) > value)),
        )


@metric("concentration", detail=ConcentrationDetail)
def concentration(inputs: AnalysisInputs) -> float:
    """Share of gross value: abs(m_i) / G, 0 to 1, sums to 1 over the holdings.

    Signed values m are shares times live prices, G is the sum of abs(m). It needs no history, so it
    raises nothing.
    """
    return abs(inputs.weight)
