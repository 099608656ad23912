"""Access control, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.access import (
    ConnectionLimits,
    Gate,
    NewSessionLimit,
    OriginPolicy,
    SessionTokens,
    split_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.settings import Settings

# Many sockets may connect at once: after a restart, or from behind one proxy.
BURST_SECONDS: Final = 20.0


def open_gate(settings: Settings, now: Callable[[], float]) -> Gate:
    """The gate of one server; ``now`` gives seconds since the epoch."""
    return Gate(
        connection_limits=ConnectionLimits(
            per_session=settings.max_sockets_per_session,
            per_address=settings.max_sockets_per_address or None,
            total=settings.max_connections,
        ),
        origins=OriginPolicy(
            settings.allowed_origins,
            hosts=settings.allowed_hosts if settings.auth_secret is None else None,
        ),
        new_sessions=NewSessionLimit(
            per_address=settings.sessions_per_second_per_address or None,
            total=settings.sessions_per_second,
            clock=trio.current_time,
        ),
        new_by_socket=NewSessionLimit(
            per_address=settings.socket_sessions_per_second_per_address or None,
            total=None,
            burst_seconds=BURST_SECONDS,
            clock=trio.current_time,
        ),
        clock=trio.current_time,
        tokens=_tokens(settings, now),
    )


def _tokens(settings: Settings, now: Callable[[], float]) -> SessionTokens | None:
    if settings.auth_secret is None:
        return None
    secrets = split_secrets(settings.auth_secret.get_secret_value())
    return SessionTokens(*secrets, ttl_seconds=settings.token_ttl_seconds, now=now)
