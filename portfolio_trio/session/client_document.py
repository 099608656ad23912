"""Which document of its session a client speaks of: another one may have taken its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.store import SessionMissing

if TYPE_CHECKING:
    from portfolio_trio.hub.members import SessionSubscriber
    from portfolio_trio.hub.session_group import SessionGroup


class ClientDocument:
    """The document that one socket speaks of, as far as its client knows.

    Attributes:
        incarnation: Which; None before the session has been opened, and once the client has been told that it
            has expired.
    """

    def __init__(self, group: SessionGroup, subscriber: SessionSubscriber) -> None:
        self._group = group
        self._subscriber = subscriber
        self.incarnation: str | None = None

    def expire(self) -> None:
        """The client has been told that its session has expired: its next request opens it anew."""
        self.incarnation = None
        self._group.sequencer.mark_told(self._subscriber)

    def check(self) -> None:
        """Whether it is still the session's.

        Raises:
            SessionMissing: It has expired, and another took its place.
        """
        if self.incarnation is None or self.incarnation == self._group.incarnation:
            return
        if not self._group.sequencer.is_subscribed(self._subscriber):
            raise SessionMissing(self._group.session_id)
        # It has been told so, and shown the new one.
        self.incarnation = self._group.incarnation
