"""The order in which a client is judged."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portfolio_trio.access._occupancy import Occupancy
    from portfolio_trio.access._origins import OriginPolicy
    from portfolio_trio.access._tokens import SessionTokens
    from portfolio_trio.http import Upgrade


class Gate:
    """Lets clients in: first to the server, then to a session.

    A place in the session is taken after the token was checked, so that who has none cannot keep out who has.

    Attributes:
        occupancy: Who is there.
        origins: Which pages may connect.
        tokens: Opens sessions; None where whoever knows a session's id may.
    """

    def __init__(
        self, *, occupancy: Occupancy, origins: OriginPolicy, tokens: SessionTokens | None = None
    ) -> None:
        self.occupancy = occupancy
        self.origins = origins
        self.tokens = tokens

    @contextmanager
    def server(self, upgrade: Upgrade) -> Iterator[None]:
        """Take a place of the server and of the client's address; then check the origin.

        Raises:
            Occupied: There is no place.
            OriginRefused: The page is of another site.
        """
        with self.occupancy.enter(upgrade.peer):
            self.origins.check(upgrade.origin, upgrade.host)
            yield

    def asks_for_token(self, upgrade: Upgrade) -> bool:
        """Whether a token is wanted and has to come as the first message."""
        return self.tokens is not None and upgrade.token is None

    @contextmanager
    def session(self, session_id: str, token: str | None) -> Iterator[None]:
        """Check the token where tokens are wanted; then take a place of the session.

        Raises:
            TokenRefused: The token does not open the session.
            Occupied: There is no place.
        """
        if self.tokens is not None:
            self.tokens.check(token, session_id)
        with self.occupancy.join(session_id):
            yield
