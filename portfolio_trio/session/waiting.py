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
        self._has_turn = False

    def wake(self) -> None:
        """There may be something newer."""
        self._woken.unpark_all()

    async def newer(self) -> None:
        """Wait until there is a newer tick or version than the last run saw, then for a turn.

        All that follow wake at one tick: a few that start at a time leave room for those who ask.
        """
        services = self._socket.services
        while (
            services.book.current.tick_id <= self.last.tick_id
            and self._socket.group.known.version <= self.last.version
        ):
            await self._woken.park()
        await services.followers.acquire_on_behalf_of(self)
        self._has_turn = True

    def pass_turn(self) -> None:
        """The next run has its snapshot, or will have none."""
        if self._has_turn:
            self._has_turn = False
            self._socket.services.followers.release_on_behalf_of(self)

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
