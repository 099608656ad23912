"""The state that outlives one run of a socket: what the document may still have of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from portfolio_trio.hub.endings import cancelled, ending_of
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.peers.orphans import Orphan
from portfolio_trio.store import SessionMissing, StoreError

if TYPE_CHECKING:
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.protocol.messages import AnalysisCancelled, AnalysisFailed
    from portfolio_trio.session.client_document import ClientDocument
    from portfolio_trio.session.services import Services
    from portfolio_trio.session.socket_writer import SocketWriter
    from portfolio_trio.store import Ending


@dataclass(slots=True)
class Standing:
    """The newest run of a socket, as the document may still have it.

    Attributes:
        run_id: Its number, if it may be current in the document, or its end has to be recorded there; else
            None.
        token: Of its start.
        incarnation: The document.
        told: The last reported end of a run with a number.
    """

    run_id: int | None = None
    token: str = ""
    incarnation: str = ""
    told: AnalysisCancelled | AnalysisFailed | None = None

    def ending(self, run: Run | None = None) -> Ending | None:
        """How it ended, as reported or, if it is ``run``, about to be reported; None if there is none."""
        if self.run_id is None:
            return None
        if self.told is not None and self.told.run_id == self.run_id:
            return ending_of(self.run_id, self.told)
        reason = run.reason if run is not None and run.run_id == self.run_id else None
        return cancelled(self.run_id, reason or EndReason.DISCONNECTED)


@dataclass(frozen=True, slots=True)
class Socket:
    """The state that all runs of one socket share.

    Attributes:
        services: The layers below.
        group: The session and its sockets.
        writer: The socket.
        document: The document that its client means.
        address: What its client's address counts as; None if it does not count.
        standing: The run that may still be in the document.
        leaving: Cancelled runs of which the writer may be in the middle of a frame.
    """

    services: Services
    group: SessionGroup
    writer: SocketWriter
    document: ClientDocument
    address: str | None = None
    standing: Standing = field(default_factory=Standing)
    leaving: list[Run] = field(default_factory=list)

    async def clear(self, run: Run | None) -> None:
        """Record in the document that the last run is over, if it may still be there.

        Args:
            run: The run whose task has not ended yet.

        Raises:
            StoreError: The store refused or could not be reached.
        """
        standing = self.standing
        run_id, ending = standing.run_id, standing.ending(run)
        if run_id is None or ending is None or (run is not None and run.may_send and run.run_id == run_id):
            # There is nothing there, or it was restarted meanwhile.
            return
        try:
            end = await self.services.store.finish_analysis(
                self.group.session_id,
                run_id=run_id,
                token=standing.token,
                incarnation=standing.incarnation,
                ending=ending,
                own=True,
            )
        except SessionMissing:
            raise
        except (StoreError, trio.Cancelled):
            # A reported end must be in the document soon, whether or not this socket sends another request.
            orphan = Orphan(self.group.session_id, standing.incarnation, run_id, ending=ending)
            self.services.peer_subscriber.adopt(orphan)
            raise
        if standing.run_id == run_id:
            standing.run_id = None
        # The run's end was reported before; sockets that came meanwhile have seen it in the document.
        told = standing.told if standing.told is not None and standing.told.run_id == run_id else None
        self.group.peers.set_peers_late(end.others, told)
