"""What the store gives out: parts of the session document, and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, TypeAlias

from pydantic import Field

from portfolio_trio.targets import Targets  # noqa: TC001 - pydantic needs it

if TYPE_CHECKING:
    from pydantic import JsonValue

Whole: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
"""A number that can be counted on, as the store writes it."""

PriceLookup: TypeAlias = Callable[[Iterable[str]], Mapping[str, float]]
"""Prices of names that the tick's own prices lack; a name it cannot price is left out."""


class Tick(Protocol):
    """The prices of one moment, as a price book publishes them."""

    @property
    def tick_id(self) -> int:
        """Rises with every tick."""

    @property
    def as_of(self) -> str:
        """When the prices were quoted, RFC 3339 in UTC with Z."""

    @property
    def prices(self) -> Mapping[str, float]:
        """Price per share by ticker, in currency units."""


@dataclass(frozen=True, slots=True)
class Valued:
    """Which prices a total stands for.

    Attributes:
        tick_id: The tick.
        as_of: When its prices were quoted, RFC 3339 in UTC with Z.
    """

    tick_id: Whole
    as_of: str


@dataclass(frozen=True, slots=True)
class CurrentAnalysis:
    """The run that may write.

    Attributes:
        ticker: What it analyses.
        started_at: RFC 3339 in UTC with Z.
        run_id: Its number within the session.
        version: The holdings' version it works on.
        tick_id: The newest tick when it was started.
        recorded: How many of its results are stored.
        worker: The process that carries it out; empty where nobody said.
        token: Of the call that started it, made by that process.
    """

    ticker: str
    started_at: str
    run_id: Whole
    version: Whole
    tick_id: Whole
    recorded: Whole
    worker: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        run_id: The run.
        outcome: What became of it.
        reason: Why it was cancelled, or the code with which it failed.
        results: How many results it gave; only where it completed.
        errors: How many metrics gave none; only where it completed.
        told: The worker that ran it says so, as it does of each that completed, and has told its subscribers.
    """

    run_id: Whole
    outcome: Literal["completed", "cancelled", "failed"]
    reason: str = ""
    results: Whole = 0
    errors: Whole = 0
    told: bool = field(default=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it is the word of the worker that ran it."""
        return self.told or self.outcome == "completed"


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A session's state without its results.

    Attributes:
        session_id: The session.
        holdings: Shares by ticker, fractional and negative ones too, in document order.
        version: Rises by one with each change of the holdings.
        total_value: Sum of shares times price, in currency units.
        valued: The prices behind ``total_value``.
        current_analysis: The run that may write; None when nothing runs.
        targets: Where the owner wants to be; None where that was never said.
        created: This call created the session.
        others: The other workers that have sockets of the session.
        attached: False where a full server did not take the worker that asked to be attached.
        run_counter: The highest run_id that has been handed out; only where the document was read.
        incarnation: Which document it is: one that was made anew after the session expired has another.
        run_ends: How the newest runs ended, newest last; only where the document was read.
        texts: As in a `Head`.
    """

    session_id: str
    holdings: Mapping[str, float]
    version: Whole
    total_value: float
    valued: Valued
    current_analysis: CurrentAnalysis | None
    targets: Targets | None = None
    created: bool = False
    others: tuple[str, ...] = ()
    attached: bool = True
    run_counter: int = field(default=0, compare=False)
    incarnation: str = field(default="", compare=False)
    run_ends: tuple[Ending, ...] = field(default=(), compare=False)
    texts: tuple[bytes, bytes] = field(default=(b"", b""), compare=False, repr=False)

    @property
    def head(self) -> Head:
        """What a run is computed on."""
        return Head(self.version, self.holdings, self.targets, self.texts)

    def end_of(self, run_id: int) -> Ending | None:
        """How a run ended; None where the document does not say."""
        return next((ending for ending in self.run_ends if ending.run_id == run_id), None)


@dataclass(frozen=True, slots=True)
class Known:
    """The highest numbers that are known of a document: it never has lower ones, unless it has fallen back.

    Attributes:
        incarnation: Which document; empty where nothing is known.
        run_id: The highest number of a run.
        version: The highest version of the holdings.
    """

    incarnation: str = ""
    run_id: int = 0
    version: int = 0

    @property
    def text(self) -> str:
        """As the scripts take it."""
        return f"{self.incarnation} {self.run_id} {self.version}" if self.incarnation else ""

    def is_above(self, state: Portfolio) -> bool:
        """Whether a state that was asked for when this was known has fallen back behind it."""
        is_same = self.incarnation == state.incarnation != ""
        return is_same and (state.run_counter < self.run_id or state.version < self.version)


NOTHING: Final = Known()


@dataclass(frozen=True, slots=True)
class Head:
    """What a run is computed on, as some reply had it.

    Attributes:
        version: The holdings' version.
        holdings: Shares by ticker, in document order.
        targets: Where the owner wants to be; None where that was never said.
        texts: Holdings and targets to the letter: the document still says the same where its texts are these.
    """

    version: int
    holdings: Mapping[str, float]
    targets: Targets | None
    texts: tuple[bytes, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Computed:
    """What a run has computed before it was started, on what was known of the document.

    Attributes:
        head: What it was computed on.
        run_id: The number that the results bear: one above the highest that is known.
        results: JSON texts, one result each.
        finish: Nothing is left to compute.
        errors: With ``finish``: how many metrics of the run gave no result.
    """

    head: Head
    run_id: int
    results: Sequence[str]
    finish: bool
    errors: int = 0


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run starts from.

    Attributes:
        run_id: Its number within the session; higher than that of every earlier run.
        holdings: Shares by ticker, in document order.
        version: The holdings' version; every write of the run states it.
        total_value: As last valued, in currency units.
        others: The other workers that have sockets of the session.
        replaced: The run that was current until then; 0 for none.
        started_at: As the caller said, RFC 3339 in UTC with Z.
        tick_id: As the caller said.
        targets: Where the owner wants to be; None where that was never said.
        texts: As in a `Head`.
        taken: What was computed before the start is in the document.
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
    texts: tuple[bytes, bytes] = field(default=(b"", b""), compare=False, repr=False)
    taken: bool = False

    @property
    def head(self) -> Head:
        """What the run is computed on."""
        return Head(self.version, self.holdings, self.targets, self.texts)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What became of the wish to note that a run is over.

    Attributes:
        cleared: It was the current run, and is no more.
        others: The other workers that have sockets of the session; only where it was cleared.
        run_id: Its number; only where it was cleared.
        ticker: What it analysed; only where it was cleared.
        ending: How it ended, if the document says so: before, where an edit or something else was first.
    """

    cleared: bool
    others: tuple[str, ...] = ()
    run_id: int = 0
    ticker: str = ""
    ending: Ending | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ResultsPage:
    """The newest results that were asked for and fit.

    Attributes:
        results: Oldest first, as they were sent.
        more: There are older ones that were left out.
    """

    results: tuple[dict[str, JsonValue], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class SharedTick:
    """A tick as one worker gives it to all.

    Attributes:
        tick_id: Rises with every tick.
        as_of: When the prices were quoted, RFC 3339 in UTC with Z.
        stale: These prices are older than they should be.
        prices: Price per share by ticker, in currency units.
        unpriced: Names that are known and have no price at this tick.
        why: What makes it stale, one reason each.
        last_known: The newest price of names that have none at this tick.
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
    """What a worker learns when it says that it lives.

    Attributes:
        leads: It may update the market, until its lease ends.
        known: It counted as alive until now; else others may have given up its runs and its sockets.
        tick_id: The newest tick that was shared; None before the first.
        lost: Workers that ended without a word, until somebody has cleaned up after them.
    """

    leads: bool
    known: bool
    tick_id: int | None
    lost: tuple[str, ...]


Outcome = Literal["revalued", "stale", "missing", "missing_prices", "wrong_type", "overflow", "failed"]
"""What became of one document: ``stale`` had this tick or a newer one already, ``missing`` has expired."""


@dataclass(frozen=True, slots=True)
class Revaluation:
    """One session at one tick.

    Attributes:
        session_id: The session, or the whole key where it is not one of a session.
        outcome: Whether it was revalued, or why not; anything but ``revalued`` changed nothing.
        before: The total until now, in currency units; only where it was revalued.
        after: The total at this tick; only where it was revalued.
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
        counts: Documents by outcome; one that SCAN showed twice counts as ``stale`` the second time.
        unpriced: Held names without a price, the first few of them.
        examples: The first few documents that could not be revalued.
        held: Every name with a price that was found held; None where all prices were sent without asking.
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
        """How many documents should have been revalued and were not."""
        return sum(self.counts.values()) - sum(
            self.counts.get(fine, 0) for fine in ("revalued", "stale", "missing")
        )

    @property
    def reasons(self) -> str:
        """The first few that were not, and what became of each."""
        return ", ".join(f"{each.session_id}: {each.outcome}" for each in self.examples)
