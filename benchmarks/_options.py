"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from _processes import describe_machine, private_redis
from _report import Bar, write

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT_ROUNDS = 3
SHORT_SECONDS = 1.0


class Options(NamedTuple):
    """How thoroughly to measure.

    Attributes:
        short: Leave out what takes long.
        rounds: Turns that each server takes.
        seconds: How long one turn lasts.
        full: Include what takes very long.
        before: A checkout of an earlier version, to compare with it, too.
    """

    short: bool = False
    rounds: int = SHORT_ROUNDS
    seconds: float = SHORT_SECONDS
    full: bool = False
    before: Path | None = None


def run(
    description: str | None,
    measure: Callable[[Options], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    *,
    rounds: int,
    seconds: float,
    before: str | None = None,
) -> None:
    """Read the command line, measure, print, write.

    Args:
        description: The help.
        measure: Measures.
        show: Prints what was measured.
        rounds: Turns of the long form.
        seconds: The length of one.
        before: What is compared with an earlier version, if anything is.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--full", action="store_true", help="include what takes very long")
    parser.add_argument("--rounds", type=int, help=f"turns of each server (default {rounds})")
    parser.add_argument("--seconds", type=float, help=f"length of a turn (default {seconds:g})")
    parser.add_argument("--json", metavar="PATH", help="write the figures there, too")
    if before:
        parser.add_argument("--before", metavar="CHECKOUT", type=Path, help=before)
    words = parser.parse_args()
    options = Options(
        short=words.short,
        rounds=words.rounds or (SHORT_ROUNDS if words.short else rounds),
        seconds=words.seconds or (SHORT_SECONDS if words.short else seconds),
        full=words.full,
        before=words.before.resolve() if before and words.before else None,
    )
    machine = show_machine()
    figures = measure(options)
    show(figures)
    write(words.json, {"machine": machine, **plain(figures)})


def show_machine() -> dict[str, str]:
    """Print what the figures are measured on, and return it."""
    with private_redis() as found:
        machine = describe_machine(found)
    for name, text in machine.items():
        print(f"{name}: {text}")
    print()
    return machine


def plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures without objects, for JSON."""
    return {
        name: [bar.as_json() for bar in value] if value and isinstance(value[0], Bar) else value
        for name, value in figures.items()
    }
