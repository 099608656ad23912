"""What the store returns: parts of the session document, and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

# pydantic needs them (TC001).
from portfolio_trio.store._fields import (  # noqa: TC001
    Code,
    Moment,
    Name,
    Shares,
    StoredTargets,
    Total,
    Whole,
)

if TYPE_CHECKING:
    from pydantic import JsonValue

    from portfolio_trio.targets import Targets

PriceLookup: TypeAlias = Callable[[Iterable[str]], Mapping[str, float]]
"""Returns prices of names that the tick lacks; names without a price are left out."""


class Tick(Protocol):
    """The prices of one moment, as a price book publishes them."""

    @property
    def tick_id(self) -> int:
        """Increases with every tick."""

    @property
    def as_of(self) -> str:
        """When the prices were quoted, RFC 3339 in UTC with Z."""

    @property
    def prices(self) -> Mapping[str, float]:
        """Price per share by ticker, in currency units."""


@dataclass(frozen=True, slots=True)
class Valued:
    """The prices behind a total.

    Attributes:
        tick_id: The tick.
        as_of: When its prices were quoted, RFC 3339 in UTC with Z.
    """

    tick_id: Whole
    as_of: Moment


@dataclass(frozen=True, slots=True)
class CurrentAnalysis:
    """The current run, the only one that may write.

    Attributes:
        ticker: What it analyses.
        started_at: RFC 3339 in UTC with Z.
        run_id: Its number within the session.
        version: The holdings' version it works on.
        tick_id: The newest tick when it was started.
        recorded: How many of its results are stored.
        worker: The process that runs it; empty if not stated.
        token: Random, drawn by that process for the call that started the run.
    """

    ticker: Name
    started_at: Moment
    run_id: Whole
    version: Whole
    tick_id: Whole
    recorded: Whole
    worker: Code = ""
    token: Code = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        run_id: The run.
        outcome: How it ended.
        reason: Why it was cancelled, or the code with which it failed.
        results: How many results it produced; only if it completed.
        errors: How many metrics produced none; only if it completed.
        told: The worker that ran it reported this end, and has told its subscribers; true of each completed
            run.
    """

    run_id: Whole
    outcome: Literal["completed", "cancelled", "failed"]
    reason: Code = ""
    results: Whole = 0
    errors: Whole = 0
    told: bool = field(default=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether the worker that ran it reported this end."""
        return self.told or self.outcome == "completed"


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A session's state without its results.

    Attributes:
        session_id: The session.
        holdings: Shares by ticker, possibly fractional or negative, in document order.
        version: Increases by one with each change of the holdings or the targets.
        total_value: Sum of shares times price, in currency units.
        valued: The prices behind ``total_value``.
        current_analysis: The run that may write; None if none is running.
        targets: The owner's targets; None if none were ever set.
        created: This call created the session.
        others: The other workers that have sockets of the session.
        attached: False if a full server could not attach the worker that asked for it.
        run_counter: The highest run_id assigned so far; only if the document was read.
        incarnation: Identifies the document: one created after the session expired has another.
        run_ends: How the newest runs ended, newest last; only if the document was read.
        texts: As in a `Head`.
    """

    session_id: str
    holdings: Mapping[Name, Shares]
    version: Whole
    total_value: Total
    valued: Valued
    current_analysis: CurrentAnalysis | None
    targets: StoredTargets = None
    created: bool = False
    others: tuple[str, ...] = ()
    attached: bool = True
    run_counter: Whole = field(default=0, compare=False)
    incarnation: Code = field(default="", compare=False)
    run_ends: tuple[Ending, ...] = field(default=(), compare=False)
    texts: tuple[bytes, bytes] = field(default=(b"", b""), compare=False, repr=False)

    @property
    def head(self) -> Head:
        """What a run is computed from."""
        return Head(self.version, self.holdings, self.targets, self.texts)

    def end_of(self, run_id: int) -> Ending | None:
        """How a run ended; None if the document does not say."""
        return next((ending for ending in self.run_ends if ending.run_id == run_id), None)


class Known(NamedTuple):
    """The highest known numbers of a document: it never has lower ones, unless it has fallen back.

    Attributes:
        incarnation: Identifies the document; empty if nothing is known.
        run_id: The highest run_id.
        version: The highest version of the holdings.
    """

    incarnation: str = ""
    run_id: int = 0
    version: int = 0

    @property
    def text(self) -> str:
        """In the form that scripts take."""
        return f"{self.incarnation} {self.run_id} {self.version}" if self.incarnation else ""

    def is_above(self, state: Portfolio) -> bool:
        """Whether a state requested when this was already known has fallen behind it."""
        is_same = self.incarnation == state.incarnation != ""
        return is_same and (state.run_counter < self.run_id or state.version < self.version)


NOTHING: Final = Known()


@dataclass(frozen=True, slots=True)
class Head:
    """What a run is computed from, as of an earlier reply.

    Attributes:
        version: The holdings' version.
        holdings: Shares by ticker, in document order.
        targets: The owner's targets; None if none were ever set.
        texts: The exact texts of holdings and targets: if the document still has these texts, neither has
            changed.
    """

    version: int
    holdings: Mapping[str, float]
    targets: Targets | None
    texts: tuple[bytes, bytes] = field(repr=False)


class Computed(NamedTuple):
    """What a run has computed before its start, from what was known of the document.

    Attributes:
        head: What it was computed from.
        run_id: The run_id in the results: one above the highest known.
        results: JSON texts, one result each.
        finish: These are all results of the run.
        errors: With ``finish``: how many metrics of the run gave no result.
    """

    head: Head
    run_id: int
    results: Sequence[str]
    finish: bool
    errors: int = 0


class RunStart(NamedTuple):
    """What a run starts from.

    Attributes:
        run_id: Its number within the session; higher than every earlier run's.
        holdings: Shares by ticker, in document order.
        version: The holdings' version; every write of the run states it.
        total_value: As last valued, in currency units.
        others: The other workers that have sockets of the session.
        replaced: The run that was current before; 0 for none.
        started_at: As given by the caller, RFC 3339 in UTC with Z.
        tick_id: As given by the caller.
        targets: The owner's targets; None if none were ever set.
        texts: As in a `Head`.
        taken: The results computed before the start are stored in the document.
    """

    run_id: int
    holdings: Mapping[str, float]
    version: int
    total_value: float
    others: tuple[str, ...] = ()
    replaced: int = 0
    started_at: str = ""
    tick_id: int = 0
    targets: Targets | None = None
    texts: tuple[bytes, bytes] = (b"", b"")
    taken: bool = False

    @property
    def head(self) -> Head:
        """What the run is computed from."""
        return Head(self.version, self.holdings, self.targets, self.texts)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The result of recording that a run is over.

    Attributes:
        cleared: It was the current run, and no longer is.
        others: The other workers that have sockets of the session; only if it was cleared.
        run_id: Its number; only if it was cleared.
        ticker: What it analysed; only if it was cleared.
        ending: How it ended, if the document says so; an edit, for example, may have ended it earlier.
    """

    cleared: bool
    others: tuple[str, ...] = ()
    run_id: int = 0
    ticker: str = ""
    ending: Ending | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ResultsPage:
    """The newest results that were requested and fit.

    Attributes:
        results: Oldest first, as they were sent.
        more: Older ones were left out.
    """

    results: tuple[dict[str, JsonValue], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class SharedTick:
    """A tick as the leader shares it with all workers.

    Attributes:
        tick_id: Increases with every tick.
        as_of: When the prices were quoted, RFC 3339 in UTC with Z.
        stale: These prices are older than they should be.
        prices: Price per share by ticker, in currency units.
        unpriced: Known names that have no price at this tick.
        why: What makes it stale, one reason each.
        last_known: The newest known price of names that have none at this tick.
        stale_prices: Names whose price is their last close, with its ISO date.
    """

    tick_id: int
    as_of: str
    stale: bool
    prices: Mapping[str, float]
    unpriced: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    last_known: Mapping[str, float] = field(default_factory=dict)
    stale_prices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The reply to a worker's heartbeat.

    Attributes:
        leads: It may update the market, until its lease ends.
        known: It counted as alive until now; otherwise others may have given up its runs and its sockets.
        tick_id: The newest tick that was shared; None before the first.
        lost: Workers whose heartbeats stopped, until their runs and sockets have been cleaned up.
    """

    leads: bool
    known: bool
    tick_id: int | None
    lost: tuple[str, ...]


Outcome = Literal["revalued", "stale", "missing", "missing_prices", "wrong_type", "overflow", "failed"]
"""The outcome for one document: ``stale`` already had this tick or a newer one, ``missing`` has expired."""


@dataclass(frozen=True, slots=True)
class Revaluation:
    """One session at one tick.

    Attributes:
        session_id: The session, or the whole key if it is not a session's.
        outcome: Whether it was revalued, or why not; any outcome but ``revalued`` changed nothing.
        before: The previous total, in currency units; only if it was revalued.
        after: The total at this tick; only if it was revalued.
        unpriced: Held names without a price; only with ``missing_prices``.
    """

    session_id: str
    outcome: Outcome
    before: float | None = None
    after: float | None = None
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SweepReport:
    """One tick over all sessions.

    Attributes:
        tick_id: The tick.
        counts: Documents by outcome; one that SCAN returned twice counts as ``stale`` the second time.
        unpriced: Held names without a price, the first few of them.
        examples: The first few documents that could not be revalued.
        held: All names with a price that are held; None if all prices were sent and this is therefore not
            known.
        unpriced_names: How many held names have no price.
    """

    tick_id: int
    counts: Mapping[Outcome, int]
    unpriced: tuple[str, ...]
    examples: tuple[Revaluation, ...]
    held: frozenset[str] | None = None
    unpriced_names: int = 0

    @property
    def revalued(self) -> int:
        """How many documents have the new total."""
        return self.counts.get("revalued", 0)

    @property
    def errors(self) -> int:
        """How many documents should have been revalued but were not."""
        return sum(self.counts.values()) - sum(
            self.counts.get(fine, 0) for fine in ("revalued", "stale", "missing")
        )

    @property
    def reasons(self) -> str:
        """The first few that were not revalued, and why."""
        return ", ".join(f"{each.session_id}: {each.outcome}" for each in self.examples)
