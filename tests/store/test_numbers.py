"""A number is the same double in the answer, in the document and in every reader, on every engine."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical, canonical_shares
from portfolio_trio.protocol.messages import AnalysisResult
from portfolio_trio.store import NothingTraded, ValueOverflow
from tests.store.engines import AT, Engine, FakeTick, stored_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.store.engines import Opened

NAMES: Final = ("A", "B", "C", "D")


def scaled(lowest: int, highest: int) -> st.SearchStrategy[float]:
    return st.builds(
        lambda mantissa, power: mantissa * 10.0**power, st.floats(1.0, 9.999), st.integers(lowest, highest)
    )


shares = st.builds(lambda size, sign: size * sign, scaled(-8, 14), st.sampled_from([1.0, -1.0]))
portfolios = st.dictionaries(st.sampled_from(NAMES), shares, max_size=len(NAMES))
# At most 7e21 in all: a total of 1e22 is refused.
prices = st.fixed_dictionaries(dict.fromkeys((*NAMES, "E"), scaled(-9, 5)))
trades = st.lists(st.tuples(st.sampled_from((*NAMES, "E")), shares), max_size=3)
values = st.floats(allow_nan=False, allow_infinity=False) | scaled(-25, 40)

# The fixture holds no state that an example could change: each one empties the engines first.
# Examples are small as drawn; to shrink one over a socket takes minutes.
law = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def total_of(holdings: Mapping[str, float], quoted: Mapping[str, float]) -> float:
    total = 0.0
    for name, held in holdings.items():
        total += held * quoted[name]
    return canonical(total)


async def document_says(it: Opened, holdings: Mapping[str, float], total: float) -> None:
    """The document and every way of reading it agree."""
    document = await it.store.get_document("s")
    read = await it.store.get_portfolio("s", at=AT)
    seen = await it.store.peek_portfolio("s")
    start = await it.store.start_analysis("s", ticker="A", started_at=AT, tick_id=1)
    assert document["holdings"] == read.holdings == seen.holdings == start.holdings == holdings
    assert document["total_value"] == read.total_value == seen.total_value == start.total_value == total


async def edits(
    engine: Engine,
    first: Mapping[str, float],
    steps: Sequence[tuple[str, float]],
    quoted: Mapping[str, float],
) -> None:
    async with engine.opened() as it:
        await it.create(holdings={})
        kept = {name: canonical_shares(held) for name, held in first.items()}
        opened = await it.store.open_session("t", holdings=first, tick=FakeTick(2, prices=quoted), at=AT)
        assert (opened.holdings, opened.total_value) == (kept, total_of(kept, quoted))
        again = await it.store.get_portfolio("t", at=AT)
        assert (again.holdings, again.total_value) == (opened.holdings, opened.total_value)
        told = await it.store.set_holdings("s", first, tick=FakeTick(2, prices=quoted), at=AT)
        assert (told.holdings, told.total_value) == (kept, total_of(kept, quoted))
        await document_says(it, kept, told.total_value)
        for name, traded in steps:
            traded = canonical_shares(traded)  # noqa: PLW2901 - as it is kept
            before = kept.get(name, 0.0)
            after = canonical_shares(before + traded, before, traded)
            if after == before:
                with pytest.raises(NothingTraded):
                    await it.store.trade("s", name, traded, tick=FakeTick(2, prices=quoted), at=AT)
                continue
            kept[name] = after
            if not after:
                del kept[name]
            told = await it.store.trade("s", name, traded, tick=FakeTick(2, prices=quoted), at=AT)
            assert (told.holdings, told.total_value) == (kept, total_of(kept, quoted))
            await document_says(it, kept, told.total_value)
        (revalued,) = await it.store.revalue(["s"], tick=FakeTick(3, prices=quoted))
        assert (revalued.before, revalued.after) == (told.total_value, told.total_value)
        await document_says(it, kept, told.total_value)


@law
@given(first=portfolios, steps=trades, quoted=prices)
def test_holdings_and_totals_are_the_same_everywhere(
    engines: list[Engine],
    first: Mapping[str, float],
    steps: Sequence[tuple[str, float]],
    quoted: Mapping[str, float],
) -> None:
    for engine in engines:
        trio.run(edits, engine, first, steps, quoted)


async def recording(engine: Engine, computed: Sequence[float]) -> None:
    async with engine.opened() as it:
        await it.create()
        run = await it.store.start_analysis("s", ticker="A", started_at=AT, tick_id=1)
        results = [
            AnalysisResult(
                ticker="A", metric="m", value=canonical(value), timestamp=AT, run_id=1, snapshot="0" * 64,
                tick_id=1, as_of=AT, method="1",
            )
            for value in computed
        ]  # fmt: skip
        records = [result.to_record() for result in results]
        await it.store.record_results("s", run_id=run.run_id, version=run.version, results=records, at=AT)
        sent = [json.loads(result.to_json())["value"] for result in results]
        assert [stored["value"] for stored in await stored_results(it.store, "s")] == sent


@law
@given(computed=st.lists(values, min_size=1, max_size=50))
def test_results_are_the_same_everywhere(engines: list[Engine], computed: Sequence[float]) -> None:
    for engine in engines:
        trio.run(recording, engine, computed)


@pytest.mark.trio
async def test_a_total_that_not_every_engine_could_hold_is_refused_alike(engines: list[Engine]) -> None:
    async with AsyncExitStack() as stack:
        for engine in engines:
            it = await stack.enter_async_context(engine.opened())
            await it.create(holdings={})
            for price in (1e7, 1e22):
                tick = FakeTick(2, prices={"A": price})
                with pytest.raises(ValueOverflow):
                    await it.store.set_holdings("s", {"A": 1e15}, tick=tick, at=AT)
                with pytest.raises(ValueOverflow):
                    await it.store.trade("s", "A", 1e15, tick=tick, at=AT)
            assert (await it.store.get_document("s"))["version"] == 1


@pytest.mark.trio
async def test_a_trade_makes_what_another_version_wrote_canonical(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings={})
        lines = '{"A":1,"B":0.12345678901234567}'
        await it.client.execute_command("JSON.SET", "portfolio:{s}", "$.holdings", lines)
        told = await it.store.trade("s", "A", 1, tick=FakeTick(2, prices={"A": 1.0, "B": 1.0}), at=AT)
        assert told.holdings == {"A": 2.0, "B": 0.123456789012346}
        await document_says(it, told.holdings, 2.12345678901235)
