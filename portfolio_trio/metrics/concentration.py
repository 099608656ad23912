"""The share of one position in the portfolio's gross value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.registry import Detail, Field, metric

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs


class ConcentrationDetail(Detail):
    """Detail of `concentration`.

    Attributes:
        weight: w_i = m_i / G, signed: negative for a short position.
        active_weight: The value less the target weight, 1/N over all holdings unless set; sums to 0 over the
            holdings and all other names with a target.
        overweight: Whether the active weight is above 0.
        hhi: Herfindahl-Hirschman index, sum of w^2: 1/N to 1.
        effective_holdings: 1 / HHI, the number of equal positions with the same concentration: 1 to N.
        rank: 1 for the largest gross value; ties share the better rank.
    """

    weight: float
    active_weight: float
    overweight: bool
    hhi: float
    effective_holdings: float
    rank: int


def concentration_fields(inputs: AnalysisInputs, value: float) -> dict[str, Field]:
    """Compute the detail of a value."""
    portfolio = inputs.portfolio
    active = value - inputs.target
    hhi = portfolio.hhi
    return {
        "weight": inputs.weight,
        "active_weight": active,
        "overweight": active > 0.0,
        "hhi": hhi,
        "effective_holdings": 1.0 / hhi,
        "rank": 1 + int(np.count_nonzero(portfolio.sizes > value)),
    }


@metric("concentration", detail=ConcentrationDetail, fields=concentration_fields)
def concentration(inputs: AnalysisInputs) -> float:
    """Share of gross value: abs(m_i) / G, 0 to 1, sums to 1 over the holdings.

    Signed values m are shares times live prices, G is the sum of abs(m). It needs no history and never
    raises.
    """
    return abs(inputs.weight)
