"""The counts in Prometheus' format: of one process, or of several that send theirs as text.

The names follow https://prometheus.io/docs/practices/naming/. The format is Prometheus' own text:
OpenMetrics, which names counters without ``_total``, does not allow both ``portfolio_connections``, a gauge,
and ``portfolio_connections_total``.
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from portfolio_trio.telemetry._tallies import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portfolio_trio.telemetry._tallies import Spread, Tally
    from portfolio_trio.telemetry._telemetry import Readings
    from portfolio_trio.telemetry.counting import CountedTelemetry

__all__ = [
    "dumped",
    "expose",
    "families_of",
    "merged",
    "process_families",
    "restarts_family",
]

_BOUNDS: Final = (*(repr(bound) for bound in BUCKETS), "+Inf")


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    @override
    def collect(self) -> Iterable[Metric]:
        return self._families


def expose(families: Iterable[Metric]) -> bytes:
    """The body of an answer, in Prometheus' text format 0.0.4."""
    return generate_latest(_Families(families))


def families_of(telemetry: CountedTelemetry) -> Iterator[Metric]:
    """All metrics of a process, including those of the process itself."""
    if telemetry.facts:
        yield InfoMetricFamily("portfolio_build", "Version and engine.", telemetry.facts)
    yield from map(_counter, telemetry.tallies)
    yield from map(_histogram, telemetry.spreads)
    active = "Runs that have begun but not ended."
    yield GaugeMetricFamily("portfolio_runs_active", active, telemetry.runs_active)
    now = None if telemetry.read is None else telemetry.read()
    # A worker that no longer leads would report its last sweep forever.
    if telemetry.sweep_sessions is not None and (now is None or now.leads):
        valued = "Sessions valued by the last sweep of this process."
        yield GaugeMetricFamily("portfolio_sweep_sessions", valued, telemetry.sweep_sessions)
        unpriced = "Held names without a price in that sweep."
        yield GaugeMetricFamily("portfolio_unpriced_names", unpriced, telemetry.unpriced)
    if now is not None:
        yield from _read(now)
    yield from process_families()


def process_families() -> Iterable[Metric]:
    """Memory, processor time and descriptors of this process."""
    return ProcessCollector(registry=CollectorRegistry()).collect()


def restarts_family(count: int) -> Metric:
    """How many times a supervisor has restarted a worker."""
    about = "Workers that ended and were restarted."
    return CounterMetricFamily("portfolio_worker_restarts", about, count)


def dumped(families: Iterable[Metric]) -> str:
    """Families as one line of JSON, to be sent on; `merged` reads it."""
    content = [
        (each.name, each.documentation, each.type, [sample[:3] for sample in each.samples])
        for each in families
    ]
    return json.dumps(content, separators=(",", ":"))


def merged(workers: Mapping[str, str | bytes]) -> list[Metric]:
    """The merged families of several processes, each sample labelled with its ``worker``.

    Args:
        workers: The output of `dumped`, by worker name.
    """
    # Also by kind: a gauge and a counter can have the same name here, before the latter gets its ``_total``.
    found: dict[tuple[str, str], Metric] = {}
    for worker, text in workers.items():
        for name, about, kind, samples in json.loads(text):
            family = found.setdefault((name, kind), Metric(name, about, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, {**labels, "worker": worker}, value)
    return list(found.values())


def _counter(tally: Tally) -> Metric:
    family = CounterMetricFamily(tally.name, tally.about, labels=tally.labels)
    for values, count in tally.counts.items():
        family.add_metric(values, count)
    return family


def _histogram(spread: Spread) -> Metric:
    family = HistogramMetricFamily(spread.name, spread.about, labels=spread.labels)
    for values, (counts, (total,)) in spread.series.items():
        family.add_metric(values, list(zip(_BOUNDS, accumulate(counts), strict=True)), total)
    return family


def _read(now: Readings) -> Iterator[Metric]:
    for name, about, value in (
        ("connections", "Open sockets.", now.connections),
        ("redis_up", "1: Redis can be reached.", now.redis_up),
        ("market_tick_timestamp_seconds", "Time of the newest tick, since 1970.", now.tick_at),
        ("market_last_bar_timestamp_seconds", "Day of the newest closed bar, since 1970.", now.last_bar_at),
        ("prices_stale", "1: prices are older than allowed.", now.stale),
        ("market_leader", "1: this process updates the market.", now.leads),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"portfolio_{name}", about, value)
    reconnects = "Connections to Redis that replaced a lost one."
    yield CounterMetricFamily("portfolio_redis_reconnects", reconnects, now.redis_reconnects)
    skipped = "Ticks missed because a sweep took longer than the interval."
    yield CounterMetricFamily("portfolio_ticks_skipped", skipped, now.ticks_skipped)
