"""Byte streams to a Redis that misbehave on request, and one without a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import hiredis
from anyio.abc import ByteStream
from typing_extensions import override

from portfolio_trio.redis._dial import dial

if TYPE_CHECKING:
    from portfolio_trio.redis._url import Endpoint

Answer = Callable[[list[bytes]], bytes | None]


class FaultyStream(ByteStream):
    """A stream in the middle: one byte at a time, slow, silent, reset or half-closed."""

    def __init__(self, inner: ByteStream, *, one_byte: bool = False, delay: float = 0.0) -> None:
        self._inner = inner
        self._one_byte = one_byte
        self._delay = delay
        self._rest = b""
        self._cut: str = ""
        self._changed = anyio.Event()
        self.silent = False

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._rest:
            self._rest = await self._arrived(max_bytes)
            await anyio.sleep(self._delay)
        size = 1 if self._one_byte else max_bytes
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    @override
    async def send(self, item: bytes) -> None:
        if self._cut == "reset":
            raise anyio.BrokenResourceError
        if self.silent:
            return
        step = 1 if self._one_byte else max(len(item), 1)
        for start in range(0, len(item), step):
            await self._inner.send(item[start : start + step])

    @override
    async def send_eof(self) -> None:
        await self._inner.send_eof()

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    def reset(self) -> None:
        """Break both directions."""
        self._end("reset")

    def half_close(self) -> None:
        """End what comes in; what goes out still goes."""
        self._end("eof")

    def _end(self, how: str) -> None:
        self._cut = how
        self._changed.set()

    async def _arrived(self, max_bytes: int) -> bytes:
        got: list[bytes] = []
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                got.append(await self._inner.receive(max_bytes))
                tasks.cancel_scope.cancel()

            async def watch() -> None:
                await self._changed.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(_quietly, read, tasks)
            tasks.start_soon(watch)
        if self._cut == "reset":
            raise anyio.BrokenResourceError
        if self._cut == "eof" or not got:
            raise anyio.EndOfStream
        return got[0]


async def _quietly(read: Callable[[], Awaitable[None]], tasks: anyio.abc.TaskGroup) -> None:
    try:
        await read()
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        tasks.cancel_scope.cancel()


class Middle:
    """Dials the real server and keeps the faulty streams it made, newest last."""

    def __init__(self, *, one_byte: bool = False, delay: float = 0.0) -> None:
        self._one_byte = one_byte
        self._delay = delay
        self.streams: list[FaultyStream] = []

    async def __call__(self, endpoint: Endpoint) -> ByteStream:
        stream = FaultyStream(await dial(endpoint), one_byte=self._one_byte, delay=self._delay)
        self.streams.append(stream)
        return stream


def polite(command: list[bytes]) -> bytes | None:
    """What a server answers to a handshake and to PING; silence to all else."""
    return {b"HELLO": b"%0\r\n", b"PING": b"+PONG\r\n", b"SCRIPT": b"+OK\r\n"}.get(command[0])


class PaperServer(ByteStream):
    """A stream whose other end is a function from a command to the bytes of a reply."""

    def __init__(self, answer: Answer = polite) -> None:
        self._answer = answer
        self._requests = hiredis.Reader(notEnoughData=())
        self._replies = bytearray()
        self._arrived = anyio.Event()
        self._closed = False
        self.commands: list[list[bytes]] = []

    @override
    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._requests.feed(item)
        while (command := self._requests.gets()) != ():
            self.commands.append(command)
            reply = self._answer(command)
            if reply is not None:
                self.say(reply)

    def say(self, data: bytes) -> None:
        """Bytes from the server."""
        self._replies += data
        self._arrived.set()

    def hang_up(self) -> None:
        """End of stream after what was said."""
        self._closed = True
        self._arrived.set()

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._replies:
            if self._closed:
                raise anyio.EndOfStream
            self._arrived = anyio.Event()
            await self._arrived.wait()
        data = bytes(self._replies[:max_bytes])
        del self._replies[:max_bytes]
        return data

    @override
    async def send_eof(self) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    async def aclose(self) -> None:
        self.hang_up()
        await anyio.lowlevel.checkpoint()
