"""One request and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from portfolio_trio.client._errors import ClientError
    from portfolio_trio.protocol.events import ServerMessage, Unknown


class Frame:
    """Text that waits to be sent, or was sent.

    Attributes:
        text: The message.
        sent: Whether sending has begun, so that the server may have it.
    """

    __slots__ = ("sent", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sent = False


class Call:
    """A request that waits for its answer.

    Attributes:
        frame: What is sent.
    """

    __slots__ = ("_answer", "_done", "_failure", "frame")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._done = trio.Event()
        self._answer: ServerMessage | Unknown | None = None
        self._failure: ClientError | None = None

    def settle(self, answer: ServerMessage | Unknown) -> None:
        """Set the answer; the first one counts."""
        if not self._done.is_set():
            self._answer = answer
            self._done.set()

    def fail(self, failure: ClientError) -> None:
        """Fail the call: no answer will come."""
        if not self._done.is_set():
            self._failure = failure
            self._done.set()

    async def answer(self) -> ServerMessage | Unknown:
        """Wait for the answer.

        Raises:
            ClientError: There will be none.
        """
        await self._done.wait()
        if self._answer is None:
            raise self._failure or AssertionError("a call is settled or fails")
        return self._answer
