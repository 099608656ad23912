"""CPU time of functions that take their turn in every round."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Long enough for the clock, short enough for many rounds.
SECONDS_PER_TURN: Final = 0.02


def turns(function: Callable[[], object]) -> int:
    """How many calls fill one turn."""
    start = process_time()
    calls = 0
    while process_time() - start < SECONDS_PER_TURN:
        function()
        calls += 1
    return max(1, calls)


def cost(function: Callable[[], object], calls: int) -> float:
    """CPU microseconds of one call."""
    start = process_time()
    for _ in range(calls):
        function()
    return (process_time() - start) / calls * 1e6


def measure(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Each contender's cost in each round; all take their turn in every round."""
    calls = {name: turns(function) for name, function in contenders.items()}
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            costs[name].append(cost(function, calls[name]))
    return costs
