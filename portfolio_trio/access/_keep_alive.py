"""Noticing that a peer is gone without a word."""

from __future__ import annotations

from typing import Protocol

import trio

from portfolio_trio.http import Disconnected


class Pingable(Protocol):
    """A WebSocket as far as it is needed here."""

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - its expiry ends the connection, too
        """Wait for a pong; raise ``Disconnected``, and abort the connection, if none comes in time."""


async def keep_alive(transport: Pingable, *, interval: float, timeout: float) -> Disconnected:  # noqa: ASYNC109 - as above
    """Ping a peer until it is gone; return how it went.

    A peer that vanishes is gone, and its connection aborted, at most ``interval + timeout`` seconds later.
    The transport sees pongs only while its messages are being received.

    Args:
        transport: The socket.
        interval: Seconds from one pong to the next ping.
        timeout: Seconds a pong may take.
    """
    while True:
        await trio.sleep(interval)
        try:
            await transport.ping(timeout)
        except Disconnected as gone:
            return gone
