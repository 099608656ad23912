"""Weighted returns of one set of held names, shared by all sessions that hold these names."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_trio.metrics.kernel import ZERO_VARIANCE, Kernel
from portfolio_trio.metrics.table import FOLDED, Table, centred

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

WINDOW = 252
"""Newest common returns used: one year of weekdays."""
MIN_ROWS = 60
"""The minimum number of common returns for estimates from history."""
HALF_LIFE = 63.0
"""The half-life of the weights in rows: one quarter of a year of weekdays."""


def decay_weights(rows: int) -> npt.NDArray[np.float64]:
    """Exponential weights, oldest first: proportional to ``2 ** (-age / 63)``, sum 1, shape ``(rows,)``."""
    raw: npt.NDArray[np.float64] = np.exp2(-np.arange(rows - 1, -1, -1) / HALF_LIFE)
    weights: npt.NDArray[np.float64] = raw / raw.sum()
    return weights


def weigh(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``sqrt(k) * R``, one contiguous row per name, shape ``(N, L)``."""
    return returns * np.sqrt(decay_weights(returns.shape[1]))


class Neighbours(NamedTuple):
    """How the other names that move are correlated with one.

    Attributes:
        places: Their positions among the names.
        scaled: EWMA covariance with that name over the other's volatility, in the order of `places`.
        closest: The position of the largest of these; of equals the first.
        farthest: The position of the smallest.
    """

    places: npt.NDArray[np.intp]
    scaled: npt.NDArray[np.float64]
    closest: int
    farthest: int


@dataclass(frozen=True, slots=False, eq=False)
class History:
    """The newest common returns of N held names, weighted; immutable and shared between sessions.

    Attributes:
        tickers: The names, sorted, shape ``(N,)``.
        n_obs: The number of common returns, L, at most 252.
        weighted: ``sqrt(k) * R``, one row per name, shape ``(N, L)``, read-only, not demeaned. R are
            simple returns from one common row to the next as fractions, oldest first; k the weights of
            `decay_weights`. Cash has a row of zeros.
        periods: How many such returns make a year, A: 365, 252, 52 or 12.
        last_bar: ISO date of the newest close of any of them; None if there is none.
        last_day: The same in days since 1970-01-01.
        cash: The names that are cash, which always costs 1.
        culprits: The names that cause fewer than 60 common returns; empty if there are enough.
        digest: 32-byte digest of the names and all their closes; see `snapshot`.
        columns: The column of each name in the bars, -1 for cash, shape ``(N,)``; None if a name has none.
    """

    tickers: tuple[str, ...]
    n_obs: int
    weighted: npt.NDArray[np.float64]
    periods: int
    last_bar: str | None
    last_day: int | None
    cash: frozenset[str]
    culprits: tuple[str, ...]
    digest: bytes
    columns: npt.NDArray[np.intp] | None

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The position of each name in `tickers`."""
        return {ticker: index for index, ticker in enumerate(self.tickers)}

    @property
    def variances(self) -> npt.NDArray[np.float64]:
        """EWMA variance of each name's returns (diagonal of S), shape ``(N,)``."""
        return self.kernel.variances

    @cached_property
    def undo_weights(self) -> npt.NDArray[np.float64]:
        """``1 / sqrt(k)``: converts a row of `weighted` back into plain returns, shape ``(L,)``."""
        return 1.0 / np.sqrt(decay_weights(self.n_obs))

    @cached_property
    def inverse_volatilities(self) -> npt.NDArray[np.float64]:
        """``1 / sqrt(variances)``; NaN for a name that does not move; shape ``(N,)``."""
        variances = np.where(self.variances > ZERO_VARIANCE, self.variances, np.nan)
        inverse: npt.NDArray[np.float64] = 1.0 / np.sqrt(variances)
        return inverse

    @cached_property
    def flat(self) -> npt.NDArray[np.intp]:
        """Indices of the names that do not move."""
        return np.flatnonzero(self.variances <= ZERO_VARIANCE)

    @cached_property
    def equal_targets(self) -> array[float]:
        """Target weights: 1/N for each name, shape ``(N,)``; must not be modified."""
        return array("d", [1.0 / len(self.tickers)]) * len(self.tickers)

    @cached_property
    def equal_budgets(self) -> array[float]:
        """Risk budgets: 1/N over the names that move, else 0, shape ``(N,)``; must not be modified."""
        if not len(self.flat):
            return self.equal_targets
        budgets = array("d", [1.0 / max(len(self.tickers) - len(self.flat), 1)]) * len(self.tickers)
        for index in self.flat.tolist():
            budgets[index] = 0.0
        return budgets

    @cached_property
    def kernel(self) -> Kernel:
        """The sums over these returns."""
        return Kernel(Table(self.weighted))

    @cached_property
    def _windows(self) -> dict[int, Table]:
        return {}

    def window(self, rows: int) -> Table | None:
        """The newest returns, equally weighted and demeaned; None if there are too few.

        Computed once for each number of rows.
        """
        if rows > self.n_obs:
            return None
        table = self._windows.get(rows)
        if table is None:
            table = self._windows[rows] = centred((self.weighted * self.undo_weights)[:, -rows:])
        return table

    @cached_property
    def _neighbours(self) -> dict[int, Neighbours]:
        return {}

    def neighbours(self, index: int) -> Neighbours | None:
        """How the other names are correlated with one, computed once; None if none of them moves."""
        found = self._neighbours.get(index)
        if found is None:
            others = self.variances > ZERO_VARIANCE
            others[index] = False
            places = np.flatnonzero(others)
            if not len(places):
                return None
            # Only the order matters, so the name's own volatility need not be divided out.
            scaled = self.kernel.covariances(index)[places] / np.sqrt(self.variances[places])
            closest, farthest = int(places[scaled.argmax()]), int(places[scaled.argmin()])
            found = self._neighbours[index] = Neighbours(places, scaled, closest, farthest)
        return found

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes, including everything that may be computed later."""
        count = len(self.tickers)
        # The tables of windows are as long as the windows if they are not folded.
        tables = self.weighted.nbytes * 4 // 3 if count > FOLDED else 0
        return self.weighted.nbytes + tables + 1024
