"""Folded returns: as many numbers per name as there are names, with the same sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]

FOLDED: Final = 32
"""Up to this many names, folding costs less than a millisecond, once per set of names.

Above it, LAPACK works in blocks and BLAS starts threads for them, which spin: 20 ms of CPU on busy cores."""


class Table:
    """The returns A of N names, shape ``(L, N)``, for sums of products of any of their combinations.

    Such a sum, ``(A x)'(A y)``, is ``(R x)'(R y)`` with the triangle R of ``A = Q R``, since ``A'A = R'R``. R
    has N rows and A has up to 252, so a combination of three names is three numbers long. The product ``A'A``
    is not used: it would lose half of the digits when combinations cancel. Each column of R is as exact as
    that of A (Householder's QR; Higham, Accuracy and Stability, theorem 19.4).

    For more than `FOLDED` names the returns are used unfolded.

    Attributes:
        is_folded: Whether they are folded.
        columns: R, one contiguous row per name, shape ``(N, K)``, K at most L, read-only.
        squares: The sum of squares of each name, shape ``(N,)``.
    """

    def __init__(self, returns: Floats) -> None:
        """Make a table from one row per name, shape ``(N, L)``."""
        self.is_folded = len(returns) <= FOLDED
        if self.is_folded:
            triangle: Floats = np.asarray(np.linalg.qr(returns.T, mode="r"))
            returns = np.ascontiguousarray(triangle.T)
        returns.setflags(write=False)
        self.columns = returns
        self.squares: list[float] = [float(column.dot(column)) for column in returns]


def centred(returns: Floats) -> Table:
    """The table of demeaned returns, from one row per name, shape ``(N, rows)``."""
    return Table(returns - returns.mean(axis=1, keepdims=True))
