"""The sockets a server listens on: opened before anything heavy is loaded, so that a supervisor can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.settings import Settings


class StartError(Exception):
    """The server cannot start; the message is one line that says what to do."""


async def open_listeners(settings: Settings) -> list[trio.SocketListener]:
    """Listen on ``settings.host`` and ``settings.port``; one listener for each address of the host.

    Raises:
        StartError: The address cannot be listened on.
    """
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as error:
        raise StartError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another with --port"
        ) from error


def address_of(listeners: Sequence[trio.SocketListener]) -> tuple[str, int]:
    """Host and port of the first listener, the port as the system chose it."""
    host, port = listeners[0].socket.getsockname()[:2]
    return str(host), int(port)


def shown_url(address: tuple[str, int]) -> str:
    """Where clients connect, as it is logged."""
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{port}/ws/{{session_id}}"
