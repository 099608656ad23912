"""Streams that misbehave on purpose, for tests between two ends of a memory stream (or socket)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Generic, TypeVar
from unittest.mock import patch

import trio
import trio.testing
from typing_extensions import override

from portfolio_trio.http import _at_once

Data = bytes | bytearray | memoryview
Wrapped = TypeVar("Wrapped", bound="WrappedStream")


class WrappedStream(trio.abc.HalfCloseableStream):
    """Passes everything on to another stream; what the others here start from."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream

    @override
    async def send_all(self, data: Data) -> None:
        await self.stream.send_all(bytes(data))

    @override
    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    @override
    async def send_eof(self) -> None:
        await self.stream.send_eof()

    @override
    async def aclose(self) -> None:
        await self.stream.aclose()


class SlicingStream(WrappedStream):
    """Receives and sends in slices of at most `size()` bytes, drawn again for each slice."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, size: Callable[[], int]) -> None:
        super().__init__(stream)
        self._size = size

    @override
    async def send_all(self, data: Data) -> None:
        rest = bytes(data)
        while rest:
            size = self._size()
            await self.stream.send_all(rest[:size])
            rest = rest[size:]

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = self._size()
        return bytes(await self.stream.receive_some(size if max_bytes is None else min(size, max_bytes)))


class StallingStream(WrappedStream):
    """Stops sending, receiving or both on request, and resumes on request."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        super().__init__(stream)
        self._may_send = _opened()
        self._may_receive = _opened()

    def stall_sending(self) -> None:
        self._may_send = trio.Event()

    def stall_receiving(self) -> None:
        self._may_receive = trio.Event()

    def resume(self) -> None:
        self._may_send.set()
        self._may_receive.set()

    @override
    async def send_all(self, data: Data) -> None:
        await self._may_send.wait()
        await super().send_all(data)

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._may_receive.wait()
        return await super().receive_some(max_bytes)


class PromptStream(StallingStream):
    """Stalls as its parent does, and takes bytes at once as a socket with some room in its buffer.

    For use with `taking_at_once`, which stands in for the system.

    Args:
        stream: The server's end.
        peer: The client's.
        room: How many bytes are taken of each send.
    """

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, peer: trio.abc.HalfCloseableStream, room: int
    ) -> None:
        super().__init__(stream)
        assert isinstance(peer, trio.StapledStream)
        self._peer = peer.receive_stream
        self._room = room

    def take(self, data: bytes) -> int:
        """Pass on what there is room for, unless sending is stalled; how many bytes that are."""
        if not self._may_send.is_set() or not self._room:
            return 0
        with suppress(trio.ClosedResourceError):
            self._peer.put_data(data[: self._room])
        return min(self._room, len(data))


def taking_at_once() -> AbstractContextManager[object]:
    """Let prompt streams take bytes at once for as long as the block lasts."""

    def write_now(stream: trio.abc.Stream, data: bytes) -> int:
        return stream.take(data) if isinstance(stream, PromptStream) else 0

    return patch.object(_at_once, "write_now", write_now)


class NarrowStream(WrappedStream):
    """Accepts `capacity` bytes to send and then blocks forever, as with a peer that never reads.

    What fits is passed on, so that a send can be caught with half a frame on the wire. Closing it breaks the
    blocked send.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, capacity: int) -> None:
        super().__init__(stream)
        self.capacity = capacity
        self._closed = trio.Event()

    @override
    async def send_all(self, data: Data) -> None:
        fits = bytes(data)[: self.capacity]
        self.capacity -= len(fits)
        await super().send_all(fits)
        if len(fits) < len(data):
            await self._closed.wait()
            raise trio.ClosedResourceError

    @override
    async def aclose(self) -> None:
        self._closed.set()
        await super().aclose()


class RecordingStream(WrappedStream):
    """Keeps what goes through: one entry of `sent` per send, one of `received` per receive."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        super().__init__(stream)
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.closed = False

    @override
    async def send_all(self, data: Data) -> None:
        self.sent.append(bytes(data))
        await super().send_all(data)

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        self.received.append(data)
        return data

    @override
    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class BrokenStream(WrappedStream):
    """Fails like a connection that was reset, from the moment it is told to."""

    broken = False

    @override
    async def send_all(self, data: Data) -> None:
        self._check()
        await super().send_all(data)

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._check()
        return await super().receive_some(max_bytes)

    def _check(self) -> None:
        if self.broken:
            raise trio.BrokenResourceError("connection reset by peer")


class Kept(Generic[Wrapped]):
    """Wraps the stream it is called with, and keeps the result for the test: `kept.stream`."""

    stream: Wrapped

    def __init__(self, wrap: Callable[[trio.abc.HalfCloseableStream], Wrapped]) -> None:
        self._wrap = wrap

    def __call__(self, stream: trio.abc.HalfCloseableStream) -> Wrapped:
        self.stream = self._wrap(stream)
        return self.stream


def stream_pair() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    """Return the two ends of a connection in memory; sends never block."""
    left, right = trio.testing.memory_stream_pair()
    return left, right


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Return all that comes until the peer closes; a reset counts as the end."""
    data = bytearray()
    try:
        while chunk := await stream.receive_some(65_536):
            data += chunk
    except trio.BrokenResourceError:
        pass
    return bytes(data)


def _opened() -> trio.Event:
    event = trio.Event()
    event.set()
    return event
