"""The targets of a portfolio's owner: a share of value, and of risk, for each name."""

from __future__ import annotations

from array import array
from collections.abc import Mapping  # noqa: TC003 - pydantic needs it
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BAND: Final = 0.05
"""The default tolerated drift of a weight from its target."""
ROUNDING: Final = 1e-9
"""A drift up to this may remain after a plan was carried out."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Target weights and risk budgets, as they were set; they are relative to their sum.

    Attributes:
        weights: Share of gross value by name, at least 0; held names left out are to be sold. None means 1/N
            for each held name.
        budgets: Share of risk by name, above 0; held names left out are to be sold. None means 1/N for each
            held name that moves.
        band: Tolerated absolute drift of a weight from its target.

    Raises:
        ValueError: A share is negative or not finite, or none is above 0.
    """

    weights: Mapping[str, float] | None = None
    budgets: Mapping[str, float] | None = None
    band: float = BAND

    def __post_init__(self) -> None:
        for shares in (self.weights, self.budgets):
            if shares is None:
                continue
            total = sum(shares.values())
            if not (isfinite(total) and total > 0.0 and min(shares.values()) >= 0.0):
                raise ValueError(
                    "targets must be finite, not negative, and more than 0 for at least one name"
                )

    def weights_of(self, tickers: Sequence[str]) -> array[float] | None:
        """Target weights of some names, shape ``(N,)``; None if none are set."""
        return _shares_of(self.weights, tickers)

    def budgets_of(self, tickers: Sequence[str]) -> array[float] | None:
        """Risk budgets of some names, shape ``(N,)``; None if none are set."""
        return _shares_of(self.budgets, tickers)

    def outside(self, values: Mapping[str, float]) -> dict[str, float]:
        """Drift (share of gross value less target) of each name outside the band; empty without weights.

        Args:
            values: Signed value of each held name, in currency units.
        """
        if self.weights is None:
            return {}
        gross, total = sum(map(abs, values.values())) or 1.0, sum(self.weights.values())
        names = sorted({*values, *self.weights})
        drifts = {
            name: abs(values.get(name, 0.0)) / gross - self.weights.get(name, 0.0) / total for name in names
        }
        return {name: drift for name, drift in drifts.items() if abs(drift) > self.band + ROUNDING}


NO_TARGETS: Final = Targets()
"""Equal shares of everything."""


def _shares_of(shares: Mapping[str, float] | None, tickers: Sequence[str]) -> array[float] | None:
    if shares is None:
        return None
    total = sum(shares.values())
    return array("d", [shares.get(name, 0.0) / total for name in tickers])
