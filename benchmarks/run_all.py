"""Run every benchmark of the server: tables on the terminal, all figures as JSON.

    python benchmarks/run_all.py [--short] [--json PATH]

``--short`` takes about three minutes. The exit status does not depend on the figures: they are ratios within
one run, but of a machine that may be busy with other things.
"""

from __future__ import annotations

import argparse
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import connections
import growth
import market_sweep
import serve_throughput
import socket_path
import sweep_latency
import switch_latency
import workers
from _options import SHORT_ROUNDS, Options, plain, show_machine
from _report import write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

SHORT: Final = Options(short=True, rounds=SHORT_ROUNDS, seconds=1.0)
BENCHMARKS: Final[Mapping[ModuleType, Options]] = MappingProxyType(
    {
        serve_throughput: Options(rounds=5, seconds=3.0),
        switch_latency: Options(rounds=5, seconds=6.0),
        growth: Options(rounds=7),
        connections: Options(rounds=3, seconds=3.0),
        market_sweep: Options(rounds=5),
        socket_path: Options(rounds=10, seconds=0.5),
        workers: Options(rounds=10, seconds=0.7),
        sweep_latency: Options(rounds=9, seconds=4.0),
    }
)
# A 99th percentile at a modest rate takes its time; the other two compare what is settled.
LONG_ONLY: Final = frozenset({socket_path, workers, sweep_latency})


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--json", metavar="PATH", help="write the figures there, too")
    words = parser.parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {"machine": show_machine(), "short": words.short}
    for benchmark, options in BENCHMARKS.items():
        if words.short and benchmark in LONG_ONLY:
            continue
        print(f"\n## {benchmark.__name__}\n", flush=True)
        measured = benchmark.measure(SHORT if words.short else options)
        benchmark.show(measured)
        figures[benchmark.__name__] = plain(measured)
    print(f"\n{time.monotonic() - began:.0f} s")
    write(words.json, figures)


if __name__ == "__main__":
    main()
