"""The queue of ``async for message in portfolio``: bounded, in order, keeping the newest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from portfolio_trio.client._errors import Disconnected
from portfolio_trio.protocol.events import ServerMessage, Unknown
from portfolio_trio.protocol.messages import PortfolioUpdate

if TYPE_CHECKING:
    from portfolio_trio.client._errors import Ending


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection was lost; the next ``portfolio`` message is the state on the new one.

    Attributes:
        detail: One line that says why.
        code: The close code; 1006 if there was none.
        retry_in: Seconds until the first attempt to reconnect.
    """

    detail: str
    code: int | None
    retry_in: float


@dataclass(frozen=True, slots=True)
class Missed:
    """The loop was too slow, so this many events before the next one were dropped.

    ``portfolio.state`` is still correct.
    """

    count: int


Event = ServerMessage | Unknown | ConnectionLost | Missed


class EventQueue:
    """A queue between the reader, which never waits, and the loops over the events.

    Beyond ``max_events`` the oldest is dropped, and the next event is a `Missed` that counts the dropped
    ones. Of ``portfolio_update`` only the newest waits. Several loops share the queue: each event goes to
    one.
    """

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._waiting: deque[Event] = deque()
        self._update: PortfolioUpdate | None = None
        self._missed = 0
        self._news = trio.lowlevel.ParkingLot()
        self._closed = False
        self._ending: Ending | None = None

    def put(self, event: Event) -> None:
        """Queue one event."""
        if isinstance(event, PortfolioUpdate):
            self._forget_update()
            self._update = event
        self._waiting.append(event)
        if len(self._waiting) > self._max_events:
            self._waiting.popleft()
            self._missed += 1
        self._news.unpark()

    def close(self, ending: Ending | None = None) -> None:
        """Close the queue; waiting events can still be taken, then the loops end, or raise."""
        if not self._closed:
            self._closed, self._ending = True, ending
            self._news.unpark_all()

    async def take(self) -> Event:
        """The next event.

        Raises:
            StopAsyncIteration: The queue was closed.
            Disconnected: It was closed because the client gave up.
        """
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration if self._ending is None else Disconnected(self._ending)
            await self._news.park()
        if self._missed:
            missed, self._missed = Missed(self._missed), 0
            return missed
        return self._waiting.popleft()

    def _forget_update(self) -> None:
        """A waiting one is replaced; one that was already taken is not found."""
        for place, event in enumerate(self._waiting):
            if event is self._update:
                del self._waiting[place]
                return
