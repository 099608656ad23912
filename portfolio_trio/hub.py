"""The sockets of this process, by session: who sees whose events, and whose turn it is to start a run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portfolio_trio.protocol.messages import AnalysisCancelled, Message
    from portfolio_trio.slot import EndReason, Run


class Viewer(Protocol):
    """One socket, as the other sockets of its session know it."""

    def see(self, event: str, run: Run | None = None) -> None:
        """Queue an event of the session; a socket without the subprotocol ignores it."""

    def see_latest(self, event: str) -> None:
        """Queue an event in place of the latest one that still waits."""

    @property
    def sees_events(self) -> bool:
        """Whether the socket speaks the subprotocol."""

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits to be sent."""

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start the socket's run again if these prices move its portfolio too far from its snapshot."""

    def restart_run(self) -> None:
        """End the socket's run as ``portfolio_changed`` and start it again, if it has one."""

    async def stop_run(self, reason: EndReason) -> AnalysisCancelled | None:
        """End the socket's run and wait until its task has ended; return its last event, if it was open."""

    async def clear_run(self) -> None:
        """Say in the document that the socket's run is over, if it may still stand there."""


class Room:
    """The sockets of one session.

    Attributes:
        session_id: The session.
        turn: Held while one socket ends the runs of the others and starts its own.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.turn = trio.StrictFIFOLock()
        # In the order in which they came, so that events leave in the same order each time.
        self._viewers: dict[Viewer, None] = {}

    @property
    def viewers(self) -> tuple[Viewer, ...]:
        """Every socket of the session."""
        return tuple(self._viewers)

    def publish(self, event: Message, *, run: Run | None = None, but: Viewer | None = None) -> None:
        """Let every socket but one see an event."""
        viewers = [viewer for viewer in self._viewers if viewer is not but and viewer.sees_events]
        if viewers:
            text = event.to_json()
            for viewer in viewers:
                viewer.see(text, run)

    def publish_latest(self, event: str) -> None:
        """Let every socket see an event that replaces the one before."""
        for viewer in self._viewers:
            viewer.see_latest(event)

    @property
    def is_viewed(self) -> bool:
        """Whether any socket of the session gets events."""
        return any(viewer.sees_events for viewer in self._viewers)

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Start again what runs on prices that are too far from these."""
        for viewer in self.viewers:
            viewer.reprice(prices)

    def drop(self, run: Run) -> None:
        """Forget what of ``run`` still waits, on every socket."""
        for viewer in self._viewers:
            viewer.drop(run)

    def restart_runs(self) -> None:
        """Start what runs again on the new holdings."""
        for viewer in self.viewers:
            viewer.restart_run()

    async def stop_runs(self, reason: EndReason, *, but: Viewer | None = None) -> AnalysisCancelled | None:
        """End the runs of every socket but one; return the last event of the one that was open, if any."""
        stopped = None
        for viewer in self.viewers:
            if viewer is not but:
                stopped = await viewer.stop_run(reason) or stopped
        return stopped


class Hub:
    """The rooms of one process; a room exists while somebody is in it."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    @contextmanager
    def join(self, session_id: str, viewer: Viewer) -> Iterator[Room]:
        """Put a socket into its session's room for as long as the context lasts."""
        room = self._rooms.setdefault(session_id, Room(session_id))
        room._viewers[viewer] = None  # noqa: SLF001 - only the hub lets sockets in and out
        try:
            yield room
        finally:
            del room._viewers[viewer]  # noqa: SLF001 - as above
            if not room.viewers:
                del self._rooms[session_id]

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Every session with an open socket."""
        return tuple(self._rooms.values())
