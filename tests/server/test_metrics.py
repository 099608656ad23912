"""The counts of a server under typical clients, and how they are requested."""

from __future__ import annotations

import re

import pytest
import trio
from trio.testing import MockClock

from portfolio_trio.logs import fields_of
from portfolio_trio.supervisor.listeners import StartError
from portfolio_trio.supervisor.metrics_endpoint import CONTENT_TYPE, serve_metrics
from portfolio_trio.telemetry.counting import CountedTelemetry
from portfolio_trio.telemetry.exposition import expose, families_of
from tests.support.app import open_app
from tests.support.logs import log_text
from tests.telemetry.test_exposition import samples

pytestmark = pytest.mark.trio

SLOW = "2,2"
UPGRADE = (
    b"GET /ws/s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def read(telemetry: CountedTelemetry) -> dict[tuple[str, str], float]:
    found = samples(expose(families_of(telemetry)))
    return {(name.removeprefix("portfolio_"), labels): value for (name, labels), value in found.items()}


async def test_an_analysis_from_the_request_to_its_end(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry, metric_delay_seconds=SLOW) as app:
        client = await app.connect(events=True)
        await client.receive()
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        assert read(telemetry)["runs_active", ""] == 1
        await client.until("analysis_completed")
        found = read(telemetry)
    for (name, labels), value in {
        ("connections", ""): 1,
        ("connections_total", "how=events"): 1,
        ("messages_received_total", "action=analyze"): 1,
        ("messages_sent_total", "type=analysis_result"): 5,
        ("messages_sent_total", "type=analysis_completed"): 1,
        ("runs_total", "outcome=completed"): 1,
        ("runs_active", ""): 0,
        # Virtual time: each metric waits for two seconds.
        ("first_result_seconds_sum", ""): 2,
        ("run_seconds_sum", ""): 2,
        ("switch_seconds_count", ""): 0,
        ("redis_up", ""): 1,
        ("market_leader", ""): 1,
        ("build_info", "engine=embedded,redis=,version=0.2.0"): 1,
    }.items():
        assert found[name, labels] == pytest.approx(value), name
    assert found["redis_call_seconds_count", "script=start_analysis"] == 1
    assert not any(name in {"session", "ticker"} for _, labels in found for name in labels.split(","))
    assert not any("AAPL" in labels for _, labels in found)


async def test_a_switch_and_what_it_drops(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry, metric_delay_seconds=SLOW) as app:
        client = await app.connect()
        for ticker in ("AAPL", "MSFT", "GOOGL"):
            await client.send("analyze", ticker=ticker)
        await client.until("analysis_result")
        await client.ask("dance")
        await client.send("what?\x00")
        found = read(telemetry)
        assert found["runs_total", "outcome=switched"] == 2
        assert found["switch_seconds_count", ""] == 2
        # In virtual time an old run ends at once.
        assert found["switch_seconds_bucket", "le=0.0001"] == 2
        assert found["connections_total", "how=answers"] == 1
        assert found["errors_total", "code=unknown_action"] == 1
        assert found["messages_received_total", "action=unknown"] == 1


async def test_a_write_that_the_fence_refuses(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry, metric_delay_seconds=SLOW) as app:
        client = await app.connect(events=True)
        await client.send("analyze", ticker="AAPL")
        await client.until("analysis_started")
        # Another process replaces the run, and this one does not learn of it.
        store = app.store
        await store.start_analysis(
            "s", ticker="MSFT", started_at="2026-11-27T08:00:00.000Z", tick_id=1, incarnation=""
        )
        await client.until("analysis_cancelled")
        found = read(telemetry)
    assert found["fenced_writes_refused_total", "reason=superseded,script=record_results"] == 1
    assert found["runs_total", "outcome=superseded"] == 1


async def test_results_of_a_run_that_is_over_are_counted_as_dropped(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry) as app:
        client = await app.connect(events=True)
        await client.receive()
        # Two at once: the first is cancelled wherever it is.
        for ticker in ("AAPL", "MSFT") * 20:
            await client.send("analyze", ticker=ticker)
        ends: list[str] = []
        while len(ends) < 40:
            frame = await client.receive()
            if frame["type"] in {"analysis_completed", "analysis_cancelled"}:
                ends.append(frame["type"])
        found = read(telemetry)
    assert found["runs_total", "outcome=switched"] == ends.count("analysis_cancelled") > 0
    assert found["runs_total", "outcome=completed"] == ends.count("analysis_completed")
    assert found["runs_active", ""] == 0


async def test_a_sweep(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry, market_update_interval_seconds=5) as app:
        client = await app.connect(events=True)
        await client.until("portfolio_update")
        found = read(telemetry)
    assert found["sweep_sessions", ""] == 1
    assert found["sweep_seconds_count", ""] >= 1
    assert found["unpriced_names", ""] == 0


async def test_clients_that_are_refused_and_sockets_that_end(autojump_clock: MockClock) -> None:
    telemetry = CountedTelemetry()
    async with open_app(telemetry=telemetry, max_sockets_per_session=1) as app:
        client = await app.connect()
        ours = app.dial()
        await ours.send_all(UPGRADE)
        assert b" 429 " in await ours.receive_some(100)
        await ours.aclose()
        await client.socket.aclose(4711)
        await trio.testing.wait_all_tasks_blocked()
        found = read(telemetry)
    assert found["connections_total", "how=refused"] == 1
    assert found["errors_total", "code=session_full"] == 1
    assert found["connections_closed_total", "code=other"] == 1
    assert found["connections", ""] == 0


async def ask(address: tuple[str, int], request: str, *, accept: str = "*/*") -> str:
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        await stream.send_all(f"{request} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        return b"".join([bytes(chunk) async for chunk in stream]).decode()


async def test_the_endpoint_answers_one_path() -> None:
    async def scrape() -> bytes:
        return b"portfolio_x 1\n"

    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_metrics, ("127.0.0.1", 0), scrape)
        answer = await ask(address, "GET /metrics")
        assert answer.startswith("HTTP/1.1 200 ")
        assert answer.endswith("\r\n\r\nportfolio_x 1\n")
        assert f"Content-Type: {CONTENT_TYPE}\r\n" in answer
        assert re.match(r"HTTP/1\.1 405 ", await ask(address, "DELETE /metrics"))
        assert re.match(r"HTTP/1\.1 404 ", await ask(address, "GET /"))
        with pytest.raises(StartError, match="--metrics-address"):
            await serve_metrics(address, scrape)
        nursery.cancel_scope.cancel()


async def test_who_would_rather_have_open_metrics_gets_the_text_format() -> None:
    telemetry = CountedTelemetry()
    telemetry.connection_opened("events")

    async def scrape() -> bytes:
        return expose(families_of(telemetry))

    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_metrics, ("127.0.0.1", 0), scrape)
        # As Prometheus asks.
        accept = (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        )
        for wanted in (accept, "application/openmetrics-text"):
            answer_head, _, body = (await ask(address, "GET /metrics", accept=wanted)).partition("\r\n\r\n")
            assert "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in answer_head
            assert samples(body.encode())["portfolio_connections_total", "how=events"] == 1
            # By this end a reader would take the rest for OpenMetrics.
            assert "# EOF" not in body
        nursery.cancel_scope.cancel()


async def test_the_access_log_says_who_was_answered_and_no_token(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "portfolio_trio.access_log")
    async with open_app() as app:
        ours = app.dial()
        await ours.send_all(b"GET /health?token=secret HTTP/1.1\r\nHost: x\r\n\r\n")
        while await ours.receive_some(1_000):
            pass
        await ours.aclose()
        client = await app.connect("s-1")
        await client.socket.aclose(1000)
        await trio.testing.wait_all_tasks_blocked()
    said = [each for each in caplog.records if each.name == "portfolio_trio.access_log"]
    assert [vars(each)["event"] for each in said] == ["answered", "socket_closed"]
    answered = fields_of(said[0])
    assert (answered["method"], answered["path"], answered["status"]) == ("GET", "/health", 200)
    assert "secret" not in log_text(caplog)
    assert (vars(said[1])["session"], vars(said[1])["code"]) == ("s-1", 1000)
