"""Authentication in the first message, for browsers: their WebSockets cannot send an Authorization header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio
from pydantic import ValidationError

from portfolio_trio.access._tokens import TokenFault, TokenRefused
from portfolio_trio.protocol.requests import Authenticate

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Receiver(Protocol):
    """A WebSocket as far as it is needed here."""

    def receive(self) -> Awaitable[str | bytes]:
        """Return the next message; raise ``Disconnected`` if there is none."""


async def first_message(transport: Receiver, *, timeout: float) -> Authenticate:  # noqa: ASYNC109 - bounds the client, not the caller
    """Return the first message of a client that has to authenticate.

    Raises:
        TokenRefused: It does not arrive within ``timeout`` seconds, or is not a valid one.
        Disconnected: The client left.
    """
    message = None
    with trio.move_on_after(timeout):
        message = _parse(await transport.receive())
    if message is None:
        raise TokenRefused(TokenFault.MISSING)
    return message


def _parse(frame: str | bytes) -> Authenticate | None:
    """Return None instead of raising: pydantic's exceptions contain the frame, and so the token."""
    if isinstance(frame, bytes):
        return None
    try:
        return Authenticate.model_validate_json(frame)
    except ValidationError:
        return None
