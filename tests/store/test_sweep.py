from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from redis.exceptions import ResponseError

from portfolio_trio.redis.errors import Unavailable
from portfolio_trio.store import Revaluation, StoreUnavailable
from portfolio_trio.store._sweep import WINDOW
from tests.store.engines import AT, HOLDINGS, LATER, PRICES, TICK, Engine, FakeTick, Opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

pytestmark = pytest.mark.anyio

RISEN = {name: price * 2 for name, price in PRICES.items()}


async def create_many(it: Opened, count: int) -> None:
    for number in range(count):
        await it.create(f"s{number}")


async def test_one_session_follows_newer_ticks_only(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        document = await it.store.get_document("s")
        await it.client.expire("portfolio:{s}", 50)
        total = sum(HOLDINGS[name] * PRICES[name] for name in HOLDINGS)
        for tick_id, outcome in ((5, "revalued"), (5, "stale"), (4, "stale"), (6, "revalued")):
            prices = {name: price * tick_id for name, price in PRICES.items()}
            (found,) = await it.store.revalue(["s"], tick=FakeTick(tick_id, LATER, prices))
            assert found.outcome == outcome
            if outcome == "revalued":
                assert found.before == total
                total = sum(HOLDINGS[name] * prices[name] for name in HOLDINGS)
                assert found.after == total
            assert (await it.store.get_document("s"))["total_value"] == total
        # A revaluation is no activity: neither last_activity nor the time to live has moved.
        valued = {"tick_id": 6, "as_of": LATER}
        assert await it.store.get_document("s") == {**document, "total_value": total, "valued": valued}
        assert await it.client.ttl("portfolio:{s}") <= 50


async def test_a_change_of_holdings_says_which_tick_it_was_valued_at(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await it.store.revalue(["s"], tick=FakeTick(9, prices=RISEN))
        # A caller that is a tick behind still gets its trade, honestly labelled; the next sweep brings it up.
        assert (await it.store.trade("s", "AAPL", 1, tick=FakeTick(8), at=AT)).valued.tick_id == 8
        assert (await it.store.revalue(["s"], tick=FakeTick(9, prices=RISEN)))[0].outcome == "revalued"


async def test_outcomes_come_in_the_order_of_the_sessions(engine: Engine) -> None:
    async with engine.opened() as it:
        await create_many(it, 3)
        names = ["s2", "gone", "s0", *["s1"] * (WINDOW + 1)]
        outcomes = await it.store.revalue(names, tick=FakeTick(2))
        assert [outcome.session_id for outcome in outcomes] == names
        assert [outcome.outcome for outcome in outcomes] == [
            "revalued",
            "missing",
            "revalued",
            "revalued",
            *["stale"] * WINDOW,
        ]


async def test_a_sweep_reaches_every_session_and_reports(engine: Engine) -> None:
    count = 3 * WINDOW + 5
    async with engine.opened() as it:
        await create_many(it, count)
        await it.store.set_holdings("s7", {}, tick=TICK, at=AT)
        report = await it.store.revalue_all(FakeTick(2, prices=RISEN))
        assert (report.tick_id, report.revalued, report.errors) == (2, count, 0)
        assert (await it.store.revalue_all(FakeTick(2))).counts == {"stale": count}
        for number in range(count):
            portfolio = await it.store.peek_portfolio(f"s{number}")
            assert portfolio.valued.tick_id == 2
            assert portfolio.total_value == sum(
                shares * RISEN[name] for name, shares in portfolio.holdings.items()
            )


async def test_what_cannot_be_revalued_is_reported_passed_over_and_left(engine: Engine) -> None:
    async with engine.opened() as it:
        await create_many(it, 5)
        await it.client.set("portfolio:{text}", "hello")
        await it.client.set(b"portfolio:{\xff\xfe}", "not ours")
        await it.client.execute_command("JSON.SET", "portfolio:{array}", "$", "[1]")
        await it.client.execute_command("JSON.SET", "portfolio:{s1}", "$.valued", "7")
        await it.client.execute_command("JSON.SET", "portfolio:{s2}", "$.holdings", '{"AAPL":"many"}')
        await it.client.execute_command("JSON.SET", "portfolio:{s3}", "$.holdings", '{"NOPE":1,"AAPL":1}')
        await it.client.set("elsewhere", "not looked at")
        before = await it.store.get_document("s3")
        report = await it.store.revalue_all(FakeTick(2))
        assert report.counts == {"revalued": 2, "wrong_type": 5, "missing_prices": 1}
        assert (report.errors, report.unpriced) == (6, ("NOPE",))
        assert {example.session_id for example in report.examples} >= {"text", "array", "s1", "s2", "s3"}
        assert await it.client.get("portfolio:{text}") == b"hello"
        assert await it.client.get(b"portfolio:{\xff\xfe}") == b"not ours"
        assert await it.store.get_document("s3") == before


async def test_one_document_that_breaks_the_script_does_not_stop_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine.opened() as it:
        await create_many(it, 4)
        run_script = it.client.run_script

        async def broken(script: object, keys: Sequence[str], *rest: object, **options: object) -> object:
            if "portfolio:{s2}" in keys:
                raise ResponseError("ERR user_script:70: attempt to compare nil with number")
            return await run_script(script, keys, *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(it.client, "run_script", broken)
        report = await it.store.revalue_all(FakeTick(2))
        assert report.counts == {"revalued": 3, "failed": 1}
        assert report.examples == (Revaluation("s2", "failed"),)


async def test_prices_are_asked_for_once_a_window_and_nobody_goes_without(engine: Engine) -> None:
    asked: list[str] = []

    def lookup(names: Iterable[str]) -> dict[str, float]:
        found = list(names)
        asked.extend(found)
        return {name: 3.0 for name in found if name.startswith("RARE")}

    prices = {**PRICES, "ZERO": 0.0, "RARE9": float("inf")}
    async with engine.opened() as it:
        await it.create("plain")
        await it.create("rare", {})
        await it.create("none", {})
        quoted = FakeTick(1, prices=dict.fromkeys(("RARE1", "RARE9", "NOPE", "ZERO", "AAPL"), 1.0))
        await it.store.set_holdings("rare", {"RARE1": 2, "AAPL": 1, "RARE9": 1}, tick=quoted, at=AT)
        await it.store.set_holdings("none", {"RARE1": 2, "NOPE": 1, "ZERO": 1}, tick=quoted, at=AT)
        for tick_id, table in ((2, prices), (3, {**prices, **{f"T{n}": 1.0 for n in range(9000)}})):
            asked.clear()
            report = await it.store.revalue_all(FakeTick(tick_id, prices=table), price_lookup=lookup)
            assert report.counts == {"revalued": 2, "missing_prices": 1}
            assert report.unpriced == ("NOPE", "ZERO")
            assert sorted(asked) == ["NOPE", "RARE1", "RARE9", "ZERO"]
            document = await it.store.get_document("rare")
            assert document["total_value"] == 2 * 3.0 + PRICES["AAPL"] + 3.0


async def test_a_sweep_can_be_cancelled_in_the_middle(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 8 * WINDOW
    async with engine.opened() as it:
        await create_many(it, count)
        run_script, windows = it.client.run_script, 0
        with anyio.CancelScope() as scope, monkeypatch.context() as patch:

            async def stopped(*args: object, **options: object) -> object:
                nonlocal windows
                replies = await run_script(*args, **options)  # type: ignore[arg-type]
                windows += 1
                if windows == 2:
                    scope.cancel()
                return replies

            patch.setattr(it.client, "run_script", stopped)
            await it.store.revalue_all(FakeTick(2))
        assert scope.cancelled_caught
        assert windows == 2
        # The next sweep does the rest; a window in flight may have been done as well.
        report = await it.store.revalue_all(FakeTick(2))
        assert report.counts["stale"] in {2 * WINDOW, 3 * WINDOW}
        assert report.revalued + report.counts["stale"] == count


async def test_a_lost_server_ends_the_sweep_with_one_plain_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine.opened() as it:
        await create_many(it, 9 * WINDOW)
        run_script, calls = it.client.run_script, 0

        async def lost(*args: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= 2:
                raise Unavailable("gone", sent=True)
            return await run_script(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(it.client, "run_script", lost)
        with pytest.raises(StoreUnavailable) as caught:
            await it.store.revalue_all(FakeTick(2))
        assert caught.value.sent
        # Those that were on the way, and no more.
        assert calls <= 6

        async def no_keys(match: str) -> AsyncIterator[list[bytes]]:
            yield [b"portfolio:{s1}"]
            raise Unavailable(f"gone while looking for {match}")

        monkeypatch.setattr(it.client, "scan_keys", no_keys)
        with pytest.raises(StoreUnavailable):
            await it.store.revalue_all(FakeTick(3))


async def test_where_keys_go_one_by_one_every_session_is_still_reached(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine.opened() as it:
        await create_many(it, 70)
        monkeypatch.setattr(type(it.client), "many_keys", property(lambda _: False))
        run_script, most = it.client.run_script, 0

        async def counted(script: object, keys: Sequence[str], *rest: object, **options: object) -> object:
            nonlocal most
            most = max(most, len(keys))
            return await run_script(script, keys, *rest, **options)  # type: ignore[arg-type]

        begin = it.client._begin

        def begun(args: tuple[Any, ...], key: Any) -> Any:
            nonlocal most
            most = max(most, args[2])
            return begin(args, key)

        monkeypatch.setattr(it.client, "run_script", counted)
        monkeypatch.setattr(it.client, "_begin", begun)
        assert (await it.store.revalue_all(FakeTick(2))).revalued == 70
        assert most == 1


@pytest.mark.parametrize("way", ["run_script", "run_script_each"])
async def test_a_clients_call_never_waits_behind_more_than_one_window(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    count = 3 * WINDOW
    async with engine.opened() as it:
        await create_many(it, count)
        monkeypatch.setattr(type(it.client), "many_keys", property(lambda _: way == "run_script"))
        run, on_the_way, most = getattr(it.client, way), 0, 0

        async def counted(script: object, keys: Sequence[str], *rest: object, **options: object) -> object:
            nonlocal on_the_way, most
            on_the_way += len(keys)
            most = max(most, on_the_way)
            # Room for another window to be sent, if one would be.
            await anyio.wait_all_tasks_blocked()
            try:
                return await run(script, keys, *rest, **options)
            finally:
                on_the_way -= len(keys)

        monkeypatch.setattr(it.client, way, counted)
        assert (await it.store.revalue_all(FakeTick(2))).revalued == count
        assert 0 < most <= WINDOW
