"""The interface between a price source and the price book."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from portfolio_trio.metrics.bars import Bars


@dataclass(frozen=True, slots=True)
class Unusable:
    """Takes the place of a price: the feed named the stock but gave no valid price.

    Attributes:
        reason: A few words for the report, such as ``given twice``.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut(Unusable):
    """Takes the place of a price for a name that is missing from the feed, while others have prices.

    The book prices the name at its last close, and marks it, if the close is not too old.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """The data a source supplies for a name it had not listed.

    Attributes:
        closes: Closing prices, shape ``(T,)``, on the dates of the bars the source loaded last;
            NaN where there is no close.
        price: The first live price, in currency units.
    """

    closes: npt.NDArray[np.float64]
    price: float


@runtime_checkable
class PriceSource(Protocol):
    """A source of closed bars and live prices. One price book owns and calls it, one call at a time.

    A source may raise anything: the book keeps the last prices, marks the tick stale and reports it.
    No method may block the event loop: do long work and file access in a worker thread.
    """

    @property
    def name(self) -> str:
        """A short name for logs and reports, such as ``simulated``."""
        ...

    async def load(self) -> Bars:
        """Return the closed bars known now.

        Called before each `quote`: return the same object while nothing has changed, a new one when there is
        a new bar.
        """
        ...

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float | Unusable]:
        """Return the live prices of one tick, in currency units.

        Args:
            previous: Prices of the previous tick; empty at the first.

        Returns:
            A price for every name that is in `previous` or in the bars. A name that is absent, is `Unusable`
            or has a price that is not finite and positive has no price at this tick; the other names are not
            affected. One that is `LeftOut` counts at its last close.
        """
        ...

    def admit(self, ticker: str) -> Admission | None:
        """Return history and first price of a name not yet listed; None if the source has none."""
        ...
