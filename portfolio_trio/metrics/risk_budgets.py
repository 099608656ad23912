"""The sizes at which each position's share of risk is its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from portfolio_trio.metrics.errors import MetricError

if TYPE_CHECKING:
    import numpy.typing as npt

TOLERANCE: Final = 1e-10
"""The tolerance between a share of risk and its budget."""
_MAX_STEPS: Final = 100
# Relative steps up to this are not damped: Newton converges quadratically from there on.
_WHOLE_STEP: Final = 0.3
# Start from at most a thousand times the right size if positions hedge each other.
_LEAST_VARIANCE: Final = 1e-6
# Rows that are eliminated at a time.
_BLOCK: Final = 64


def budgeted_sizes(
    returns: npt.NDArray[np.float64], budgets: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Positive sizes y, sum 1, with y_i (Sy)_i = b_i y'Sy for S = R R'.

    The minimum of y'Sy / 2 - sum b_i ln y_i (Spinu 2013), which is convex, by damped Newton from the
    inverse-volatility start. Names are measured in units of their volatility: S has ones on its diagonal.

    Args:
        returns: R, weighted returns of each name times the sign of its position, each of which moves,
            shape ``(N, L)``.
        budgets: b, above 0, sum 1, shape ``(N,)``.

    Raises:
        MetricError: ``no_plan`` if no minimum was found, because positions of these signs hedge each other:
            there is none, or they nearly cancel and rounding errors hide it.
    """
    volatilities = np.sqrt(np.einsum("ij,ij->i", returns, returns))
    scaled = returns / volatilities[:, None]
    correlations = scaled.dot(scaled.T)
    # Without correlations this is the solution; y'Sy is 1 at every minimum.
    sizes = np.sqrt(budgets)
    sizes /= np.sqrt(max(float(sizes.dot(correlations).dot(sizes)), _LEAST_VARIANCE))
    for _ in range(_MAX_STEPS):
        pull = correlations.dot(sizes)
        shares = sizes * pull
        variance = float(shares.sum())
        if variance > 0.0 and np.abs(shares / variance - budgets).max() <= TOLERANCE:
            found: npt.NDArray[np.float64] = sizes / volatilities
            found /= found.sum()
            return found
        # Newton's step relative to the size, x = dy / y: (diag(y) C diag(y) + diag(b)) x = b - y * Cy.
        curvature = correlations * np.outer(sizes, sizes)
        curvature.flat[:: len(sizes) + 1] += budgets
        try:
            step = solved(curvature, budgets - shares)
        except np.linalg.LinAlgError:
            break
        largest = float(np.abs(step).max())
        if not largest < np.inf:
            break
        sizes = sizes * (1.0 + step / (1.0 + largest if largest > _WHOLE_STEP else 1.0))
    raise MetricError(
        "no_plan",
        "no sizes were found at which these positions meet these budgets: some hedge each other fully, or "
        "too closely to compute",
    )


def solved(matrix: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The x with A x = b for a symmetric positive definite A, by blocks of rows without pivoting.

    `numpy.linalg.solve` holds the interpreter's lock throughout, 3 ms for 500 names, and the event loop would
    wait for it although this runs in a worker thread. Of a block it is a tenth of that; the products between
    blocks release the lock.

    Args:
        matrix: A, shape ``(N, N)``.
        right: b, shape ``(N,)``.

    Raises:
        numpy.linalg.LinAlgError: A is singular.
    """
    count = len(right)
    rows = np.column_stack((matrix, right))
    starts = range(0, count, _BLOCK)
    for start in starts:
        end = min(start + _BLOCK, count)
        block = rows[start:end]
        block[:, end:] = np.linalg.solve(block[:, start:end], block[:, end:])
        rows[end:, end:] -= rows[end:, start:end].dot(block[:, end:])
    found: npt.NDArray[np.float64] = rows[:, -1].copy()
    for start in reversed(starts):
        end = min(start + _BLOCK, count)
        found[start:end] -= rows[start:end, end:-1].dot(found[end:])
    return found
