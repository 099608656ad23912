"""Faults of this program: contained where a loop has to go on, logged and counted."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.log_throttle import Seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log: Final = logging.getLogger(__name__)


class Faults:
    """Contains and counts what nobody expects: programming errors of this program and of plug-ins.

    What can be expected, as a store that is away, is handled where it comes up and never gets here. A
    boundary stands round the work of one for many: one socket of a room, one event, one tick, one heartbeat.

    Attributes:
        counts: How many faults came to each boundary since the start.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        # One that comes with each tick or each client is a traceback every few seconds.
        self._log = Seldom(log, clock=trio.current_time)

    @contextmanager
    def contained(self, where: str, *, instead: Callable[[], object] | None = None) -> Iterator[None]:
        """Let no fault out of the block: it is logged and counted, and the block is over.

        Cancellation, and whatever else is no ``Exception``, passes, be it alone or in a group with a fault.

        Args:
            where: The boundary, for the log and the count.
            instead: Called after a fault; ends what the fault has left in doubt, and cannot fail itself.
        """
        try:
            yield
        except* Exception as group:  # noqa: BLE001 - logged, with its traceback
            self.counts[where] += 1
            fault = _single(group)
            self._log.error(
                "a fault of this program was contained: please report it",
                exc_info=fault,
                extra={"event": "fault", "where": where},
                alike=(where, type(fault).__name__),
            )
            if instead is not None:
                instead()


def _single(group: BaseExceptionGroup[Exception]) -> BaseException:
    """The fault itself, where it is only one: a group round it would fill the log."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
