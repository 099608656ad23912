"""The counts of a server with ``--metrics-address``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import override

from portfolio_trio.telemetry._tallies import OTHER, Spread, Tally
from portfolio_trio.telemetry._telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portfolio_trio.telemetry._telemetry import Readings

# A peer may close with any code from 1000 to 4999.
CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013})

CANCELLED: Final = ("switched", "cancelled", "superseded", "portfolio_changed", "disconnected", "draining")
"""Why a run may be cancelled."""
OUTCOMES: Final = ("completed", "failed", *CANCELLED)

# Every frame begins with its id, if any, and its type; in an error the code follows. Quotes in an id are
# escaped, so that it cannot look like these.
_TYPE: Final = '"type":"'
_CODE: Final = '"code":"'
# The type of most frames.
_RESULT: Final = '{"type":"analysis_result"'


class CountedTelemetry(Telemetry):
    """Counts the events of one process.

    Attributes:
        tallies: All counts.
        spreads: All durations.
        facts: Facts about the server.
        read: Takes the readings; None until the server is up.
        runs_active: Runs that have begun and not ended.
        sweep_sessions: How many sessions the last sweep valued; None before the first.
        unpriced: How many held names had no price in that sweep.
    """

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.read: Callable[[], Readings] | None = None
        self.runs_active = 0
        self.sweep_sessions: int | None = None
        self.unpriced = 0
        self._connections = Tally("portfolio_connections", "Clients that connected, by kind.", "how")
        self._closed = Tally("portfolio_connections_closed", "Closed sockets, by close code.", "code")
        self._received = Tally("portfolio_messages_received", "Requests read, by action.", "action")
        self._sent = Tally("portfolio_messages_sent", "Messages passed to sockets, by type.", "type")
        self._errors = Tally("portfolio_errors", "Errors sent to clients, by code.", "code")
        self._runs = Tally("portfolio_runs", "Ended runs, by outcome: each ends once.", "outcome")
        self._dropped = Tally(
            "portfolio_results_dropped", "Results of a cancelled run that were not sent.", "reason"
        )
        self._refused = Tally(
            "portfolio_fenced_writes_refused", "Late writes that Redis refused.", "script", "reason"
        )
        self._metric_errors = Tally(
            "portfolio_metric_errors", "Metrics of a run that gave no number.", "metric", "code"
        )
        self._first_result = Spread(
            "portfolio_first_result_seconds", "From reading a request to queueing its first result."
        )
        self._run = Spread("portfolio_run_seconds", "From the start of a run to its end.")
        self._switch = Spread("portfolio_switch_seconds", "From reading a request to the end of the old run.")
        self._redis = Spread(
            "portfolio_redis_call_seconds", "Calls of scripts, as seen by the caller.", "script"
        )
        self._sweep = Spread("portfolio_sweep_seconds", "Valuing all sessions at one tick.")
        # If the series exists at zero, its first count shows as an increase.
        self._runs.expect(OUTCOMES)
        self._dropped.expect(CANCELLED)
        found = vars(self).values()
        self.tallies = tuple(each for each in found if isinstance(each, Tally))
        self.spreads = tuple(each for each in found if isinstance(each, Spread))

    @override
    def described(self, **facts: str) -> None:
        self.facts |= facts

    @override
    def watched(self, read: Callable[[], Readings]) -> None:
        self.read = read

    @override
    def connection_opened(self, how: str) -> None:
        self._connections.add(how)

    @override
    def connection_refused(self, code: str) -> None:
        self._connections.add("refused")
        self._errors.add(code)

    @override
    def connection_closed(self, code: int) -> None:
        self._closed.add(str(int(code)) if code in CLOSE_CODES else OTHER)

    @override
    def message_received(self, action: str) -> None:
        self._received.add(action)

    @override
    def messages_sent(self, texts: Sequence[str]) -> None:
        results = 0
        for text in texts:
            if text.startswith(_RESULT):
                results += 1
                continue
            kind = _word(text, _TYPE)
            self._sent.add(kind)
            if kind == "error":
                self._errors.add(_word(text, _CODE))
        if results:
            self._sent.add("analysis_result", by=results)

    @override
    def run_began(self) -> None:
        self.runs_active += 1

    @override
    def run_ended(self, outcome: str, seconds: float) -> None:
        self.runs_active -= 1
        self._runs.add(outcome)
        self._run.add(seconds)

    @override
    def first_result(self, seconds: float) -> None:
        self._first_result.add(seconds)

    @override
    def switched(self, seconds: float) -> None:
        self._switch.add(seconds)

    @override
    def results_dropped(self, count: int, reason: str) -> None:
        self._dropped.add(reason, by=count)

    @override
    def write_refused(self, script: str, reason: str) -> None:
        self._refused.add(script, reason)

    @override
    def metric_failed(self, metric: str, code: str) -> None:
        self._metric_errors.add(metric, code)

    @override
    def redis_called(self, script: str, seconds: float) -> None:
        self._redis.add(seconds, script)

    @override
    def swept(self, seconds: float, *, sessions: int, unpriced: int) -> None:
        self._sweep.add(seconds)
        self.sweep_sessions, self.unpriced = sessions, unpriced


def _word(text: str, before: str) -> str:
    """The text after the first ``before``, up to its closing quote."""
    at = text.find(before)
    if at < 0:
        return OTHER
    start = at + len(before)
    return text[start : text.index('"', start)]
