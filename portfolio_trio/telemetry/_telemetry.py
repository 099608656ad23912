"""The events of the server, as methods for the code where they happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of a server at one moment: taken on request, at no cost until then.

    Attributes:
        connections: Open sockets.
        redis_up: Whether the store can be reached.
        redis_reconnects: Connections to it that replaced a lost one, since the start.
        tick_at: The time of the newest tick, seconds since 1970 in UTC.
        last_bar_at: The beginning of the day of the newest closed bar, likewise; None if there is none.
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
    """Receives events, and ignores them.

    Labels never contain sessions, tickers or anything a client chose: each has only a few possible values.
    """

    def described(self, **facts: str) -> None:
        """Facts about the server: version, engine."""

    def watched(self, read: Callable[[], Readings]) -> None:
        """The server is up, and readings can be taken."""

    def connection_opened(self, how: str) -> None:
        """A client has opened a socket: ``events`` with the subprotocol, else ``answers``."""

    def connection_refused(self, code: str) -> None:
        """A client was refused."""

    def connection_closed(self, code: int) -> None:
        """A socket has closed: its close code, 1006 if there was none."""

    def message_received(self, action: str) -> None:
        """A request was read; ``unknown`` if its action does not exist, ``invalid`` if it is malformed."""

    def messages_sent(self, texts: Sequence[str]) -> None:
        """Frames were passed to a socket."""

    def run_began(self) -> None:
        """A run has begun."""

    def run_ended(self, outcome: str, seconds: float) -> None:
        """A run is over: completed, failed, or the reason why it was cancelled; and its duration."""

    def first_result(self, seconds: float) -> None:
        """A first result was queued for the requester, this many seconds after the request was read."""

    def switched(self, seconds: float) -> None:
        """The previous run has ended, this many seconds after the request for the next one was read."""

    def results_dropped(self, count: int, reason: str) -> None:
        """Results of a run that was cancelled for this reason were dropped."""

    def write_refused(self, script: str, reason: str) -> None:
        """The fence in a script refused a write."""

    def metric_failed(self, metric: str, code: str) -> None:
        """A metric of a run gave no number."""

    def redis_called(self, script: str, seconds: float) -> None:
        """A script was called; it answered or failed after this many seconds."""

    def swept(self, seconds: float, *, sessions: int, unpriced: int) -> None:
        """All sessions were valued at a tick; this many held names have no price."""


OFF: Final = Telemetry()
