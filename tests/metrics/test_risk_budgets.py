"""The equations of a plan are solved in small blocks: in between, the event loop gets the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_trio.metrics.risk_budgets import solved


def equations(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(count)
    returns = rng.normal(size=(count, 252))
    return returns @ returns.T / 252 + np.eye(count) / count, rng.normal(size=count)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 300])
def test_the_solution_is_that_of_numpy(count: int) -> None:
    matrix, right = equations(count)
    kept = matrix.copy(), right.copy()
    np.testing.assert_allclose(solved(matrix, right), np.linalg.solve(matrix, right), rtol=1e-9, atol=1e-12)
    assert (matrix == kept[0]).all()
    assert (right == kept[1]).all()


def test_no_call_that_keeps_the_interpreter_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    solve, sizes = np.linalg.solve, []

    def noted(matrix: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        sizes.append(len(matrix))
        return solve(matrix, right)

    monkeypatch.setattr(np.linalg, "solve", noted)
    solved(*equations(150))
    assert sizes == [64, 64, 22]


def test_equations_without_a_solution_are_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        solved(np.zeros((100, 100)), np.ones(100))
