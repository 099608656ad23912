"""Every character that a ticker may contain passes through every script, on every engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portfolio_trio.store import MissingPrices
from tests.store.engines import AT, Engine, FakeTick, result, stored_results
from tests.support.tickers import ALPHABET, FIRST, OF_THE_WORLD, TICKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Two neighbours of each character, and each in front that may be there.
EACH_CHARACTER: Final = tuple(dict.fromkeys((*(f"X{char}Y{char}" for char in ALPHABET), *FIRST)))


async def life_of(engine: Engine, names: Sequence[str]) -> None:
    prices = {name: place + 1.0 for place, name in enumerate(names)}
    held = dict.fromkeys(names, 2.0)
    worth = 2 * sum(prices.values())
    first, last = names[0], names[-1]
    async with engine.opened() as it:
        store = it.store
        opened = await store.open_session("s", holdings=held, tick=FakeTick(1, prices=prices), at=AT)
        assert (opened.holdings, opened.total_value) == (held, worth)
        told = await store.set_holdings("s", held, tick=FakeTick(1, prices=prices), at=AT)
        assert (told.holdings, told.total_value) == (held, worth)
        told = await store.trade("s", first, 1, tick=FakeTick(1, prices=prices), at=AT)
        assert (told.holdings, told.total_value) == ({**held, first: 3.0}, worth + 1)
        (revalued,) = await store.revalue(["s"], tick=FakeTick(2, prices=prices))
        assert (revalued.outcome, revalued.after) == ("revalued", worth + 1)
        told = await store.trade("s", first, -3, tick=FakeTick(2, prices=prices), at=AT)
        assert told.holdings == {name: 2.0 for name in names if name != first}
        await store.trade("s", first, 2, tick=FakeTick(2, prices=prices), at=AT)
        # A script names what it misses.
        unpriced = {name: price for name, price in prices.items() if name != last}
        with pytest.raises(MissingPrices) as caught:
            await store.trade("s", first, 1, tick=FakeTick(2, prices=unpriced), at=AT)
        assert caught.value.tickers == (last,)
        (revalued,) = await store.revalue(["s"], tick=FakeTick(3, prices=unpriced))
        assert revalued.unpriced == (last,)

        recorded = ""
        for place, name in enumerate(names):
            run = await store.start_analysis("s", ticker=name, started_at=AT, tick_id=2)
            assert run.holdings == held
            current = (await store.get_portfolio("s", at=AT)).current_analysis
            assert current is not None
            assert current.ticker == name
            if place in {0, len(names) - 1}:
                recorded = result(place, run.run_id, name)
                await store.record_results(
                    "s",
                    run_id=run.run_id,
                    version=run.version,
                    results=[recorded],
                    at=AT,
                    finish=True,
                    recorded=0,
                )
        found = await stored_results(store, "s", ticker=last)
        assert found == [json.loads(recorded)]
        assert (await store.get_document("s"))["holdings"] == held


@pytest.mark.parametrize("names", [EACH_CHARACTER, OF_THE_WORLD])
def test_each_character_and_the_names_of_the_world(engine: Engine, names: Sequence[str]) -> None:
    trio.run(life_of, engine, names)


# The fixture holds no state that an example could change: each one empties the engines first.
# Examples are small as drawn; to shrink one over a socket takes minutes.
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.lists(TICKERS, min_size=2, max_size=6, unique=True))
def test_any_ticker_goes_through_every_script(engines: list[Engine], names: Sequence[str]) -> None:
    for engine in engines:
        trio.run(life_of, engine, names)
