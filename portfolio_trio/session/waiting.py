"""Between two runs of a followed analysis: waiting for a tick or version newer than the last run's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import AnalysisCancelled, Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.socket_state import Socket

# Ends that a client without the subprotocol did not cause itself, and would not learn of.
TOLD: Final[Mapping[EndReason, tuple[ErrorCode, str]]] = {
    EndReason.CANCELLED: (ErrorCode.CANCELLED, "another client of this session cancelled the analysis"),
    EndReason.SUPERSEDED: (ErrorCode.SUPERSEDED, "a newer analysis of this session replaced it"),
    EndReason.DRAINING: (ErrorCode.DRAINING, "the server is going away; connect and ask again"),
}


class Seen(NamedTuple):
    """The inputs of a run.

    Attributes:
        run_id: The run.
        version: Of the holdings.
        tick_id: Of the prices.
    """

    run_id: int
    version: int
    tick_id: int


class Waiting:
    """A followed analysis between two runs.

    Args:
        socket: The socket that asked.
        request: Its request.
        last: The inputs of the last run.

    Attributes:
        request: The followed request.
        last: The inputs of the last run.
        scope: Ends it.
    """

    def __init__(self, socket: Socket, request: Analyze, last: Seen) -> None:
        self._socket = socket
        self.request = request
        self.last = last
        self.scope = trio.CancelScope()
        self._woken = trio.lowlevel.ParkingLot()
        self._in_line = self._has_turn = self._is_gone = False

    def wake(self) -> None:
        """There may be a newer tick or version: line up for a turn."""
        if not (self._in_line or self._has_turn or self._is_gone):
            self._in_line = True
            self._socket.services.followers.line_up(self)

    def take_turn(self) -> bool:
        """It gets its turn, unless it is no longer followed."""
        self._in_line = False
        if self._is_gone:
            return False
        self._has_turn = True
        self._woken.unpark_all()
        return True

    async def newer(self) -> None:
        """Wait for a tick or version newer than the last run's, and for a turn.

        All followers learn of a tick at once: starting only a few at a time leaves room for other requests.
        """
        if self._is_behind:
            self.wake()
        try:
            while not (self._has_turn and self._is_behind):
                self.pass_turn()
                await self._woken.park()
            await self._socket.services.right_of_way.give_way()
        except trio.Cancelled:
            self._is_gone = True
            self.pass_turn()
            raise

    @property
    def _is_behind(self) -> bool:
        """Whether there is a tick or version newer than the last run's."""
        socket, last = self._socket, self.last
        tick_id, version = socket.services.book.current.tick_id, socket.group.document.known.version
        return tick_id > last.tick_id or version > last.version

    def pass_turn(self) -> None:
        """The next run has its snapshot, or will not get one."""
        if self._has_turn:
            self._has_turn = False
            self._socket.services.followers.give_back()

    def end(self, reason: EndReason, canceller: Canceller | None = None) -> None:
        """No other run will come. No run's end would show that, so report it to the session's sockets."""
        self.scope.cancel()
        writer, request, group = self._socket.writer, self.request, self._socket.group
        if reason is not EndReason.SWITCHED:
            told = AnalysisCancelled(ticker=request.ticker, reason=reason)
            group.publish(
                told,
                requester=writer,
                request_id=request.id,
                canceller=canceller,
                incarnation=group.incarnation,
            )
        by_itself = canceller is not None and canceller.subscriber is writer
        if reason in TOLD and not by_itself and not writer.receives_events:
            code, detail = TOLD[reason]
            writer.answer(Error.of(code, detail, id=request.id, ticker=request.ticker))
