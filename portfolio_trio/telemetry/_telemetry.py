"""What can happen, as those say it to whom it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Readings:
    """What a server is like at one moment: read when somebody asks, and costs nothing until then.

    Attributes:
        connections: Open sockets.
        redis_up: Whether the store is reached.
        redis_reconnects: Connections to it that replaced a lost one, since the start.
        tick_at: The time of the newest tick, seconds since 1970 in UTC.
        last_bar_at: The beginning of the day of the newest closed bar, likewise; None where there is none.
        stale: Whether prices are older than allowed.
        ticks_skipped: Ticks that were missed because a sweep took longer than the interval, since the start.
        leads: Whether this process updates the market.
    """

    connections: int
    redis_up: bool
    redis_reconnects: int
    tick_at: float
    last_bar_at: float | None
    stale: bool
    ticks_skipped: int
    leads: bool


class Telemetry:
    """Is told what happens, and does nothing about it.

    No session, no ticker and nothing that a client chose is ever said: every word is one of few.
    """

    def described(self, **facts: str) -> None:
        """The server is of this make: version, engine."""

    def watched(self, read: Callable[[], Readings]) -> None:
        """The server is up, and can be asked what it is like."""

    def connection_opened(self, how: str) -> None:
        """A client has become a socket: ``events`` if it speaks the subprotocol, else ``answers``."""

    def connection_refused(self, code: str) -> None:
        """A client was not let in, and told why."""

    def connection_closed(self, code: int) -> None:
        """A socket is over: its close code, 1006 where none was said."""

    def message_received(self, action: str) -> None:
        """A request was read; ``unknown`` where its action does not exist, ``invalid`` where it is none."""

    def messages_sent(self, texts: Sequence[str]) -> None:
        """Frames were handed to a socket."""

    def run_began(self) -> None:
        """A run has begun."""

    def run_ended(self, outcome: str, seconds: float) -> None:
        """A run is over: completed, failed, or the reason for which it was cancelled; and how long it was."""

    def first_result(self, seconds: float) -> None:
        """A first result was queued for who asked, so long after the request was read."""

    def switched(self, seconds: float) -> None:
        """The run before has ended, so long after the request for the next one was read."""

    def results_dropped(self, count: int, reason: str) -> None:
        """Results of a run that was cancelled for this reason were not sent."""

    def write_refused(self, script: str, reason: str) -> None:
        """The fence in a script refused a write."""

    def metric_failed(self, metric: str, code: str) -> None:
        """A metric of a run gave no number."""

    def redis_called(self, script: str, seconds: float) -> None:
        """A script was called and answered, or failed, after so long."""

    def swept(self, seconds: float, *, sessions: int, unpriced: int) -> None:
        """All sessions were valued at a tick; so many names that are held have no price."""


OFF: Final = Telemetry()
