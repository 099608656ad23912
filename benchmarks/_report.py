"""Ratios of paired runs, as tables and as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Bar:
    """One claim: the median of a figure over paired runs, and what it should be.

    Attributes:
        name: What is measured.
        values: One per pair of runs.
        least: What the median should reach; None if it has no lower bound.
        most: What it should not exceed; None likewise.
        unit: ``x`` for a ratio.
    """

    name: str
    values: tuple[float, ...]
    least: float | None = None
    most: float | None = None
    unit: str = "x"

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the median is where it should be; None where nothing is asked of it."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.median >= self.least) and (
            self.most is None or self.median <= self.most
        )

    @property
    def goal(self) -> str:
        """The expected range, for a table."""
        if self.least is not None:
            return f">= {self.least:g}"
        return "" if self.most is None else f"<= {self.most:g}"

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "name": self.name,
            "min": min(self.values),
            "median": self.median,
            "max": max(self.values),
            "unit": self.unit,
            "goal": self.goal,
            "holds": self.holds,
            "values": list(self.values),
        }


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they need to be, in Markdown."""
    cells = [list(map(_text, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(row, widths) for row in (head, rule, *cells))


def bars_table(bars: Iterable[Bar]) -> str:
    """Min, median and max of each figure, its goal, and whether it is reached."""
    verdict = {True: "yes", False: "no", None: ""}
    rows = (
        (bar.name, min(bar.values), bar.median, max(bar.values), bar.unit, bar.goal, verdict[bar.holds])
        for bar in bars
    )
    return table(("figure", "min", "median", "max", "unit", "goal", "reached"), rows)


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Pair by pair; a run without a figure is left out with its pair."""
    return tuple(one / other for one, other in zip(above, below, strict=True) if one and other)


def write(path: str | None, figures: dict[str, Any]) -> None:
    """Write figures as JSON, if a path was given."""
    if path:
        Path(path).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.2f}" if abs(cell) < 100 else f"{cell:,.0f}"  # noqa: PLR2004 - three digits are enough
    return "" if cell is None else str(cell)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
