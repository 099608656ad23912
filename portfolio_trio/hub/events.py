"""What workers write to each other, and how a lost batch shows."""

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
"""What every subscriber of a session gets, whichever socket caused it."""

Kind = Literal[
    # Messages that the subscribers of a session get, whichever worker they are on.
    "portfolio",
    "analysis_started",
    "analysis_result",
    "metric_error",
    "analysis_completed",
    "analysis_cancelled",
    "analysis_failed",
    # For the workers themselves.
    "claim",  # a run has its number: older ones are over
    "cancel",  # somebody has cancelled the run, which is not its own
    "look",  # something happened that this worker could not hear of: read the document
]

RUN_ENDS: frozenset[Kind] = frozenset({"analysis_completed", "analysis_cancelled", "analysis_failed"})


class PeerEvent(BaseModel):
    """One thing that happened in a session.

    Attributes:
        session_id: Where.
        kind: What; most kinds are the type of a message.
        run_id: The run it is about, if it has its number.
        version: The holdings' version; with a portfolio, and with the claim of a run.
        ticker: What the run analyses.
        replaced: With a claim: the run that was current until then; 0 for none.
        running: With a start: the run.
        metric: With a result or an error of a metric: which; empty where an older release wrote it.
        outcomes: With the end of a run that completed: how many results and errors it gave.
        incarnation: The document of the session that it is about.
        has_fallen: With a portfolio: the document had fallen back, and runs on older holdings with it.
        frame: The message, as it goes to subscribers; empty where there is none.
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
    """Events from one worker to another, in the order in which things happened.

    Attributes:
        sender: The worker that wrote it.
        number: Higher than that of every batch which the sender has written before, to whomever.
        previous: The number of its last batch to the same worker; 0 where it knows of none.
        events: May be none: then only the numbers matter.
    """

    model_config = ConfigDict(frozen=True)

    sender: str
    number: int
    previous: int
    events: tuple[PeerEvent, ...] = ()


class SequenceTracker:
    """Which batch was the last one, of whom."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def has(self, batch: Batch) -> bool:
        """Whether a batch has arrived before: its sender could not know that."""
        return batch.number <= self._last.get(batch.sender, 0)

    def follows(self, batch: Batch) -> bool:
        """Take a batch; False where one before it is missing."""
        last = self._last.get(batch.sender, 0)
        self._last[batch.sender] = batch.number
        return batch.previous == last

    def forget(self, sender: str) -> None:
        """A worker is lost."""
        self._last.pop(sender, None)
