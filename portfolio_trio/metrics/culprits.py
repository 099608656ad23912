"""Finding the holdings that cause too few common returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portfolio_trio.metrics.history import MIN_ROWS
from portfolio_trio.metrics.rows import LONGEST_GAP

if TYPE_CHECKING:
    from portfolio_trio.metrics.bars import Bars


def culprits(bars: Bars, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that cause fewer than 60 common returns; never empty.

    Those with too few returns of their own; else those that have ended, more than 14 days before the
    newest close of any of them; else those that lack a close on one of the newest 61 days on which any has
    one; else all.
    """
    days = {name: bars.own_closes(name)[0] for name in names}
    short = tuple(name for name in names if np.count_nonzero(np.diff(days[name]) <= LONGEST_GAP) < MIN_ROWS)
    if short:
        return short
    newest = max(int(own[-1]) for own in days.values())
    ended = tuple(name for name in names if newest - int(days[name][-1]) > LONGEST_GAP)
    if ended:
        return ended
    # The newest days of each are enough to find the newest days overall.
    union = np.unique(np.concatenate([own[-MIN_ROWS - 1 :] for own in days.values()]))[-MIN_ROWS - 1 :]
    missing = tuple(name for name in names if not np.isin(union, days[name]).all())
    return missing or names
