"""The output for Prometheus, checked by the library's own parser and histogram."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families as parse_text

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.telemetry import OFF, Readings, Telemetry
from portfolio_trio.telemetry._tallies import BUCKETS, MOST_SERIES, OTHER, Spread, Tally
from portfolio_trio.telemetry.counting import CANCELLED, CountedTelemetry
from portfolio_trio.telemetry.exposition import (
    dumped,
    expose,
    families_of,
    merged,
    restarts_family,
)

ROOT: Final = Path(__file__).parents[2]
READINGS: Final = Readings(
    connections=3,
    redis_up=True,
    redis_reconnects=2,
    tick_at=1_795_766_857.5,
    last_bar_at=1_795_132_800.0,
    stale=False,
    ticks_skipped=4,
    leads=True,
)
NAMES: Final = {
    "portfolio_build_info": "gauge",
    "portfolio_connections": "gauge",
    "portfolio_connections_total": "counter",
    "portfolio_connections_closed_total": "counter",
    "portfolio_messages_received_total": "counter",
    "portfolio_messages_sent_total": "counter",
    "portfolio_errors_total": "counter",
    "portfolio_runs_total": "counter",
    "portfolio_runs_active": "gauge",
    "portfolio_first_result_seconds": "histogram",
    "portfolio_run_seconds": "histogram",
    "portfolio_switch_seconds": "histogram",
    "portfolio_results_dropped_total": "counter",
    "portfolio_fenced_writes_refused_total": "counter",
    "portfolio_metric_errors_total": "counter",
    "portfolio_redis_up": "gauge",
    "portfolio_redis_call_seconds": "histogram",
    "portfolio_redis_reconnects_total": "counter",
    "portfolio_market_tick_timestamp_seconds": "gauge",
    "portfolio_market_last_bar_timestamp_seconds": "gauge",
    "portfolio_prices_stale": "gauge",
    "portfolio_unpriced_names": "gauge",
    "portfolio_sweep_seconds": "histogram",
    "portfolio_sweep_sessions": "gauge",
    "portfolio_ticks_skipped_total": "counter",
    "portfolio_market_leader": "gauge",
    "portfolio_worker_restarts_total": "counter",
}


def happen(telemetry: Telemetry) -> None:
    """Each thing that can happen, once."""
    telemetry.described(version="1.2.3", engine="redis", redis="8.2.3")
    telemetry.watched(lambda: READINGS)
    telemetry.connection_opened("events")
    telemetry.connection_refused("rate_limited")
    telemetry.connection_closed(1001)
    telemetry.message_received("analyze")
    telemetry.messages_sent(['{"id":1,"type":"error","code":"not_held"}', '{"type":"results"}'])
    telemetry.run_began()
    telemetry.run_began()
    telemetry.run_ended("completed", 0.004)
    telemetry.first_result(0.003)
    telemetry.switched(0.0002)
    telemetry.results_dropped(3, "switched")
    telemetry.write_refused("record_results", "superseded")
    telemetry.metric_failed("momentum", "insufficient_history")
    telemetry.redis_called("record_results", 0.001)
    telemetry.swept(0.5, sessions=7, unpriced=2)


def counted() -> CountedTelemetry:
    telemetry = CountedTelemetry()
    happen(telemetry)
    return telemetry


def types_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (portfolio_\w+) (\w+)$", text, re.MULTILINE))


def samples(body: bytes) -> dict[tuple[str, str], float]:
    """By the name of a sample, and its labels as text."""
    return {
        (
            sample.name,
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def test_every_name_is_there_with_its_type() -> None:
    text = expose([*families_of(counted()), restarts_family(1)]).decode()
    assert types_in(text) == NAMES
    # And the library's parser finds a sample of each.
    parsed = {sample.name for family in parse_text(text) for sample in family.samples}
    assert parsed >= {name + "_count" * (kind == "histogram") for name, kind in NAMES.items()}


def test_the_documentation_has_the_same_names() -> None:
    rows = re.findall(r"^\| (`portfolio_.*?) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"portfolio_[a-z_]+", row)}
    assert documented == set(NAMES)


def test_what_happened_is_what_is_read() -> None:
    found = samples(expose(families_of(counted())))
    for name, labels, value in (
        ("build_info", "engine=redis,redis=8.2.3,version=1.2.3", 1),
        ("connections", "", 3),
        ("connections_total", "how=events", 1),
        ("connections_total", "how=refused", 1),
        ("connections_closed_total", "code=1001", 1),
        ("messages_received_total", "action=analyze", 1),
        ("messages_sent_total", "type=error", 1),
        ("messages_sent_total", "type=results", 1),
        ("errors_total", "code=not_held", 1),
        ("errors_total", "code=rate_limited", 1),
        ("runs_total", "outcome=completed", 1),
        ("runs_total", "outcome=failed", 0),
        ("runs_active", "", 1),
        ("switch_seconds_bucket", "le=0.0001", 0),
        ("switch_seconds_bucket", "le=0.00025", 1),
        ("first_result_seconds_sum", "", 0.003),
        ("results_dropped_total", "reason=switched", 3),
        ("fenced_writes_refused_total", "reason=superseded,script=record_results", 1),
        ("metric_errors_total", "code=insufficient_history,metric=momentum", 1),
        ("redis_call_seconds_count", "script=record_results", 1),
        ("market_tick_timestamp_seconds", "", 1_795_766_857.5),
        ("unpriced_names", "", 2),
        ("sweep_sessions", "", 7),
        ("ticks_skipped_total", "", 4),
        ("market_leader", "", 1),
    ):
        assert found[f"portfolio_{name}", labels] == value, name
    assert found["process_resident_memory_bytes", ""] > 0


def test_a_server_that_is_not_up_yet_tells_nothing_of_its_market() -> None:
    found = types_in(expose(families_of(CountedTelemetry())).decode())
    assert "portfolio_runs_total" in found
    assert not {"portfolio_redis_up", "portfolio_sweep_sessions", "portfolio_build_info"} & set(found)


def test_nothing_comes_of_it_where_nobody_asks() -> None:
    happen(OFF)
    assert vars(OFF) == {}


def test_who_leads_no_more_says_nothing_of_its_last_sweep() -> None:
    telemetry = counted()
    telemetry.watched(lambda: replace(READINGS, leads=False))
    found = {name for name, _ in samples(expose(families_of(telemetry)))}
    assert not {"portfolio_sweep_sessions", "portfolio_unpriced_names"} & found
    assert {"portfolio_market_leader", "portfolio_sweep_seconds_count"} <= found


def test_each_worker_is_told_apart() -> None:
    first, second = counted(), counted()
    second.connection_opened("events")
    body = expose(merged({"1": dumped(families_of(first)), "2": dumped(families_of(second))}))
    found = samples(body)
    assert found["portfolio_connections_total", "how=events,worker=1"] == 1
    assert found["portfolio_connections_total", "how=events,worker=2"] == 2
    assert found["portfolio_build_info", "engine=redis,redis=8.2.3,version=1.2.3,worker=2"] == 1
    assert all("worker=" in labels for _, labels in found)
    # Each name is declared once, though two tell of it.
    assert len(re.findall(r"^# TYPE ", body.decode(), re.MULTILINE)) == len(types_in(body.decode())) + 6
    # And with the type that it has where one tells of it.
    assert types_in(body.decode()) == types_in(expose(families_of(first)).decode())


@settings(max_examples=30)
@given(st.lists(st.sampled_from(BUCKETS) | st.floats(0, 20)))
def test_durations_fall_where_those_of_the_library_fall(durations: list[float]) -> None:
    registry = CollectorRegistry()
    oracle = Histogram("x", "x", registry=registry, buckets=BUCKETS)
    telemetry = CountedTelemetry()
    for seconds in durations:
        oracle.observe(seconds)
        telemetry.switched(seconds)
    theirs, ours = samples(expose(registry.collect())), samples(expose(families_of(telemetry)))
    for (name, labels), value in theirs.items():
        if not name.endswith("_created"):
            assert ours[name.replace("x", "portfolio_switch_seconds"), labels] == pytest.approx(value)


def test_series_are_bounded_whatever_a_plug_in_says() -> None:
    tally, spread = Tally("a", "a.", "b", "c"), Spread("d", "d.", "e")
    for number in range(2 * MOST_SERIES):
        tally.add("x", str(number))
        spread.add(0.1, str(number))
    assert len(tally.counts) == len(spread.series) == MOST_SERIES + 1
    assert tally.counts[OTHER, OTHER] == sum(spread.series[OTHER,][0]) == MOST_SERIES
    tally.add("x", "0")
    assert tally.counts["x", "0"] == 2


@settings(max_examples=30)
@given(st.text())
def test_no_id_of_a_client_is_taken_for_a_type(request_id: str) -> None:
    from portfolio_trio.protocol.codes import ErrorCode  # noqa: PLC0415 - used once
    from portfolio_trio.protocol.messages import Error  # noqa: PLC0415

    telemetry = CountedTelemetry()
    telemetry.messages_sent([Error.of(ErrorCode.NOT_HELD, request_id, id=request_id).to_json()])
    found = samples(expose(families_of(telemetry)))
    assert found["portfolio_messages_sent_total", "type=error"] == 1
    assert found["portfolio_errors_total", "code=not_held"] == 1


@pytest.mark.parametrize(("code", "shown"), [(1000, "1000"), (1013, "1013"), (4711, "other")])
def test_codes_that_clients_make_up_are_one(code: int, shown: str) -> None:
    telemetry = CountedTelemetry()
    telemetry.connection_closed(code)
    assert ("portfolio_connections_closed_total", f"code={shown}") in samples(expose(families_of(telemetry)))


def test_all_reasons_are_shown_from_the_start() -> None:
    assert set(CANCELLED) == set(EndReason)
