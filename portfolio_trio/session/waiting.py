"""Between two runs of a followed analysis: waits for something newer than the last one saw."""

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

# Ends that a client without the subprotocol did not bring about itself, and would wait for in vain.
TOLD: Final[Mapping[EndReason, tuple[ErrorCode, str]]] = {
    EndReason.SUPERSEDED: (ErrorCode.SUPERSEDED, "a newer analysis of this session took its place"),
    EndReason.DRAINING: (ErrorCode.DRAINING, "the server is going away; connect again and ask anew"),
}


class Seen(NamedTuple):
    """What a run saw.

    Attributes:
        run_id: The run.
        version: Of the holdings.
        tick_id: Of the prices.
    """

    run_id: int
    version: int
    tick_id: int


class Waiting:
    """What is followed, while nothing of it runs.

    Args:
        socket: Who asked.
        request: For what.
        last: What the last run saw.

    Attributes:
        request: What is followed.
        last: The run before.
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
        """There may be something newer: line up for a turn."""
        if not (self._in_line or self._has_turn or self._is_gone):
            self._in_line = True
            self._socket.services.followers.line_up(self)

    def take_turn(self) -> bool:
        """It is its turn, unless it is followed no more."""
        self._in_line = False
        if self._is_gone:
            return False
        self._has_turn = True
        self._woken.unpark_all()
        return True

    async def newer(self) -> None:
        """Wait until there is a newer tick or version than the last run saw, and for a turn.

        All that follow hear of one tick: a few that start at a time leave room for those who ask.
        """
        if self._is_behind:
            self.wake()
        try:
            while not (self._has_turn and self._is_behind):
                self.pass_turn()
                await self._woken.park()
        except trio.Cancelled:
            self._is_gone = True
            self.pass_turn()
            raise

    @property
    def _is_behind(self) -> bool:
        """Whether there is something newer than the last run saw."""
        tick_id, version = self._socket.services.book.current.tick_id, self._socket.group.known.version
        return tick_id > self.last.tick_id or version > self.last.version

    def pass_turn(self) -> None:
        """The next run has its snapshot, or will have none."""
        if self._has_turn:
            self._has_turn = False
            self._socket.services.followers.give_back()

    def end(self, reason: EndReason, canceller: Canceller | None = None) -> None:
        """No other run comes. There is none whose end would say so: who follows is told by itself."""
        self.scope.cancel()
        writer, request = self._socket.writer, self.request
        if canceller is not None and canceller.subscriber is writer:
            return
        if not writer.receives_events:
            if reason in TOLD:
                code, detail = TOLD[reason]
                writer.answer(Error.of(code, detail, id=request.id, ticker=request.ticker))
        elif reason is EndReason.CANCELLED or reason in TOLD:
            told = AnalysisCancelled(ticker=request.ticker, reason=reason, id=request.id)
            writer.enqueue(told.to_json())
