"""The cost of a script in commands and bytes: it must not depend on the number of stored results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from portfolio_trio.redis import Script
from portfolio_trio.store import _document_calls, _sweep
from portfolio_trio.store.scripts import script
from tests.store.engines import AT, TICK, Engine, FakeTick, Opened, result

pytestmark = pytest.mark.anyio

# Put before a script, this notes each command it runs and how long the reply was.
_TRACE: Final = """
local engine = redis
local function noted(name, ...)
  local reply = engine[name](...)
  local size = type(reply) == 'string' and #reply or 0
  engine.call('RPUSH', 'trace', table.concat({...}, ' ') .. ' -> ' .. size)
  return reply
end
local redis = {
  call = function(...) return noted('call', ...) end,
  pcall = function(...) return noted('pcall', ...) end,
}
"""
HELD: Final = 1000


@dataclass(frozen=True)
class Cost:
    commands: int
    sent: int
    replied: int


def traced(name: str) -> Script:
    return Script(name, _TRACE + script(name).source)


async def cost_of(it: Opened) -> Cost:
    found = await it.client.lrange("trace", 0, -1)
    lines = [line.decode() if isinstance(line, bytes) else line for line in found]
    await it.client.delete("trace")
    sizes = [line.rsplit(" -> ", 1) for line in lines]
    return Cost(len(lines), sum(len(text) for text, _ in sizes), sum(int(size) for _, size in sizes))


async def costs(it: Opened, session_id: str) -> dict[str, Cost]:
    store = it.store
    found = {}
    await store.get_portfolio(session_id, at=AT)
    found["open_session"] = await cost_of(it)
    run = await store.start_analysis(session_id, ticker="AAPL", started_at=AT, tick_id=1)
    found["start_analysis"] = await cost_of(it)
    record = partial(store.record_results, session_id, run_id=run.run_id, version=run.version, at=AT)
    texts = [result(number, run.run_id) for number in range(5)]
    await record(results=texts[:2], recorded=0)
    found["record_results"] = await cost_of(it)
    await record(results=texts[2:], recorded=2, finish=True)
    found["record_results, finish"] = await cost_of(it)
    await record(results=texts[2:], recorded=2, finish=True)
    found["record_results, repeated"] = await cost_of(it)
    await store.newest_results(session_id, limit=2, max_bytes=10_000)
    found["get_results"] = await cost_of(it)
    await store.start_analysis(session_id, ticker="AAPL", started_at=AT, tick_id=1)
    await cost_of(it)
    await store.finish_analysis(session_id, run_id=run.run_id + 1)
    found["finish_analysis"] = await cost_of(it)
    await store.trade(session_id, "AAPL", 1, tick=TICK, at=AT)
    found["trade"] = await cost_of(it)
    await store.set_holdings(session_id, {"AAPL": 1}, tick=TICK, at=AT)
    found["set_holdings"] = await cost_of(it)
    await store.revalue([session_id], tick=FakeTick(2))
    found["revalue"] = await cost_of(it)
    return found


async def test_the_cost_does_not_grow_with_the_results_held(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine.opened(max_results=HELD + 100) as it:
        await it.create("bare")
        await it.create("full")
        await it.store.start_analysis("full", ticker="AAPL", started_at=AT, tick_id=1)
        texts = [result(number) for number in range(HELD)]
        await it.store.record_results("full", run_id=1, version=1, results=texts, at=AT, finish=True)
        await it.store.start_analysis("bare", ticker="AAPL", started_at=AT, tick_id=1)
        await it.store.finish_analysis("bare", run_id=1)
        for module in (_document_calls, _sweep):
            monkeypatch.setattr(module, "script", traced)
        bare, full = await costs(it, "bare"), await costs(it, "full")
        # Where a run begins is looked for in a few results more, however many there are.
        read, read_of_few = full.pop("get_results"), bare["get_results"]
        assert read.commands == read_of_few.commands
        assert read.sent - read_of_few.sent <= 50
        assert read.replied < 1_000
        # Positions and counts of four digits instead of one are all the difference of a thousand results.
        for name, cost in full.items():
            assert cost.commands == bare[name].commands, name
            assert abs(cost.sent - bare[name].sent) <= 24, name
            assert abs(cost.replied - bare[name].replied) <= 24, name
            # The newest ends of runs are what an answer may hold beside the portfolio.
            assert cost.replied < 900, name


async def test_the_hot_path_takes_few_commands(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine.opened() as it:
        await it.create()
        for module in (_document_calls, _sweep):
            monkeypatch.setattr(module, "script", traced)
        commands = {name: cost.commands for name, cost in (await costs(it, "s")).items()}
        assert commands == {
            "open_session": 3,
            "start_analysis": 3,
            "record_results": 5,
            "record_results, finish": 5,
            "record_results, repeated": 1,
            "get_results": 6,
            "finish_analysis": 2,
            "trade": 3,
            "set_holdings": 3,
            "revalue": 2,
        }
