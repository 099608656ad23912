"""Six sums from which every metric is computed: for one holding, or for all with identical digits."""

from __future__ import annotations

from math import fsum, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from portfolio_trio.metrics.errors import MetricError

if TYPE_CHECKING:
    from array import array

    import numpy.typing as npt

    from portfolio_trio.metrics.table import Table

    Floats: TypeAlias = npt.NDArray[np.float64]


ZERO_VARIANCE: Final = 1e-24
"""A variance of returns up to this counts as zero: it is the rounding error of constant prices."""

_HALF: Final = 0.5


class Moments(NamedTuple):
    """Statistics from history of one holding, of the others, and of the portfolio.

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


class AllMoments(NamedTuple):
    """The moments of all holdings, in the order of the names: those of `Moments`, each shape ``(N,)``.

    `portfolio_variance` is one for all.
    """

    weight: Floats
    rest_gross: Floats
    variance: Floats
    rest_covariance: Floats
    rest_variance: Floats
    portfolio_covariance: Floats
    portfolio_variance: float


class Whole(NamedTuple):
    """The part that all holdings of a portfolio have in common; made by `Kernel.whole`.

    Attributes:
        values: Signed value of each, in currency units.
        gross: The sum of their sizes.
        weights: w, shape ``(N,)``.
        returns: Y w, folded, shape ``(K,)``.
        variance: w'Sw.
        half_volatility: Half of the sum of the holdings' volatilities, each times the size of its weight.
    """

    values: array[float]
    gross: float
    weights: Floats
    returns: Floats
    variance: float
    half_volatility: float


def require_moving(ticker: str, moments: Moments) -> None:
    """Raise `MetricError` ``zero_variance`` if the prices of a holding do not move."""
    if moments.variance <= ZERO_VARIANCE:
        raise MetricError("zero_variance", f"the price of {ticker} does not move", (ticker,))


class Kernel:
    """The sums over one set of names, for any portfolio of them.

    `one` and `every` perform the same operations in the same order, so that a holding has bit-identical
    moments in both.

    The returns of the rest are those of the portfolio less the holding's own. That is as exact as adding up
    the others, as long as the holding is at most half of the portfolio's value and of the sum of its
    holdings' volatilities. For a holding beyond either limit the others are added up; there are at most two
    such holdings. Variances are always squares of summed returns: ``Q - m^2 a - 2 m c`` would cancel.

    Attributes:
        variances: EWMA variance of each name's returns, shape ``(N,)``.
        is_folded: Whether sums are of fewer terms than there are returns.
    """

    def __init__(self, table: Table) -> None:
        self._columns = table.columns
        self.is_folded = table.is_folded
        self.variances: Floats = np.array(table.squares)
        self._squares = table.squares
        self._volatilities = np.sqrt(self.variances)

    def whole(self, values: array[float], gross: float) -> Whole:
        """The part that the holdings of a portfolio have in common.

        Args:
            values: Signed value of each holding in currency units, in the order of the names.
            gross: The sum of their sizes.
        """
        weights: Floats = np.frombuffer(values) / gross
        returns: Floats = weights.dot(self._columns)
        half = 0.5 * float(np.abs(weights).dot(self._volatilities))
        return Whole(values, gross, weights, returns, float(returns.dot(returns)), half)

    def one(self, whole: Whole, index: int) -> Moments:
        """The moments of the holding at a position."""
        weight = whole.values[index] / whole.gross
        if self._dominates(whole, weight, index):
            return self._beside_next_to_nothing(whole, weight, index)
        return self._usual(whole, weight, index, whole.returns - self._columns[index] * weight)

    def rest(self, whole: Whole, index: int) -> Floats:
        """Returns of the others on their own gross value, folded, shape ``(K,)``."""
        weight = whole.values[index] / whole.gross
        if self._dominates(whole, weight, index):
            return self._others(whole, index)[1]
        returns: Floats = whole.returns - self._columns[index] * weight
        returns /= (whole.gross - abs(whole.values[index])) / whole.gross
        return returns

    def every(self, whole: Whole) -> AllMoments:
        """The moments of all holdings, in the order of the names."""
        columns, sizes = self._columns, np.abs(whole.weights)
        rests = columns * whole.weights[:, np.newaxis]
        np.subtract(whole.returns, rests, out=rests)
        rest_gross: Floats = whole.gross - np.abs(np.frombuffer(whole.values))
        share = rest_gross / whole.gross
        # A single holding has no rest. It is more than half, so it is computed below.
        with np.errstate(divide="ignore", invalid="ignore"):
            found = AllMoments(
                whole.weights.copy(),
                rest_gross,
                self.variances,
                np.vecdot(columns, rests) / share,
                np.vecdot(rests, rests) / (share * share),
                np.vecdot(columns, whole.returns),
                whole.variance,
            )
        large = (sizes > _HALF) | (sizes * self._volatilities > whole.half_volatility)
        for index in np.flatnonzero(large).tolist():
            own = self._beside_next_to_nothing(whole, float(whole.weights[index]), index)
            found.rest_gross[index] = own.rest_gross
            found.rest_covariance[index] = own.rest_covariance
            found.rest_variance[index] = own.rest_variance
        return found

    def combined(self, weights: Floats) -> Floats:
        """Returns of the names in these weights, folded, shape ``(K,)``."""
        combined: Floats = weights.dot(self._columns)
        return combined

    def with_each(self, combined: Floats) -> Floats:
        """EWMA covariance of a combination with each of the names, shape ``(N,)``."""
        covariances: Floats = self._columns.dot(combined)
        return covariances

    def folded(self, places: npt.NDArray[np.intp]) -> Floats:
        """Returns of some of the names, folded, shape ``(len(places), K)``."""
        return self._columns[places]

    def covariances(self, index: int) -> Floats:
        """EWMA covariance of a name with each of the names, its column of S, shape ``(N,)``."""
        covariances: Floats = self._columns.dot(self._columns[index])
        return covariances

    def _dominates(self, whole: Whole, weight: float, index: int) -> bool:
        """Whether a holding is more than half of the portfolio's value, or of its volatilities."""
        size = abs(weight)
        return size > _HALF or size * sqrt(self._squares[index]) > whole.half_volatility

    def _usual(self, whole: Whole, weight: float, index: int, rest: Floats) -> Moments:
        """From the returns of the others on the gross value of the whole."""
        own = self._columns[index]
        rest_gross = whole.gross - abs(whole.values[index])
        share = rest_gross / whole.gross
        return Moments(
            weight,
            rest_gross,
            self._squares[index],
            float(own.dot(rest)) / share,
            float(rest.dot(rest)) / (share * share),
            float(own.dot(whole.returns)),
            whole.variance,
        )

    def _beside_next_to_nothing(self, whole: Whole, weight: float, index: int) -> Moments:
        """From the sum of the others, on their own gross value."""
        own, (rest_gross, rest) = self._columns[index], self._others(whole, index)
        return Moments(
            weight,
            rest_gross,
            self._squares[index],
            float(own.dot(rest)),
            float(rest.dot(rest)),
            float(own.dot(whole.returns)),
            whole.variance,
        )

    def _others(self, whole: Whole, index: int) -> tuple[float, Floats]:
        """The gross value of the others, and their returns on it, added up."""
        others = np.array(whole.values)
        others[index] = 0.0
        rest_gross = fsum(np.abs(others).tolist())
        rest: Floats = (others / (rest_gross or 1.0)).dot(self._columns)
        return rest_gross, rest
