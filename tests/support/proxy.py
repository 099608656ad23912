"""A Trio task between a client and a Redis on a Unix socket, that can misbehave on request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Proxy:
    """Listens on a loopback port of its own and passes bytes on, as well as it is told to.

    Attributes:
        port: Where it listens.
        target: The Unix socket that new connections are passed on to.
        slice: The maximum number of bytes passed on at a time; None for all available.
        delay: Seconds before each piece is passed on.
        silent: Nothing more is passed on to the client, and nothing is closed either. Once bytes were dropped
            this must stay so: TCP loses a whole connection, never a part of it.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._wires: list[tuple[trio.SocketStream, trio.SocketStream]] = []
        self._half_closed: set[trio.SocketStream] = set()
        self.port = 0
        self.slice: int | None = None
        self.delay = 0.0
        self.silent = False

    async def reset(self) -> None:
        """Break every connection at once."""
        wires, self._wires = self._wires, []
        for wire in wires:
            for end in wire:
                await trio.aclose_forcefully(end)

    def half_close(self) -> None:
        """Half-close the connection to every client, and continue to accept what it sends."""
        for client, _ in self._wires:
            self._half_closed.add(client)
            # Immediately, even during a send: later bytes are dropped.
            client.socket.shutdown(trio.socket.SHUT_WR)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connect, [listener])

    async def _connect(self, client: trio.SocketStream) -> None:
        try:
            server = await trio.open_unix_socket(self.target)
        except OSError:
            await client.aclose()
            return
        wire = (client, server)
        self._wires.append(wire)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server)
            nursery.start_soon(self._pass_on, server, client)
        if wire in self._wires:
            self._wires.remove(wire)

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        to_client = any(sink is client for client, _ in self._wires)
        swallowed = False
        try:
            while data := bytes(await source.receive_some()):
                size = self.slice or len(data)
                for start in range(0, len(data), size):
                    if self.delay:
                        await trio.sleep(self.delay)
                    swallowed = swallowed or sink in self._half_closed or (to_client and self.silent)
                    if swallowed:
                        continue
                    await sink.send_all(data[start : start + size])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(sink)


@asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy to a Unix socket, for the length of the block."""
    async with trio.open_nursery() as nursery:
        proxy = Proxy(target)
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()
