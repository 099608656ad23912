"""The order in which a client is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portfolio_trio.access._newcomers import NewSessionLimit
    from portfolio_trio.access._occupancy import Occupancy, Places
    from portfolio_trio.access._origins import OriginPolicy
    from portfolio_trio.access._tokens import SessionTokens
    from portfolio_trio.http import Upgrade


class Gate:
    """Lets clients in: first to the server, then to a session.

    A place in the session is taken after the token was checked, so that who has none cannot keep out who has.

    Attributes:
        occupancy: Who is there.
        origins: Which pages may connect.
        new_sessions: How many may be made by ``POST /session``.
        new_by_socket: How many may be made by opening a socket of one that does not exist.
        tokens: Opens sessions; None where whoever knows a session's id may.
    """

    def __init__(
        self,
        *,
        occupancy: Occupancy,
        origins: OriginPolicy,
        new_sessions: NewSessionLimit,
        new_by_socket: NewSessionLimit,
        tokens: SessionTokens | None = None,
    ) -> None:
        self.occupancy = occupancy
        self.origins = origins
        self.new_sessions = new_sessions
        self.new_by_socket = new_by_socket
        self.tokens = tokens

    def asks_for_token(self, upgrade: Upgrade) -> bool:
        """Whether a token is wanted and has to come as the first message."""
        return self.tokens is not None and upgrade.token is None

    def admit(self, upgrade: Upgrade) -> Places:
        """Let a client in to the server, and to its session unless its token is to come as the first message.

        Takes a place of the server and of the client's address, checks the origin, then as ``join``.

        Returns:
            The client's places; leave them when it is gone.

        Raises:
            Occupied: There is no place.
            OriginRefused: The page is of another site.
            TokenRefused: The token does not open the session.
        """
        places = self.occupancy.enter(upgrade.peer)
        try:
            self.origins.check(upgrade.origin, upgrade.host)
            if not self.asks_for_token(upgrade):
                self.join(places, upgrade.session_id, upgrade.token)
        except Exception:
            places.leave()
            raise
        return places

    def join(self, places: Places, session_id: str, token: str | None) -> None:
        """Check the token where tokens are wanted; then take a place of the session, too.

        Raises:
            TokenRefused: The token does not open the session.
            Occupied: There is no place.
        """
        if self.tokens is not None:
            self.tokens.check(token, session_id)
        places.join(session_id)
