"""Six sums that every metric is made of: for one holding, or for all of them with the very same digits."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.metrics.errors import MetricError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]


ZERO_VARIANCE: Final = 1e-24
"""A variance of returns up to this is none: it is the rounding of constant prices."""


class Moments(NamedTuple):
    """What history says about one holding, about the others, and about the portfolio.

    The letters are those of the formulas in the documentation: y_i the weighted returns of the holding,
    w its signed weight on gross value, S = Y'Y. The *rest* is the portfolio without the holding, weighted
    by its own gross value.

    Attributes:
        weight: w_i, signed.
        rest_gross: H, gross value of the other holdings, in currency units; 0 for a single holding.
        variance: a = S_ii, EWMA variance of the holding's returns.
        rest_covariance: c / H, of the holding's returns with the rest's.
        rest_variance: v / H^2, of the rest's returns.
        portfolio_covariance: (Sw)_i, of the holding's returns with the portfolio's.
        portfolio_variance: w'Sw, of the portfolio's returns.
    """

    weight: float
    rest_gross: float
    variance: float
    rest_covariance: float
    rest_variance: float
    portfolio_covariance: float
    portfolio_variance: float


def require_moving(ticker: str, moments: Moments) -> None:
    """Raise `MetricError` ``zero_variance`` where the prices of a holding do not move."""
    if moments.variance <= ZERO_VARIANCE:
        raise MetricError("zero_variance", f"the price of {ticker} does not move", (ticker,))


class Kernel:
    """The sums over one set of names, for any portfolio of these.

    `one` and `every` go through the same operations in the same order, so that a holding has the same
    moments to the last bit, whoever asks.

    The returns of the rest are those of the portfolio less the holding's own. That is as exact as adding
    up the others, as long as the holding is at most half of the portfolio's value and of the sum of its
    holdings' volatilities. Of a holding beyond either the others are added up: there are two at most.
    Variances are always squares of summed returns: ``Q - m^2 a - 2 m c`` would cancel.

    Attributes:
        variances: EWMA variance of each name's returns, shape ``(N,)``.
    """

    def __init__(self, weighted: Floats) -> None:
        self._table = weighted
        self.variances: Floats = np.add.reduce(weighted * weighted, axis=1)
        self._volatilities: Floats = np.sqrt(self.variances)

    def one(self, values: Sequence[float], gross: float, index: int) -> Moments:
        """Of the holding at a place.

        Args:
            values: Signed value of each holding in currency units, in the order of the names.
            gross: The sum of their sizes.
            index: The place of the holding.
        """
        portfolio = _Portfolio(self._table, self._volatilities, np.array(values), gross)
        own = self._table[index]
        weight = float(portfolio.weights[index])
        portfolio_covariance = float(np.add.reduce(own * portfolio.returns))
        rest_gross = gross - abs(values[index])
        if portfolio.dominant[index]:
            return self._dominant(portfolio, index, portfolio_covariance)
        rest = portfolio.returns - own * weight
        share = rest_gross / gross
        return Moments(
            weight=weight,
            rest_gross=rest_gross,
            variance=float(self.variances[index]),
            rest_covariance=float(np.add.reduce(own * rest)) / share,
            rest_variance=float(np.add.reduce(rest * rest)) / (share * share),
            portfolio_covariance=portfolio_covariance,
            portfolio_variance=portfolio.variance,
        )

    def every(self, values: Sequence[float], gross: float) -> list[Moments]:
        """Of all holdings, in the order of the names; the arguments are those of `one`."""
        table = self._table
        portfolio = _Portfolio(table, self._volatilities, np.array(values), gross)
        portfolio_covariances = np.add.reduce(table * portfolio.returns, axis=1).tolist()
        rests = portfolio.returns - table * portfolio.weights[:, np.newaxis]
        rest_gross = [gross - abs(value) for value in values]
        rest_covariances = np.add.reduce(table * rests, axis=1).tolist()
        rest_variances = np.add.reduce(rests * rests, axis=1).tolist()
        shares = [each / gross or 1.0 for each in rest_gross]
        found = list(
            map(
                Moments,
                portfolio.weights.tolist(),
                rest_gross,
                self.variances.tolist(),
                [each / share for each, share in zip(rest_covariances, shares, strict=True)],
                [each / (share * share) for each, share in zip(rest_variances, shares, strict=True)],
                portfolio_covariances,
                [portfolio.variance] * len(table),
            )
        )
        for index in np.flatnonzero(portfolio.dominant).tolist():
            found[index] = self._dominant(portfolio, index, portfolio_covariances[index])
        return found

    def _dominant(self, portfolio: _Portfolio, index: int, portfolio_covariance: float) -> Moments:
        """The moments of a holding beside which the others may be next to nothing."""
        others = portfolio.values.copy()
        others[index] = 0.0
        rest_gross = fsum(np.abs(others).tolist())
        rest = (others / (rest_gross or 1.0)).dot(self._table)
        return Moments(
            weight=float(portfolio.weights[index]),
            rest_gross=rest_gross,
            variance=float(self.variances[index]),
            rest_covariance=float(np.add.reduce(self._table[index] * rest)),
            rest_variance=float(np.add.reduce(rest * rest)),
            portfolio_covariance=portfolio_covariance,
            portfolio_variance=portfolio.variance,
        )


class _Portfolio:
    """What all holdings of a portfolio have in common."""

    def __init__(self, table: Floats, volatilities: Floats, values: Floats, gross: float) -> None:
        self.values = values
        self.weights: Floats = values / gross
        self.returns: Floats = self.weights.dot(table)
        self.variance = float(np.add.reduce(self.returns * self.returns))
        sizes = np.abs(self.weights)
        risks = sizes * volatilities
        self.dominant: npt.NDArray[np.bool_] = (sizes > 0.5) | (risks > 0.5 * float(np.add.reduce(risks)))  # noqa: PLR2004 - half
