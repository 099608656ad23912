from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portfolio_trio.store import Known, WrongType
from tests.store.engines import AT, TICK, Engine, Opened, stored_results

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

pytestmark = pytest.mark.anyio

KEY = "portfolio:{s}"


def calls(it: Opened) -> Iterator[Coroutine[object, object, object]]:
    store = it.store
    yield store.open_session("s", holdings={"AAPL": 1}, tick=TICK, at=AT)
    yield store.get_portfolio("s", at=AT)
    yield store.lift("s", Known("x", 1, 1))
    yield store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
    yield store.record_results("s", run_id=1, version=1, results=["{}"], at=AT)
    yield store.record_results("s", run_id=1, version=1, results=["{}"], at=AT, finish=True, recorded=0)
    yield store.finish_analysis("s", run_id=1)
    yield store.set_holdings("s", {"AAPL": 1}, tick=TICK, at=AT)
    yield store.trade("s", "AAPL", 1, tick=TICK, at=AT)
    yield stored_results(store, "s")


async def all_refuse(it: Opened) -> None:
    for call in calls(it):
        with pytest.raises(WrongType):
            await call
    (outcome,) = await it.store.revalue(["s"], tick=TICK)
    assert outcome.outcome == "wrong_type"


async def test_a_string_is_left_as_it_is(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.client.set(KEY, "precious", ex=500)
        await all_refuse(it)
        with pytest.raises(WrongType):
            await it.store.get_document("s")
        assert await it.client.get(KEY) == b"precious"
        assert 0 < await it.client.ttl(KEY) <= 500


@pytest.mark.parametrize("kind", ["list", "hash", "stream"])
async def test_so_is_any_other_type(engine: Engine, kind: str) -> None:
    async with engine.opened() as it:
        add = {
            "list": ("RPUSH", KEY, "a"),
            "hash": ("HSET", KEY, "a", "1"),
            "stream": ("XADD", KEY, "*", "a", "1"),
        }
        await it.client.execute_command(*add[kind])
        await all_refuse(it)
        assert await it.client.type(KEY) == kind.encode()


@pytest.mark.parametrize("text", ["[1,2]", '"text"', "17", "null", '{"other":1}', "true"])
async def test_so_is_json_that_is_no_session_document(engine: Engine, text: str) -> None:
    async with engine.opened() as it:
        await it.client.execute_command("JSON.SET", KEY, "$", text)
        if engine.name == "embedded" and text == "null":
            # fakeredis holds no null at the root: there the key does not exist.
            return
        before = await it.client.execute_command("JSON.GET", KEY, "$")
        await all_refuse(it)
        assert await it.client.execute_command("JSON.GET", KEY, "$") == before
        assert await it.client.ttl(KEY) == -1
