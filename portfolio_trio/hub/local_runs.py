"""The runs of one session's sockets on this worker: ending or restarting them is delegated to each socket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.members import Member, SessionSubscriber
    from portfolio_trio.hub.run_state import EndReason
    from portfolio_trio.protocol.messages import AnalysisCancelled

log: Final = logging.getLogger(__name__)


class LocalRuns:
    """At most one run per socket, and at most one of them open once a start has been claimed.

    Args:
        session_id: The session.
        members: Its present sockets.
        faults: A fault of one socket's run ends that socket, and never reaches the caller.
    """

    __slots__ = ("_faults", "_members", "_session_id")

    def __init__(self, session_id: str, members: Collection[Member], faults: Faults) -> None:
        self._session_id = session_id
        self._members = members
        self._faults = faults

    @property
    def running(self) -> int | None:
        """The open run, if it has its number."""
        numbers = (member.runner.running for member in self._members)
        return next((run_id for run_id in numbers if run_id is not None), None)

    async def stop(
        self,
        reason: EndReason,
        *,
        exclude: SessionSubscriber | None = None,
        canceller: Canceller | None = None,
    ) -> AnalysisCancelled | None:
        """End the runs of all sockets except one; return the last event of the open run, if any."""
        stopped = None
        for member in self._now():
            if member.subscriber is not exclude:
                with self._alone(member):
                    stopped = await member.runner.stop(reason, canceller=canceller) or stopped
        return stopped

    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        """End the run with this number; return its last event, if it was open here."""
        stopped = None
        for member in self._now():
            with self._alone(member):
                stopped = await member.runner.cancel(run_id) or stopped
        return stopped

    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        """End the runs whose numbers are below this one, and wait until their tasks have ended.

        ``standing`` as for `renew`: the run that it replaced.
        """
        for member in self._now():
            with self._alone(member):
                await member.runner.supersede(run_id, standing)

    def renew(self, version: int, standing: int | None = None) -> None:
        """Restart the runs on older holdings.

        Args:
            version: The new holdings.
            standing: The run that was current when they came; 0 for none, None if unknown. Any other run had
                ended in the document before, and its last results are on their way.
        """
        for member in self._now():
            with self._alone(member):
                member.runner.renew(version, standing)

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Restart the runs on prices that are too far from these."""
        for member in self._now():
            with self._alone(member):
                member.runner.reprice(prices)

    async def clear(self) -> None:
        """Record the ends of runs in the document.

        If the store fails, the runner tries again, at the latest when the socket closes.
        """
        for member in self._now():
            try:
                await member.runner.clear()
            except StoreError as failure:
                log.info(
                    "a run that is over is still in its document; it will be cleared later",
                    extra={"event": "run_not_cleared", "session": self._session_id, "error": str(failure)},
                )

    def _now(self) -> tuple[Member, ...]:
        return tuple(self._members)

    def _alone(self, member: Member) -> AbstractContextManager[None]:
        return self._faults.contained("a subscriber", instead=member.fail)
