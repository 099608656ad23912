"""The sessions that have a socket in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from portfolio_trio.hub.session_group import SessionGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.members import Member
    from portfolio_trio.hub.peer_link import PeerSender


class Place:
    """A socket's place in its session's group.

    It lives as long as its socket, so to save memory it is not a generator.
    """

    __slots__ = ("_hub", "_member", "_session_id")

    def __init__(self, hub: Hub, session_id: str, member: Member) -> None:
        self._hub = hub
        self._session_id = session_id
        self._member = member

    def __enter__(self) -> SessionGroup:
        return self._hub.enter(self._session_id, self._member)

    def __exit__(self, *_: object) -> None:
        self._hub.leave(self._session_id, self._member)


class Hub:
    """The groups of one process; a group exists while it has members."""

    def __init__(self, peers: PeerSender, faults: Faults) -> None:
        self._peers = peers
        self._faults = faults
        self._groups: dict[str, SessionGroup] = {}
        # One for all groups: only drains and cancels wait here.
        self._changed = trio.lowlevel.ParkingLot()
        self.on_hold: Callable[[SessionGroup], None] = lambda _: None
        """Called when an event begins to wait for the end of a run."""

    def _hold(self, group: SessionGroup) -> None:
        self.on_hold(group)

    def join(self, session_id: str, member: Member) -> Place:
        """Keep a socket in its session's group for the length of the context."""
        return Place(self, session_id, member)

    def enter(self, session_id: str, member: Member) -> SessionGroup:
        """Put a socket into its session's group; `leave` takes it out."""
        group = self._groups.get(session_id)
        if group is None:
            group = self._groups[session_id] = SessionGroup(
                session_id, self._peers, self._changed, self._faults, self._hold
            )
        group.add(member)
        return group

    def leave(self, session_id: str, member: Member) -> None:
        """Take a socket out of its session's group; the last one takes the group with it."""
        group = self._groups[session_id]
        group.remove(member)
        if not group.members:
            del self._groups[session_id]

    def group(self, session_id: str) -> SessionGroup | None:
        """The group of a session; None if it has no open socket."""
        return self._groups.get(session_id)

    def forget(self, worker: str) -> None:
        """Stop sending to a lost worker."""
        self._peers.forget(worker)

    @property
    def groups(self) -> tuple[SessionGroup, ...]:
        """Every session with an open socket."""
        return tuple(self._groups.values())
