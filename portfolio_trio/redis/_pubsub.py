"""Messages of subscribed channels, kept for a reader up to a bound."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, slots=True)
class Message:
    """One published message."""

    channel: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages may be missing here: the connection was lost and restored, or the reader was too slow.

    Pub/sub delivers at most once, so read again what the messages refer to.
    """

    reason: str


class Subscription:
    """An endless stream of messages, oldest first.

    Iterating waits for the next :class:`Message`; a :class:`Missed` marks where some may be missing. Only one
    task may iterate; when the stream is full, a new message drops the oldest.
    """

    def __init__(self, max_waiting: int) -> None:
        self._waiting: deque[Message] = deque(maxlen=max_waiting)
        self._missed: Missed | None = None
        self._arrived = anyio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Missed:
        while True:
            if self._missed is not None or self._waiting:
                await anyio.lowlevel.checkpoint()
                return self._next()
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def _next(self) -> Message | Missed:
        # The missing messages are older than those that wait, so the marker comes first.
        missed, self._missed = self._missed, None
        return missed if missed is not None else self._waiting.popleft()

    def put(self, message: Message) -> None:
        """Keep a message for the reader; a full stream drops its oldest."""
        if len(self._waiting) == self._waiting.maxlen:
            self._missed = Missed("the reader was too slow")
        self._waiting.append(message)
        self._arrived.set()

    def miss(self, reason: str) -> None:
        """Mark that messages may be missing; waiting ones are older than the gap, so they are dropped too."""
        self._waiting.clear()
        self._missed = Missed(reason)
        self._arrived.set()
