"""One live connection: a writer, a reader and a watcher around a pipeline."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
from anyio import BrokenResourceError, BusyResourceError, ClosedResourceError, EndOfStream
from redis.exceptions import InvalidResponse

from portfolio_trio.redis._pipeline import Pipeline
from portfolio_trio.redis.errors import ReplyOverdue, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from portfolio_trio.redis._pipeline import Call

_LOSSES = (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    EndOfStream,
    InvalidResponse,
    OSError,
    ssl.SSLError,
)
_RECEIVE_BYTES = 65536
_LOOKS_PER_TIMEOUT = 4
_CLOSE_SECONDS = 1.0


class Connection:
    """A byte stream shared by any number of callers.

    Args:
        stream: An open stream; the connection closes it.
        reply_timeout: Seconds after which a missing reply ends the connection (noticed within a
            quarter more).
        on_push: Receives out-of-band messages.
        max_pending: Commands without a reply at one time.
        max_unsent_bytes: Bytes gathered for the next send.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        reply_timeout: float,
        on_push: Callable[[list[Any]], None],
        max_pending: int,
        max_unsent_bytes: int,
    ) -> None:
        self._stream = stream
        self._reply_timeout = reply_timeout
        # anyio.Event() looks up the back-end each time; this is the back-end's own type.
        new_event = type(anyio.Event())
        self.pipeline = Pipeline(
            new_event, on_push, max_pending=max_pending, max_unsent_bytes=max_unsent_bytes
        )
        self._submitted = anyio.Event()
        self._writer_waits = True
        self._scope = anyio.CancelScope()
        self._failure: type[Unavailable] = Unavailable
        self._retired = ""
        self.reason = ""
        self.lost = anyio.Event()

    def submit(self, packed: bytes) -> Call:
        """Queue one packed command for the writer.

        Raises:
            TooManyPending: A bound is reached.
            Unavailable: The connection is lost or about to close.
        """
        call = self.pipeline.submit(packed)
        self._wake_writer()
        return call

    def say(self, packed: bytes) -> None:
        """Send a command that is answered out of band (SUBSCRIBE).

        Raises:
            Unavailable: The connection is lost or about to close.
        """
        self.pipeline.say(packed)
        self._wake_writer()

    def _wake_writer(self) -> None:
        # Most commands find it awake.
        if self._writer_waits:
            self._writer_waits = False
            self._submitted.set()

    async def run(self) -> None:
        """Serve until the connection is lost, then fail all waiting calls; does not raise by itself."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    for work in (self._write, self._read, self._watch):
                        tasks.start_soon(self._until_lost, work)
        finally:
            self.pipeline.fail(self._failure, self.reason or "the client was closed")
            self.lost.set()
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await anyio.aclose_forcefully(self._stream)

    def drop(self, reason: str, failure: type[Unavailable] = Unavailable) -> None:
        """End the connection now; all waiting calls fail."""
        if not self.reason:
            self.reason, self._failure = reason, failure
        self._scope.cancel()

    def retire(self, reason: str) -> None:
        """Accept no more commands, and end the connection after the last reply."""
        self._retired = reason
        self.pipeline.close(reason)
        if not self.pipeline.pending:
            self.drop(reason)

    async def _until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except _LOSSES as error:
            self.drop(_why(error))

    async def _write(self) -> None:
        pipeline = self.pipeline
        while True:
            # This send includes the commands of all callers that ran since the last one.
            if not pipeline.unsent_bytes:
                self._submitted = anyio.Event()
                self._writer_waits = True
                await self._submitted.wait()
            await self._stream.send(pipeline.take())

    async def _read(self) -> None:
        pipeline = self.pipeline
        while True:
            pipeline.feed(await self._stream.receive(_RECEIVE_BYTES))
            if self._retired and not pipeline.pending:
                self.drop(self._retired)

    async def _watch(self) -> None:
        """End the connection when the oldest command has waited too long.

        Checking a few times per timeout costs callers nothing; reading the clock at each call would.
        """
        pipeline = self.pipeline
        seen, since = -1, 0.0
        while True:
            await anyio.sleep(self._reply_timeout / _LOOKS_PER_TIMEOUT)
            now = anyio.current_time()
            if not pipeline.pending or pipeline.received != seen:
                seen, since = pipeline.received if pipeline.pending else -1, now
            elif now - since >= self._reply_timeout:
                self.drop(f"no reply for {self._reply_timeout:g} s", ReplyOverdue)


def _why(error: BaseException) -> str:
    if isinstance(error, EndOfStream):
        return "the server closed the connection"
    if isinstance(error, BrokenResourceError):
        return f"the connection broke ({error.__cause__ or 'reset'})"
    return f"the connection ended: {str(error) or type(error).__name__}"
