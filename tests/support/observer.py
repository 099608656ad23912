"""Checks invariants on what the subscribers of a session have seen, and counts violations."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Frame = dict[str, Any]
ENDS = {"analysis_completed": "completed", "analysis_cancelled": "cancelled", "analysis_failed": "failed"}


class Observer:
    """What the subscribers of one session have seen, wherever they are.

    Attributes:
        faults: The count of each kind of fault.
        examples: The first of each kind, in words.
    """

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._ends: dict[int, tuple[object, ...]] = {}

    def look(self, frames: Sequence[Frame], metrics: int) -> None:
        """Take all that one subscriber has seen, from its first state on."""
        version, tick, current, outcomes, late = 0, 0, None, 0, False
        ended: set[int] = set()
        for frame in frames:
            kind, run_id = frame["type"], frame.get("run_id")
            if kind == "portfolio":
                named = (frame["current_analysis"] or {}).get("run_id")
                self._check("a version fell", frame["version"] >= version, frame)
                self._check("an ended run is named as current", named not in ended, frame)
                version = max(version, frame["version"])
                if current is None and named is not None:
                    # A late joiner: the state counts as the start.
                    current, outcomes, late = named, 0, True
            elif kind == "portfolio_update":
                self._check("a tick fell", frame["tick_id"] >= tick, frame)
                tick = frame["tick_id"]
            elif kind == "analysis_started":
                self._check("a start inside another run", current is None, frame)
                self._check("a second start", run_id not in ended and run_id != current, frame)
                current, outcomes, late = run_id, 0, False
            elif kind in {"analysis_result", "metric_error"}:
                self._check("a result outside its run", run_id == current, frame)
                outcomes += 1
            elif kind in ENDS and run_id is not None:
                self._check("a second end", run_id not in ended, frame)
                if run_id == current:
                    whole = ENDS[kind] != "completed" or late or outcomes == metrics
                    self._check("a completed run without all its results", whole, frame)
                    self._end(run_id, frame)
                    current = None
                ended.add(run_id)
        self._check("a run without an end", current is None, {"run_id": current})

    def compare(self, frames: Sequence[Frame]) -> None:
        """Take only the ends of what one subscriber has seen, where starts and results may be lost."""
        for frame in frames:
            if frame["type"] in ENDS and frame.get("run_id") is not None:
                self._end(frame["run_id"], frame)

    def _end(self, run_id: int, frame: Frame) -> None:
        end = (ENDS[frame["type"]], *(frame.get(name) for name in ("reason", "code", "results", "errors")))
        known = self._ends.setdefault(run_id, end)
        self._check("ends that differ", known == end, {**frame, "elsewhere": known})

    def _check(self, fault: str, holds: object, frame: Frame) -> None:
        if not holds:
            self.faults[fault] += 1
            self.examples.setdefault(fault, str(frame)[:300])
