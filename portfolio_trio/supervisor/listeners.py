"""The start of every server, single or supervisor: handling signals, opening sockets to listen on.

Imports nothing heavy, so that a supervisor can use it.
"""

from __future__ import annotations

import errno
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from portfolio_trio.settings import Settings


class StartError(Exception):
    """The server cannot start; the message is one line that says what to do."""


def stop_signals() -> list[signal.Signals]:
    """The signals that tell a server to drain: SIGTERM and SIGINT, and SIGBREAK if it exists.

    Windows has no SIGTERM; there a closing console, or Ctrl-Break, sends SIGBREAK.
    """
    names = ("SIGTERM", "SIGINT", "SIGBREAK")
    return [signal.Signals(getattr(signal, name)) for name in names if hasattr(signal, name)]


@asynccontextmanager
async def stoppable(signals: AsyncIterator[int]) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Let a signal end a start, which may take long: Redis loads its data, or the network is silent.

    Yields an async function to call once the start is over; from then on the block handles signals.

    Raises:
        StartError: A signal came before that, and the block was cancelled.
    """
    starting, deaf = trio.CancelScope(), trio.Event()

    async def serves() -> None:
        starting.cancel()
        # Only one task at a time can wait for signals.
        await deaf.wait()

    async def hear() -> None:
        try:
            with starting:
                await anext(signals)
                nursery.cancel_scope.cancel()
        finally:
            deaf.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        yield serves
        starting.cancel()
    if nursery.cancel_scope.cancelled_caught:
        raise StartError("stopped by a signal before it served")


async def open_listeners(settings: Settings) -> list[trio.SocketListener]:
    """Listen on ``settings.host`` and ``settings.port``; one listener for each address of the host.

    Raises:
        StartError: It is not possible to listen on the address.
    """
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as error:
        raise StartError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; {_advice(error)}"
        ) from error


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return "--host needs an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
    if error.errno == errno.EACCES:
        return "ports below 1024 may need privileges; choose another with --port"
    return "choose another with --port"


def address_of(listeners: Sequence[trio.SocketListener]) -> tuple[str, int]:
    """Host and port of the first listener, the port as the system chose it."""
    host, port = listeners[0].socket.getsockname()[:2]
    return str(host), int(port)


def shown_url(address: tuple[str, int]) -> str:
    """The URL for clients, as it is logged."""
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{port}/ws/{{session_id}}"
