"""A real Redis that dies, stalls, refuses or lies, under a whole server; nothing is lost, mixed up or stuck.

Real sockets, hence real time: every wait is for something that happens, bounded, and none is a sleep.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from portfolio_trio.settings import Delay
from tests.support.app import METRICS, App, Client, Frame, open_app, results
from tests.support.logs import events
from tests.support.proxy import Proxy, open_proxy
from tests.support.redis_servers import NO_PRIVATE_JSON_SERVER, Server, json_command, private_server

pytestmark = pytest.mark.trio

PATIENCE = 60.0


@pytest.fixture
def redis() -> Iterator[Server]:
    """A Redis with JSON that keeps what it has acknowledged, over a kill -9, too."""
    command = json_command()
    if command is None:
        pytest.skip(NO_PRIVATE_JSON_SERVER)
    with private_server(command, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@asynccontextmanager
async def app_on(url: str, **settings: Any) -> AsyncIterator[App]:
    with trio.fail_after(PATIENCE):
        async with open_app(redis_url=url, redis_timeout_seconds=2.0, **settings) as app:
            yield app


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until something holds; the test's own deadline bounds it."""
    while not await holds():  # noqa: ASYNC110 - the other side is another process
        await trio.sleep(0.005)


async def analysis(client: Client, ticker: str = "AAPL") -> list[Frame]:
    """Ask until the store is back, and return the results."""
    while True:
        await client.send("analyze", ticker=ticker)
        frames = [await client.receive()]
        if frames[0]["type"] == "error":
            assert frames[0]["code"] in {"unavailable", "session_expired"}, frames[0]
            assert frames[0]["retryable"] is True
            await trio.sleep(0.005)
            continue
        return frames + await client.take(len(METRICS) - 1)


async def assert_sound(app: App, streamed: list[Frame], session_id: str = "s") -> None:
    """What a client saw is in the document, once and in order; nothing runs."""
    document = await app.document(session_id)
    recorded = iter(document["analysis_results"])
    for frame in streamed:
        expected = {key: value for key, value in frame.items() if key not in {"type", "id"}}
        assert any(found == expected for found in recorded), f"{expected} is not recorded, or out of order"
    keys = [(r["run_id"], r["metric"]) for r in document["analysis_results"]]
    assert len(keys) == len(set(keys)), "a result is recorded twice"
    assert document["current_analysis"] is None


async def test_kill_9_in_the_middle_of_an_analysis_and_restart(redis: Server) -> None:
    async with app_on(redis.url, metric_delay_seconds=Delay(0.0, 0.4)) as app:
        client = await app.connect()
        streamed = await analysis(client)
        await client.send("analyze", ticker="MSFT")
        streamed.append(await client.receive())
        redis.kill()
        # Results that were not acknowledged are not streamed: the run ends with an error instead.
        rest = await client.until("error")
        streamed += [f for f in rest if f["type"] == "analysis_result"]
        assert (rest[-1]["code"], rest[-1]["retryable"]) == ("unavailable", True)
        assert (await client.ask("get_portfolio"))["code"] == "unavailable"
        status, said = await app.ready()
        assert (status, said["store"]) == (503, "away")

        redis.start()
        streamed += await analysis(client, "GOOGL")
        await assert_sound(app, streamed)
        assert (await app.ready())[0] == 200


async def test_client_kill_costs_at_most_the_run(redis: Server) -> None:
    async with app_on(redis.url) as app:
        client = await app.connect()
        streamed: list[Frame] = []
        for _ in range(5):
            streamed += await analysis(client)
            redis.do("CLIENT KILL TYPE normal SKIPME yes")
        streamed += await analysis(client)
        await assert_sound(app, streamed)


async def test_script_flush_is_not_noticed(redis: Server) -> None:
    async with app_on(redis.url) as app:
        client = await app.connect()
        for _ in range(3):
            redis.do("SCRIPT FLUSH")
            await client.send("analyze", ticker="AAPL")
            assert len(results(await client.take(5))) == 5


async def test_a_replica_refuses_and_a_primary_serves_again(redis: Server) -> None:
    async with app_on(redis.url) as app:
        client = await app.connect()
        streamed = await analysis(client)
        redis.do("REPLICAOF 127.0.0.1 1")
        answer = await client.ask("analyze", ticker="AAPL")
        assert (answer["code"], answer["retryable"]) == ("unavailable", True)
        redis.do("REPLICAOF NO ONE")
        streamed += await analysis(client)
        await assert_sound(app, streamed)


async def test_maxmemory_is_named_and_passes(redis: Server) -> None:
    async with app_on(redis.url) as app:
        client = await app.connect()
        streamed = await analysis(client)
        redis.do("CONFIG SET maxmemory 1")
        answer = await client.ask("analyze", ticker="AAPL")
        assert (answer["code"], answer["retryable"]) == ("store_full", True)
        redis.do("CONFIG SET maxmemory 0")
        streamed += await analysis(client)
        await assert_sound(app, streamed)


def without(document: Frame, names: Iterable[str]) -> Frame:
    return {name: value for name, value in document.items() if name not in names}


async def test_a_full_server_can_still_be_read_and_is_not_ready(redis: Server) -> None:
    async with app_on(redis.url) as app, app_on(redis.url) as elsewhere:

        async def has_status(status: int) -> bool:
            return (await app.ready())[0] == status

        client = await app.connect()
        streamed = await analysis(client)
        before = await app.document()
        await until(partial(has_status, 200))
        redis.do("CONFIG SET maxmemory 1")
        redis.do("EXPIRE", "portfolio:{s}", "50")
        portfolio = await client.ask("get_portfolio")
        assert (portfolio["type"], portfolio["version"]) == ("portfolio", 1)
        # Reading keeps it alive, though nothing new can be written down.
        assert int(redis.do("TTL", "portfolio:{s}")) > 50
        assert len((await client.ask("get_results"))["results"]) == len(streamed)
        subscriber = await elsewhere.subscribe()
        # Nor does a worker that cannot be written down as attached break a session: that is no activity, too.
        redis.do("JSON.DEL", "portfolio:{s}", "$.attached")
        assert not (await app.store.attach("s")).attached
        assert (await app.store.get_portfolio("s", at=before["last_activity"], attach=True)).attached
        stranger = await app.connect("another", events=True)
        assert (await stranger.receive())["code"] == "store_full"
        assert (await client.ask("trade", ticker="AAPL", shares=1))["code"] == "store_full"
        touched = ("last_activity", "attached")
        assert without(await app.document(), touched) == without(before, touched)
        await until(partial(has_status, 503))
        assert (await app.ready())[1]["reasons"] == ["the store is full"]

        redis.do("CONFIG SET maxmemory 0")
        await until(partial(has_status, 200))
        assert (await stranger.ask("get_portfolio"))["type"] == "portfolio"
        assert (await subscriber.ask("get_portfolio"))["type"] == "portfolio"
        assert len((await app.document())["attached"]) == 2
        streamed += await analysis(client)
        await assert_sound(app, streamed)


async def test_a_key_of_the_wrong_type_is_reported_and_left_alone(redis: Server) -> None:
    redis.do("SET", "portfolio:{s}", "precious")
    async with app_on(redis.url) as app:
        subscriber = await app.connect(events=True)
        assert (await subscriber.receive())["code"] == "session_broken"
        client = await app.connect()
        for action, fields in (("analyze", {"ticker": "AAPL"}), ("trade", {"ticker": "AAPL", "shares": 1})):
            answer = await client.ask(action, **fields)
            assert (answer["code"], answer["retryable"]) == ("session_broken", False)
        await app.server.updater.tick()
        assert redis.do("GET", "portfolio:{s}") == b"precious"
        other = await app.connect("other")
        assert len(await analysis(other)) == 5


Fault = Callable[[Proxy], Awaitable[None]]


async def slice_into_bytes(proxy: Proxy) -> None:
    proxy.slice = 1


async def delay(proxy: Proxy) -> None:
    proxy.delay = 0.02


async def reset(proxy: Proxy) -> None:
    await proxy.reset()


async def half_close(proxy: Proxy) -> None:
    proxy.half_close()


async def go_silent(proxy: Proxy) -> None:
    proxy.silent = True


@pytest.mark.parametrize("fault", [slice_into_bytes, delay, reset, half_close, go_silent])
async def test_a_bad_wire_loses_nothing_and_heals(redis: Server, fault: Fault) -> None:
    async with (
        open_proxy(redis.socket) as proxy,
        app_on(f"redis://127.0.0.1:{proxy.port}", metric_delay_seconds=Delay(0, 0.1)) as app,
    ):
        clients = [await app.connect(f"s{n}") for n in range(4)]
        streamed = [await analysis(client) for client in clients]
        for client in clients:
            await client.send("analyze", ticker="MSFT")
        await fault(proxy)
        for client, seen in zip(clients, streamed, strict=True):
            count = 0
            while count < len(METRICS):
                frame = await client.receive()
                if frame["type"] == "error":
                    assert frame["code"] == "unavailable", frame
                    break
                # A reply that went to the wrong caller would bring another session's numbers.
                assert frame["ticker"] == "MSFT"
                seen.append(frame)
                count += 1
        proxy.slice, proxy.delay, proxy.silent = None, 0.0, False
        for number, (client, seen) in enumerate(zip(clients, streamed, strict=True)):
            seen.extend(await analysis(client, "GOOGL"))
            await assert_sound(app, seen, f"s{number}")


async def test_switching_on_a_bad_wire_mixes_nothing_up(redis: Server) -> None:
    async with open_proxy(redis.socket) as proxy, app_on(f"redis://127.0.0.1:{proxy.port}") as app:
        clients = [await app.connect(f"s{n}", events=True) for n in range(4)]
        proxy.slice, proxy.delay = 40, 0.0005
        for round_ in range(5):
            for number, client in enumerate(clients):
                await client.send("analyze", ticker=("AAPL", "MSFT", "GOOGL")[(round_ + number) % 3])
                await client.send("trade", ticker="AAPL", shares=number + 1)
        for number, client in enumerate(clients):
            await client.send("get_portfolio", id="last")
            frames = [await client.receive()]
            while frames[-1].get("id") != "last":
                frames.append(await client.receive())
            assert frames[-1]["holdings"]["AAPL"] == 105 + 5 * number
            assert frames[-1]["version"] == 6
            assert {f["session_id"] for f in frames if f["type"] == "portfolio"} == {f"s{number}"}
            if still_runs(frames):
                frames += await client.until("analysis_completed")
            await until(partial(rests, app, f"s{number}"))
            await assert_sound(app, [f for f in frames if f["type"] == "analysis_result"], f"s{number}")


def still_runs(frames: list[Frame]) -> bool:
    """Whether the last run that a subscriber saw start has not ended yet."""
    turns = {"analysis_started", "analysis_completed", "analysis_cancelled", "analysis_failed"}
    return [f["type"] for f in frames if f["type"] in turns][-1:] == ["analysis_started"]


async def rests(app: App, session_id: str) -> bool:
    return (await app.document(session_id))["current_analysis"] is None


async def test_market_ticks_survive_an_outage(redis: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with app_on(redis.url, market_update_interval_seconds=0.05) as app:
        client = await app.connect()
        await client.ask("get_portfolio")
        redis.kill()

        async def failed() -> bool:
            return bool(events(caplog, "market_update_failed"))

        await until(failed)
        redis.start()
        back = app.server.services.book.current.tick_id

        async def revalued() -> bool:
            answer = await client.ask("get_portfolio")
            return bool(answer["type"] == "portfolio" and answer["valued"]["tick_id"] > back)

        await until(revalued)
