"""Whether an analysis costs more in a session that has had ten thousand of them.

    python benchmarks/growth.py [--short] [--json PATH]

One session is taken to its ten-thousandth analysis (``--short``: 2,500th, more than it keeps results of).
Then its next hundred and the first hundred of a new session take turns, so that a slow moment of the machine
falls on both. The peer whose scripts rewrite the whole document is shown beside it, at its 700th.
"""

from __future__ import annotations

from typing import Any, Final

from _contenders import OURS, TUNED, WHOLE_DOCUMENT, contenders
from _options import Options, run
from _processes import drive
from _report import Bar, bars_table

ANALYSES: Final = {OURS: 10_000, TUNED: 2_500, WHOLE_DOCUMENT: 700}
SHORT_ANALYSES: Final = {OURS: 2_500}
COUNT: Final = {OURS: 100, TUNED: 100, WHOLE_DOCUMENT: 20}


def measure(options: Options) -> dict[str, Any]:
    """Grow a session of each server; return ratios of its last analyses to the first of new sessions."""
    analyses = SHORT_ANALYSES if options.short else ANALYSES
    bars = []
    with contenders(list(analyses)) as servers:
        for name, many in analyses.items():
            figures = drive(
                servers[name], "--mode", "grow", "--analyses", many,
                "--rounds", options.rounds, "--count", COUNT[name],
            )  # fmt: skip
            title = f"{name}: {many:,}th analysis / first of a new session"
            bars.append(Bar(title, tuple(figures["ratios"]), most=1.1 if name == OURS else None))
    return {"bars": bars}


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    print(bars_table(figures["bars"]))


if __name__ == "__main__":
    run(__doc__, measure, show, rounds=7, seconds=0)
