"""Which document of its session a client means: another one may have replaced it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.store import SessionMissing

if TYPE_CHECKING:
    from portfolio_trio.hub.members import SessionSubscriber
    from portfolio_trio.hub.session_group import SessionGroup


class ClientDocument:
    """The document of one socket, as far as its client knows.

    Attributes:
        incarnation: Identifies it; None before the session is opened, and after the client was told that it
            has expired.
    """

    __slots__ = ("_group", "_subscriber", "incarnation")

    def __init__(self, group: SessionGroup, subscriber: SessionSubscriber) -> None:
        self._group = group
        self._subscriber = subscriber
        self.incarnation: str | None = None

    def expire(self) -> None:
        """The client was told that its session has expired: its next request opens it again."""
        self.incarnation = None
        self._group.sequencer.subscribers.mark_told(self._subscriber)

    def check(self) -> None:
        """Whether it is still the session's document.

        Raises:
            SessionMissing: It has expired, and another replaced it.
        """
        subscribers = self._group.sequencer.subscribers
        if subscribers.was_told(self._subscriber):
            self.incarnation = None
        if self.incarnation is None or self.incarnation == self._group.incarnation:
            return
        if self._subscriber not in subscribers:
            raise SessionMissing(self._group.session_id)
        # The client was told so, and shown the new one.
        self.incarnation = self._group.incarnation
