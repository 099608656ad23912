"""The order of the checks that a client has to pass."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from portfolio_trio.access._origins import OriginRefused
from portfolio_trio.log_throttle import Seldom

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.access._connection_limits import ConnectionLimits, Slots
    from portfolio_trio.access._new_sessions import NewSessionLimit
    from portfolio_trio.access._origins import OriginPolicy
    from portfolio_trio.access._tokens import SessionTokens
    from portfolio_trio.http import Upgrade

log: Final = logging.getLogger(__name__)

# Pages keep retrying.
REFUSED_LOG_SECONDS: Final = 10.0


class Gate:
    """Lets clients in: first to the server, then to a session.

    A slot of the session is taken after the token was checked, so that clients without a token cannot lock
    out those with one.

    Attributes:
        connection_limits: Counts open sockets.
        origins: Which pages may connect.
        new_sessions: The rate limit of ``POST /session``.
        new_by_socket: The rate limit of sockets that create a session by connecting.
        tokens: Checks tokens; None if knowing a session's id is enough.

    Args:
        clock: In seconds; used to limit the log lines about refused pages.
    """

    def __init__(
        self,
        *,
        connection_limits: ConnectionLimits,
        origins: OriginPolicy,
        new_sessions: NewSessionLimit,
        new_by_socket: NewSessionLimit,
        clock: Callable[[], float],
        tokens: SessionTokens | None = None,
    ) -> None:
        self.connection_limits = connection_limits
        self.origins = origins
        self.new_sessions = new_sessions
        self.new_by_socket = new_by_socket
        self.tokens = tokens
        self._refused_log = Seldom(log, seconds=REFUSED_LOG_SECONDS, clock=clock)

    def asks_for_token(self, upgrade: Upgrade) -> bool:
        """Whether a token is required and has to come in the first message."""
        return self.tokens is not None and upgrade.token is None

    def admit(self, upgrade: Upgrade) -> Slots:
        """Admit a client to the server, and to its session unless its token comes in the first message.

        Takes a slot of the server and of the client's address, checks the origin, then continues as ``join``.

        Returns:
            The client's slots; leave them when it disconnects.

        Raises:
            LimitReached: No slot is free.
            OriginRefused: The page is from another site.
            TokenRefused: The token does not open the session.
        """
        slots = self.connection_limits.enter(upgrade.peer)
        try:
            self.check_origin(upgrade.origin, upgrade.host)
            if not self.asks_for_token(upgrade):
                self.join(slots, upgrade.session_id, upgrade.token)
        except Exception:
            slots.leave()
            raise
        return slots

    def check_origin(self, origin: str | None, host: str, *, reads: bool = False) -> None:
        """Return if a page may connect; the log names a refused page and how to permit it.

        A browser tells its page only that there is no connection.

        Args:
            origin: The Origin header.
            host: The Host header.
            reads: It is a GET, with which browsers may send no Origin.

        Raises:
            OriginRefused: The page is from another site.
            HostRefused: It reads under a name that is not the server's own.
        """
        try:
            if reads:
                self.origins.check_read(origin, host)
            else:
                self.origins.check(origin, host)
        except OriginRefused:
            flag = self.origins.flag_for(origin or "", host)
            self._refused_log.warning(
                "a page from another site was refused; the flag would permit it",
                extra={"event": "page_refused", "origin": origin or "", "flag": flag},
            )
            raise

    def join(self, slots: Slots, session_id: str, token: str | None) -> None:
        """Check the token if tokens are required; then take a slot of the session as well.

        Raises:
            TokenRefused: The token does not open the session.
            LimitReached: No slot is free.
        """
        if self.tokens is not None:
            self.tokens.check(token, session_id)
        slots.join(session_id)
