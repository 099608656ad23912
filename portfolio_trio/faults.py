"""Faults (bugs) of this program: contained where a loop has to continue, logged and counted."""

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
    """Contains and counts unexpected exceptions: bugs of this program and of plug-ins.

    Expected conditions, such as a store that is down, are handled where they occur and never get here. A
    boundary surrounds each piece of work in a loop that serves many: one socket of a session, one event, one
    tick, one heartbeat.

    Attributes:
        counts: The number of faults at each boundary since the start.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        # Without a limit, a fault at each tick or client would log a traceback every few seconds.
        self._log = Seldom(log, clock=trio.current_time)

    @contextmanager
    def contained(self, where: str, *, instead: Callable[[], object] | None = None) -> Iterator[None]:
        """Contain faults of the block: a fault is logged and counted, and ends the block.

        Cancellation, and any other BaseException, propagates, alone or in a group with a fault.

        Args:
            where: The boundary, for the log and the count.
            instead: Called after a fault, to clean up what it left in an uncertain state; must not fail.
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
    """The fault itself, if there is only one: a group around it would fill the log."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
