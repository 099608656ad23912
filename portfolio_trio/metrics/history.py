"""Weighted returns of one set of held names: what all sessions that hold these names share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

WINDOW = 252
"""Newest common returns used: one trading year."""
MIN_ROWS = 60
"""Common returns below which nothing is estimated from history."""
HALF_LIFE = 63.0
"""Rows after which an observation counts half: one quarter of a trading year."""
ZERO_VARIANCE = 1e-24
"""A daily variance up to this is none: it is the rounding of constant prices."""
TRADING_DAYS = 252.0
"""Daily variances times this are annual ones."""


def decay_weights(rows: int) -> npt.NDArray[np.float64]:
    """Exponential weights, oldest first: proportional to ``2 ** (-age / 63)``, sum 1, shape ``(rows,)``."""
    raw: npt.NDArray[np.float64] = np.exp2(-np.arange(rows - 1, -1, -1) / HALF_LIFE)
    weights: npt.NDArray[np.float64] = raw / raw.sum()
    return weights


@dataclass(frozen=True, slots=False, eq=False)
class History:
    """The newest common returns of N held names, weighted; immutable and shared between sessions.

    Attributes:
        tickers: The names, sorted, shape ``(N,)``.
        n_obs: How many common daily returns there are, L, at most 252.
        weighted: ``sqrt(k) * R``, one row per name, shape ``(N, L)``, read-only, not demeaned. R are
            simple daily returns as fractions, oldest first; k the weights of `decay_weights`.
        culprits: For a number of rows (60 or 252) that is not reached, the names it fails for.
        digest: 32 bytes that stand for the names and for every close of theirs; see `snapshot`.
    """

    tickers: tuple[str, ...]
    n_obs: int
    weighted: npt.NDArray[np.float64]
    culprits: Mapping[int, tuple[str, ...]]
    digest: bytes

    @cached_property
    def variances(self) -> npt.NDArray[np.float64]:
        """EWMA variance of each name's daily returns (diagonal of S), shape ``(N,)``."""
        variances: npt.NDArray[np.float64] = np.einsum("ij,ij->i", self.weighted, self.weighted)
        return variances

    @cached_property
    def undo_weights(self) -> npt.NDArray[np.float64]:
        """``1 / sqrt(k)``: multiplies a row of `weighted` back into plain returns, shape ``(L,)``."""
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
    def equal_targets(self) -> npt.NDArray[np.float64]:
        """1/N for each name, shape ``(N,)``, read-only."""
        targets = np.full(len(self.tickers), 1.0 / len(self.tickers))
        targets.setflags(write=False)
        return targets

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, nearly."""
        return self.weighted.nbytes + 1024
