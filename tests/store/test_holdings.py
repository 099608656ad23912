from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from portfolio_trio.canonical import canonical
from portfolio_trio.store import (
    MissingPrices,
    NothingTraded,
    PortfolioStore,
    TooManyHoldings,
    Valued,
    ValueOverflow,
    VersionConflict,
    WrongType,
)
from tests.store.engines import AT, HOLDINGS, LATER, PRICES, TICK, Engine, FakeTick, Opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

pytestmark = pytest.mark.anyio


async def unchanged(it: Opened, before: object) -> bool:
    return await it.store.get_document("s") == before


async def test_setting_holdings_replaces_values_and_counts_up(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        start = await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        await it.client.expire("portfolio:{s}", 50)
        portfolio = await it.store.set_holdings("s", {"TSLA": -2.5, "AAPL": 4}, tick=FakeTick(3), at=LATER)
        assert portfolio.holdings == {"TSLA": -2.5, "AAPL": 4}
        assert portfolio.total_value == -2.5 * PRICES["TSLA"] + 4 * PRICES["AAPL"]
        assert (portfolio.version, portfolio.valued) == (2, Valued(3, TICK.as_of))
        assert portfolio.current_analysis is not None
        assert portfolio.current_analysis.run_id == start.run_id
        assert portfolio == await it.store.get_portfolio("s", at=LATER)
        assert (await it.store.get_document("s"))["last_activity"] == LATER
        assert await it.client.ttl("portfolio:{s}") > 50


async def test_setting_nothing_leaves_an_object_not_a_list(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.store.set_holdings("s", {}, tick=TICK, at=AT)
        assert (await it.store.get_document("s"))["holdings"] == {}
        assert (await it.store.trade("s", "AAPL", 2, tick=TICK, at=AT)).holdings == {"AAPL": 2}
        assert (await it.store.trade("s", "AAPL", -2, tick=TICK, at=AT)).holdings == {}
        assert (await it.store.get_document("s"))["holdings"] == {}
        assert (await it.store.start_analysis("s", ticker="A", started_at=AT, tick_id=1)).holdings == {}


async def test_an_expected_version_fences_a_change(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.store.set_holdings("s", {"AAPL": 1}, tick=TICK, at=AT, expected_version=1)
        before = await it.store.get_document("s")
        with pytest.raises(VersionConflict) as caught:
            await it.store.set_holdings("s", {"AAPL": 2}, tick=TICK, at=AT, expected_version=1)
        assert caught.value.version == 2
        assert await unchanged(it, before)


async def test_a_change_that_cannot_be_valued_changes_nothing(engine: Engine) -> None:
    async with engine.opened(max_holdings=3) as it:
        await it.create()
        before = await it.store.get_document("s")
        with pytest.raises(MissingPrices) as caught:
            await it.store.set_holdings("s", {"NOPE": 1, "AAPL": 1}, tick=TICK, at=AT)
        assert caught.value.tickers == ("NOPE",)
        with pytest.raises(TooManyHoldings):
            await it.store.set_holdings("s", dict.fromkeys("ABCD", 1), tick=TICK, at=AT)
        with pytest.raises(TooManyHoldings):
            await it.store.trade("s", "TSLA", 1, tick=TICK, at=AT)
        huge = FakeTick(2, prices={**PRICES, "AAPL": 1e300})
        with pytest.raises(ValueOverflow):
            await it.store.set_holdings("s", {"AAPL": 1e300}, tick=huge, at=AT)
        with pytest.raises(ValueOverflow):
            await it.store.trade("s", "AAPL", 1e300, tick=huge, at=AT)
        assert await unchanged(it, before)


async def test_trading_keeps_the_order_and_the_other_lines(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        portfolio = await it.store.trade("s", "GOOGL", -12.5, tick=FakeTick(4), at=LATER)
        assert list(portfolio.holdings.items()) == [("AAPL", 100), ("GOOGL", 37.5), ("MSFT", 75)]
        assert (portfolio.version, portfolio.valued.tick_id) == (2, 4)
        assert portfolio.total_value == sum(
            shares * PRICES[name] for name, shares in portfolio.holdings.items()
        )
        portfolio = await it.store.trade("s", "TSLA", -3, tick=TICK, at=AT)
        assert list(portfolio.holdings.items())[-1] == ("TSLA", -3)
        portfolio = await it.store.trade("s", "GOOGL", -37.5, tick=TICK, at=AT)
        assert list(portfolio.holdings) == ["AAPL", "MSFT", "TSLA"]
        assert portfolio == await it.store.get_portfolio("s", at=AT)


async def test_selling_in_fractions_leaves_no_dust(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings={"AAPL": 0.1})
        await it.store.trade("s", "AAPL", 0.2, tick=TICK, at=AT)
        assert (await it.store.trade("s", "AAPL", -0.3, tick=TICK, at=AT)).holdings == {}
        await it.store.set_holdings("s", {"AAPL": 10000.1}, tick=TICK, at=AT)
        await it.store.trade("s", "AAPL", -10000, tick=TICK, at=AT)
        assert (await it.store.trade("s", "AAPL", -0.1, tick=TICK, at=AT)).holdings == {}


async def test_a_full_portfolio_still_trades_what_it_holds(engine: Engine) -> None:
    async with engine.opened(max_holdings=3) as it:
        await it.create()
        assert (await it.store.trade("s", "AAPL", 1, tick=TICK, at=AT)).holdings["AAPL"] == 101


@pytest.mark.parametrize(
    ("held", "traded"), [(1e12, 1e-9), (-1e12, 1e-3), (1e15, 1.0), (1e6, 4e-9), (0.5, 0.0)]
)
async def test_a_trade_that_is_lost_to_rounding_is_refused(
    engine: Engine, held: float, traded: float
) -> None:
    async with engine.opened() as it:
        await it.create(holdings={"AAPL": held, "MSFT": 1})
        await it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)
        before = await it.store.get_document("s")
        with pytest.raises(NothingTraded) as refused:
            await it.store.trade("s", "AAPL", traded, tick=TICK, at=LATER)
        assert refused.value.held == held
        # Neither the version nor the run has ended.
        assert await it.store.get_document("s") == before
        assert (await it.store.trade("s", "AAPL", 1e4, tick=TICK, at=AT)).version == 2


async def test_more_shares_than_a_document_may_have_are_refused(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create(holdings={"AAPL": 1})
        tick = FakeTick(2, prices={"AAPL": 1e-9})
        await it.client.execute_command("JSON.SET", "portfolio:{s}", "$.holdings.AAPL", "9.99999e21")
        assert (await it.store.trade("s", "AAPL", -1e15, tick=tick, at=AT)).holdings["AAPL"] < 1e22
        with pytest.raises(ValueOverflow):
            await it.store.trade("s", "AAPL", 1e20, tick=tick, at=AT)


async def test_a_portfolio_beyond_a_lowered_limit_can_still_be_sold(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        store = PortfolioStore(it.client, max_holdings=2)
        assert (await store.trade("s", "AAPL", -1, tick=TICK, at=AT)).holdings["AAPL"] == 99
        assert len((await store.trade("s", "AAPL", -99, tick=TICK, at=AT)).holdings) == 2


async def test_prices_that_a_trade_lacks_are_asked_for_once(engine: Engine) -> None:
    asked: list[list[str]] = []

    def lookup(names: object) -> dict[str, float]:
        assert isinstance(names, list)
        asked.append(names)
        return {name: 2.0 for name in names if name != "NOPE"}

    async with engine.opened() as it:
        await it.create()
        few = FakeTick(2, prices={"AAPL": 1.0, "MSFT": -1.0})
        portfolio = await it.store.trade("s", "AAPL", 1, tick=few, at=AT, price_lookup=lookup)
        assert portfolio.total_value == 101 * 1.0 + 50 * 2.0 + 75 * 2.0
        assert asked == [["GOOGL", "MSFT"]]
        before = await it.store.get_document("s")
        with pytest.raises(MissingPrices) as caught:
            await it.store.trade("s", "NOPE", 1, tick=few, at=AT, price_lookup=lookup)
        assert caught.value.tickers == ("NOPE",)
        with pytest.raises(MissingPrices):
            await it.store.trade("s", "AAPL", 1, tick=few, at=AT)
        assert await unchanged(it, before)


async def test_a_line_without_a_price_is_valued_at_its_last_known_one_unless_it_is_traded(
    engine: Engine,
) -> None:
    dark = {"GOOGL": 0.1 + 0.2, "MSFT": 7.7}
    tick = FakeTick(2, prices={"AAPL": 3.3})

    def known(names: Iterable[str]) -> dict[str, float]:
        return {name: dark[name] for name in names if name in dark}

    async with engine.opened() as it:
        await it.create()
        trade = partial(it.store.trade, "s", tick=tick, at=AT, last_known=known)
        for ticker, shares in (("GOOGL", 1), ("GOOGL", -1), ("MSFT", -76)):
            before = await it.store.get_document("s")
            with pytest.raises(MissingPrices) as caught:
                await trade(ticker, shares)
            assert caught.value.tickers == (ticker,)
            assert await unchanged(it, before)
        bought = await trade("AAPL", 1)
        total = 101 * 3.3 + 50 * dark["GOOGL"] + 75 * dark["MSFT"]
        assert bought.total_value == (await it.store.get_document("s"))["total_value"] == canonical(total)
        sold = await trade("GOOGL", -50)
        assert sold.holdings == {"AAPL": 101, "MSFT": 75}
        assert sold.total_value == canonical(101 * 3.3 + 75 * dark["MSFT"])
        # A sweep is given both kinds by one lookup.
        tick = FakeTick(3, prices={"AAPL": 3.1})
        (outcome,) = await it.store.revalue(["s"], tick=tick, price_lookup=known)
        assert outcome.after == canonical(101 * 3.1 + 75 * dark["MSFT"])


async def test_a_large_price_table_is_not_sent_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = {**PRICES, **{f"T{number}": 1.0 for number in range(5000)}}
    sent: list[int] = []
    async with engine.opened() as it:
        await it.create()
        run_script = it.client.run_script

        async def measured(script: object, keys: object, args: object, **options: object) -> object:
            assert isinstance(args, tuple)
            sent.append(sum(len(str(arg)) for arg in args))
            return await run_script(script, keys, args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(it.client, "run_script", measured)
        await it.store.trade("s", "TSLA", 1, tick=FakeTick(2, prices=prices), at=AT)
        assert (await it.store.revalue(["s"], tick=FakeTick(3, prices=prices)))[0].outcome == "revalued"
        assert max(sent) < 500


async def test_numbers_survive_the_round_trip(engine: Engine) -> None:
    # What is kept: 15 digits, and nine decimals of shares. Of more, RedisJSON would make another double.
    shares = {
        "A": 1 / 3,
        "B": -1e-7,
        "C": 123456789.123456789,
        "D": 1e15,
        "F": 2.0,
        "G": -0.1,
        "H": 0.1 + 0.2,
    }
    kept = {**shares, "A": 0.333333333, "C": 123456789.123457, "H": 0.3}
    prices = {
        "A": 0.1,
        "B": 1e6 + 1 / 7,
        "C": 1e-9,
        "D": 1 / 3,
        "F": 2**53 + 2.0,
        "G": 3.3,
        "H": 1.0,
        "E": 7.0,
    }
    tick = FakeTick(2, prices=prices)
    async with engine.opened() as it:
        await it.create(holdings={})
        portfolio = await it.store.set_holdings("s", shares, tick=tick, at=AT)
        assert portfolio.holdings == kept
        total = 0.0
        for name, held in kept.items():
            total += held * prices[name]
        expected = canonical(total)
        assert portfolio.total_value == expected
        # The script adds up in the same order, so it comes to the same double.
        assert (await it.store.trade("s", "E", 1, tick=tick, at=AT)).total_value == canonical(total + 7.0)
        assert (await it.store.trade("s", "E", -1, tick=tick, at=AT)).total_value == expected
        assert (await it.store.revalue(["s"], tick=FakeTick(3, prices=prices)))[0].after == expected
        assert (await it.store.get_portfolio("s", at=AT)).holdings == kept
        traded = await it.store.trade("s", "A", 1 / 7, tick=tick, at=AT)
        assert traded.holdings["A"] == 0.476190476


async def test_shares_that_round_to_nothing_are_refused(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        before = await it.store.get_document("s")
        with pytest.raises(ValueError, match="round to zero"):
            await it.store.set_holdings("s", {"AAPL": 4e-10}, tick=TICK, at=AT)
        with pytest.raises(ValueError, match="round to zero"):
            await it.store.trade("s", "AAPL", -4e-10, tick=TICK, at=AT)
        assert await unchanged(it, before)


async def test_a_trade_meant_for_a_version_is_made_once(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        made = await it.store.trade("s", "AAPL", 5, tick=TICK, at=AT, expected_version=1)
        assert (made.version, made.holdings["AAPL"]) == (2, HOLDINGS["AAPL"] + 5)
        before = await it.store.get_document("s")
        with pytest.raises(VersionConflict) as caught:
            await it.store.trade("s", "AAPL", 5, tick=TICK, at=LATER, expected_version=1)
        assert caught.value.version == 2
        assert await it.store.get_document("s") == before


@pytest.mark.parametrize("value", ["1.5", "-1", "1e300", '"1"', "null", "[]", "true"])
@pytest.mark.parametrize("path", ["$.version", "$.run_counter", "$.valued.tick_id"])
async def test_a_document_with_a_number_nobody_can_count_on_is_named(
    engine: Engine, path: str, value: str
) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.client.execute_command("JSON.SET", "portfolio:{s}", path, value)
        calls: dict[str, list[Callable[[], Awaitable[object]]]] = {
            "$.version": [
                lambda: it.store.get_portfolio("s", at=AT),
                lambda: it.store.peek_portfolio("s"),
                lambda: it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1),
                lambda: it.store.trade("s", "AAPL", 1, tick=TICK, at=AT),
                lambda: it.store.set_holdings("s", HOLDINGS, tick=TICK, at=AT, expected_version=1),
                lambda: it.store.record_results("s", run_id=1, version=1, results=["{}"], at=AT),
            ],
            "$.run_counter": [lambda: it.store.start_analysis("s", ticker="AAPL", started_at=AT, tick_id=1)],
            "$.valued.tick_id": [lambda: it.store.get_portfolio("s", at=AT)],
        }
        for call in calls[path]:
            with pytest.raises(WrongType):
                await call()
        (found,) = await it.store.revalue(["s"], tick=FakeTick(2))
        assert found.outcome == ("wrong_type" if path == "$.valued.tick_id" else "revalued")
