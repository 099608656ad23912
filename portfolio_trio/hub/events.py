"""The messages between workers, and how a lost batch is detected."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisStarted,
    MetricFailure,
    Portfolio,
    Running,
)
from portfolio_trio.protocol.results import ComputedResult

SessionEvent = (
    Portfolio
    | AnalysisStarted
    | ComputedResult
    | MetricFailure
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
)
"""The messages that every subscriber of a session gets, whichever socket caused them."""

Kind = Literal[
    # Messages for the subscribers of a session, whichever worker they are on.
    "portfolio",
    "analysis_started",
    "analysis_result",
    "metric_error",
    "analysis_completed",
    "analysis_cancelled",
    "analysis_failed",
    # For the workers themselves.
    "claim",  # a run has its number: older ones are over
    "cancel",  # a client of this worker cancelled a run of another one
    "look",  # something happened that the receiver does not know: read the document
]

RUN_ENDS: frozenset[Kind] = frozenset({"analysis_completed", "analysis_cancelled", "analysis_failed"})


class PeerEvent(BaseModel):
    """One thing that happened in a session.

    Attributes:
        session_id: The session.
        kind: The kind of event; most are the type of a message.
        run_id: The run it concerns, if it has its number.
        version: The holdings' version; for a portfolio, and for the claim of a run.
        ticker: The run's ticker.
        replaced: For a claim: the run that was current before; 0 for none.
        running: For a start: the run.
        metric: For a result or an error of a metric: its name; empty from older releases.
        outcomes: For the end of a completed run: how many results and errors it produced.
        incarnation: The document of the session that it concerns.
        has_fallen: For a portfolio: the document had fallen back, and with it runs on older holdings.
        frame: The message for subscribers; empty if there is none.
    """

    model_config = ConfigDict(frozen=True)

    session_id: str
    kind: Kind
    run_id: int | None = None
    version: int | None = None
    ticker: str | None = None
    replaced: int | None = None
    running: Running | None = None
    metric: str = ""
    outcomes: int = 0
    incarnation: str = ""
    has_fallen: bool = False
    frame: str = ""


class Batch(BaseModel):
    """Events from one worker to another, in the order in which they happened.

    Attributes:
        sender: The worker that wrote it.
        number: Higher than those of all earlier batches of the sender, to any worker.
        previous: The number of its last batch to the same worker; 0 if it knows of none.
        events: May be empty: then only the numbers matter.
    """

    model_config = ConfigDict(frozen=True)

    sender: str
    number: int
    previous: int
    events: tuple[PeerEvent, ...] = ()


class SequenceTracker:
    """The last batch received from each worker."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def has(self, batch: Batch) -> bool:
        """Whether a batch has already arrived, which its sender could not know."""
        return batch.number <= self._last.get(batch.sender, 0)

    def follows(self, batch: Batch) -> bool:
        """Record a batch; False if an earlier one is missing."""
        last = self._last.get(batch.sender, 0)
        self._last[batch.sender] = batch.number
        return batch.previous == last

    def forget(self, sender: str) -> None:
        """Forget a lost worker."""
        self._last.pop(sender, None)
