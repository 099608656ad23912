from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import exceptions

from portfolio_trio.redis import JsonModule, ServerFacts, open_redis
from portfolio_trio.redis.errors import ReadOnlyServer, TooManyPending, Unavailable
from portfolio_trio.store import (
    PortfolioStore,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnsupported,
    all_scripts,
    check_engine,
)
from portfolio_trio.store._calls import translate
from tests.store.engines import AT, TICK, Engine
from tests.support.redis_servers import NO_JSON_SERVER, command_without_json, private_server

if TYPE_CHECKING:
    from redis.exceptions import RedisError


@pytest.mark.anyio
async def test_an_engine_that_can_do_it_all_passes_and_keeps_no_trace(engine: Engine) -> None:
    async with engine.opened() as it:
        await check_engine(it.client)
        assert await it.client.dbsize() == 0


@pytest.mark.trio
async def test_a_server_without_json_is_named_in_one_line() -> None:
    command = command_without_json()
    if command is None:
        pytest.skip("no server without JSON here: install the test extra again")
    with private_server(command) as server:
        async with open_redis(server.url, scripts=all_scripts()) as client:
            with pytest.raises(StoreUnsupported) as caught:
                await check_engine(client)
            assert "\n" not in str(caught.value)
            assert "Redis 8" in str(caught.value)
            assert f" at {server.socket}: this Redis has no JSON" in str(caught.value)
            store = PortfolioStore(client)
            with pytest.raises(StoreUnsupported):
                await store.open_session("s", holdings={}, tick=TICK, at=AT)


@pytest.mark.trio
async def test_one_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Engine("embedded", "embedded://").opened() as it:

        async def differs(*_args: object, **_options: object) -> list[bytes]:
            return [b"differs", b"JSON.ARRTRIM", b"[]"]

        monkeypatch.setattr(it.client, "run_script", differs)
        with pytest.raises(StoreUnsupported, match=r"answers JSON\.ARRTRIM with \[\]"):
            await check_engine(it.client)


@pytest.mark.trio
async def test_a_json_module_that_is_too_old_is_refused_by_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = [80200, 20600, 20599, 20407]

    async def told(_client: object) -> ServerFacts:
        return ServerFacts("redis", version="7.0.15", json=JsonModule("ReJSON", numbers.pop()))

    monkeypatch.setattr("portfolio_trio.store._check.server_facts", told)
    async with Engine("embedded", "embedded://").opened() as it:
        for old in ("2.4.7", "2.5.99"):
            with pytest.raises(StoreUnsupported, match=rf"RedisJSON {old}, .* came with 2\.6: use Redis 8"):
                await check_engine(it.client)
        for _ in range(2):
            assert (await check_engine(it.client)).version == "7.0.15"


@pytest.mark.trio
async def test_a_full_server_refuses_and_keeps_the_document(server_url: str | None) -> None:
    if server_url is None:
        pytest.skip(NO_JSON_SERVER)
    async with Engine("server", server_url).opened() as it:
        await it.create()
        run = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        before = await it.store.get_document("s")
        await it.client.config_set("maxmemory", "1")
        try:
            for call in (
                it.store.record_results(
                    "s", run_id=run.run_id, version=1, results=["{}"], at=AT, finish=True
                ),
                it.store.trade("s", "AAPL", 1, tick=TICK, at=AT),
                it.store.open_session("new", holdings={}, tick=TICK, at=AT),
            ):
                with pytest.raises(StoreFull):
                    await call
            assert await it.store.get_document("s") == before
        finally:
            await it.client.config_set("maxmemory", "0")
        await it.store.record_results("s", run_id=run.run_id, version=1, results=["{}"], at=AT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("gone", sent=True), StoreUnavailable),
        (TooManyPending("full"), StoreUnavailable),
        (ReadOnlyServer("a replica now"), StoreUnavailable),
        (exceptions.ConnectionError("reset"), StoreUnavailable),
        (exceptions.BusyLoadingError("loading"), StoreUnavailable),
        (exceptions.TimeoutError("late"), StoreUnavailable),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), StoreUnavailable),
        (exceptions.ResponseError("CLUSTERDOWN The cluster is down"), StoreUnavailable),
        (exceptions.OutOfMemoryError("command not allowed"), StoreFull),
        (exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'"), StoreFull),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), StoreReadOnly),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), StoreReadOnly),
        (exceptions.NoPermissionError("no permissions to run the 'json.set' command"), StoreUnsupported),
        (exceptions.ResponseError("unknown command 'JSON.SET', with args"), StoreUnsupported),
        (exceptions.ResponseError("ERR Unknown Redis command called from script"), StoreUnsupported),
        (exceptions.ResponseError("ERR something else"), StoreError),
        (exceptions.DataError("what is this"), StoreError),
    ],
)
def test_no_error_of_the_client_leaks(error: RedisError, expected: type[StoreError]) -> None:
    translated = translate(error)
    assert type(translated) is expected
    assert str(error) in str(translated) or expected is StoreUnsupported


def test_whether_it_was_sent_is_handed_on() -> None:
    for sent in (True, False):
        error = translate(Unavailable("gone", sent=sent))
        assert isinstance(error, StoreUnavailable)
        assert error.sent is sent
        assert error.retryable


@pytest.mark.trio
async def test_only_what_a_fence_protects_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    repeatable: dict[str, set[bool]] = {}
    async with Engine("embedded", "embedded://").opened() as it:
        run_script = it.client.run_script

        async def noted(script: object, *args: object, idempotent: bool = False) -> object:
            repeatable.setdefault(script.name, set()).add(idempotent)  # type: ignore[attr-defined]
            return await run_script(script, *args, idempotent=idempotent)  # type: ignore[arg-type]

        monkeypatch.setattr(it.client, "run_script", noted)
        await it.create()
        await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        await it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT, recorded=0)
        await it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT)
        await it.store.finish_analysis("s", run_id=1)
        await it.store.set_holdings("s", {}, tick=TICK, at=AT, expected_version=1)
        await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)
        await it.store.revalue_all(TICK)
    assert repeatable == {
        "open_session": {True},
        "start_analysis": {True},
        "record_results": {True, False},
        "finish_analysis": {True},
        "set_holdings": {False},
        "trade": {False},
        "revalue": {True},
    }


def test_a_full_disk_is_not_blamed_on_the_url() -> None:
    full = translate(exceptions.ResponseError("MISCONF Errors writing to the AOF file"))
    assert "disk" in str(full)
    assert "PORTFOLIO_REDIS_URL" not in str(full)
    assert "PORTFOLIO_REDIS_URL" in str(translate(exceptions.ReadOnlyError("read only replica")))
