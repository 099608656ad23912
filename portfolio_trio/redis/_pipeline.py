"""The protocol of one connection, without I/O: commands in, bytes out; bytes in, replies out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
from redis.exceptions import InvalidResponse

from portfolio_trio.redis._redis_py import parse_error
from portfolio_trio.redis.errors import TooManyPending, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

_INCOMPLETE = object()


class Call:
    """A command in flight: ``done`` is set once ``reply`` is the reply or the failure."""

    __slots__ = ("done", "reply")

    def __init__(self, done: anyio.Event) -> None:
        self.done = done
        self.reply: Any = None


class Pipeline:
    """Matches replies to commands, first in, first out.

    If a caller stops waiting, nothing changes here: its reply is read in turn and dropped.

    Args:
        new_event: Makes the event that a caller waits for.
        on_push: Takes out-of-band messages (pub/sub).
        max_pending: Commands without a reply at one time.
        max_unsent_bytes: Bytes gathered for the next send.
    """

    def __init__(
        self,
        new_event: Callable[[], anyio.Event],
        on_push: Callable[[list[Any]], None],
        *,
        max_pending: int,
        max_unsent_bytes: int,
    ) -> None:
        self._new_event = new_event
        self._on_push = on_push
        self._max_pending = max_pending
        self._max_unsent_bytes = max_unsent_bytes
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=parse_error, notEnoughData=_INCOMPLETE
        )
        self._pending: deque[Call] = deque()
        self._unsent: list[bytes] = []
        self._closed = ""
        self.unsent_bytes = 0
        self.received = 0

    @property
    def pending(self) -> int:
        """Commands without a reply so far."""
        return len(self._pending)

    def submit(self, packed: bytes) -> Call:
        """Queue one packed command.

        Raises:
            TooManyPending: A bound is reached.
            Unavailable: The connection is lost or about to close.
        """
        if self._closed:
            raise Unavailable(f"{self._closed}; it was not sent")
        pending = self._pending
        if len(pending) >= self._max_pending or self.unsent_bytes + len(packed) > self._max_unsent_bytes:
            raise TooManyPending(
                f"{len(pending)} commands and {self.unsent_bytes} bytes wait; send less or raise the limits"
            )
        call = Call(self._new_event())
        pending.append(call)
        self._unsent.append(packed)
        self.unsent_bytes += len(packed)
        return call

    def say(self, packed: bytes) -> None:
        """Queue a command that is answered out of band.

        Raises:
            Unavailable: The connection is lost or about to close.
        """
        if self._closed:
            raise Unavailable(f"{self._closed}; it was not sent")
        self._unsent.append(packed)
        self.unsent_bytes += len(packed)

    def take(self) -> bytes:
        """Take everything that waits to be sent; its outcome is unknown until the replies arrive."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        self.unsent_bytes = 0
        return data

    def feed(self, data: bytes) -> None:
        """Complete the calls whose replies are in ``data``.

        Raises:
            InvalidResponse: The bytes are not RESP, or a reply without a command.
        """
        pending = self._pending
        self._reader.feed(data)
        while (reply := self._next()) is not _INCOMPLETE:
            if isinstance(reply, hiredis.PushNotification):
                self._on_push(reply)
                continue
            if not pending:
                raise InvalidResponse("the server sent a reply without a command")
            call = pending.popleft()
            call.reply = reply
            call.done.set()
            self.received += 1

    def _next(self) -> Any:  # noqa: ANN401 - a reply is whatever the server says
        try:
            return self._reader.gets()
        except TypeError as error:
            # RESP3 allows maps whose keys are lists, which a Python dict cannot hold.
            raise InvalidResponse(f"the server sent a reply that Python cannot hold: {error}") from error

    def close(self, reason: str) -> None:
        """Accept no more commands; those in flight continue."""
        self._closed = self._closed or reason

    def fail(self, failure: type[Unavailable], reason: str) -> None:
        """Fail every waiting call; the failure says whether it was handed to the network."""
        self.close(reason)
        never_sent = len(self._unsent)
        while self._pending:
            call = self._pending.popleft()
            sent = len(self._pending) >= never_sent
            call.reply = failure(f"{reason}; {'it may have run' if sent else 'it was not sent'}", sent=sent)
            call.done.set()
        self.take()
