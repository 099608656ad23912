"""Which results a document keeps, and which of them are returned: bounded in number and in bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from portfolio_trio.store import SessionMissing, WrongType
from tests.store.engines import AT, Engine, Opened, stored_results

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

RECEIPT = {"holdings": {"AAPL": 100.5, "BRK.B": -2}, "prices": {"AAPL": 190.25, "BRK.B": 401.0}}
ANY = 10**9


def record(number: int, run_id: int, ticker: str, *, receipt: bool = False, pad: int = 0) -> dict[str, Any]:
    more = {"receipt": RECEIPT} if receipt else {}
    detail = {"note": 'ends "},{" ] } [\\' + "x" * pad}
    return {
        "ticker": ticker,
        "metric": f"m{number}",
        "value": 0.5,
        "run_id": run_id,
        "detail": detail,
        **more,
    }


async def run(it: Opened, ticker: str, *, receipt: bool = False, count: int = 5, pad: int = 0) -> int:
    run_id = (await it.store.start_analysis("s", ticker=ticker, started_at=AT, tick_id=7)).run_id
    records = [
        record(number, run_id, ticker, receipt=receipt and number == 0, pad=pad) for number in range(count)
    ]
    texts = [json.dumps(one, separators=(",", ":")) for one in records]
    await it.store.record_results("s", run_id=run_id, version=1, results=texts, at=AT, finish=True)
    return run_id


def named(results: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(found["run_id"], found["metric"]) for found in results]


async def test_the_newest_are_given_and_that_there_are_older_ones_is_said(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        assert await it.store.newest_results("s", limit=3, max_bytes=ANY) == await it.store.newest_results(
            "s", ticker="AAPL", limit=3, max_bytes=ANY
        )
        for ticker in ("AAPL", "BRK.B", "AAPL"):
            await run(it, ticker)
        page = await it.store.newest_results("s", limit=3, max_bytes=ANY)
        assert (named(page.results), page.more) == ([(3, "m2"), (3, "m3"), (3, "m4")], True)
        assert page.results[0] == record(2, 3, "AAPL")
        page = await it.store.newest_results("s", limit=15, max_bytes=ANY)
        assert (len(page.results), page.more) == (15, False)


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B", "C"])
async def test_of_one_ticker_the_newest_are_found_wherever_they_stand(engine: Engine, ticker: str) -> None:
    async with engine.opened() as it:
        await it.create()
        runs = ["BRK.B", "AAPL", *["D"] * 40, "BRK.B", "AAPL", "BRK.B"]
        for name in runs:
            await run(it, name)
        own = [
            (run_id, f"m{number}")
            for run_id, name in enumerate(runs, 1)
            if name == ticker
            for number in range(5)
        ]
        for limit in (1, 5, 7, 1000):
            page = await it.store.newest_results("s", ticker=ticker, limit=limit, max_bytes=ANY)
            assert named(page.results) == own[-limit:]
            assert page.more == (limit < len(own))


@pytest.mark.parametrize("ticker", [None, "AAPL"])
async def test_an_answer_is_bounded_in_bytes_and_never_empty_for_it(
    engine: Engine, ticker: str | None
) -> None:
    async with engine.opened() as it:
        await it.create()
        await run(it, "AAPL", pad=1_000)
        whole = await it.store.newest_results("s", ticker=ticker, limit=9, max_bytes=ANY)
        each = len(json.dumps(whole.results[0], separators=(",", ":"))) + 1
        for fits in (1, 2, 4):
            page = await it.store.newest_results("s", ticker=ticker, limit=9, max_bytes=fits * each + 5)
            assert (list(page.results), page.more) == (list(whole.results[-fits:]), True)
        page = await it.store.newest_results("s", ticker=ticker, limit=9, max_bytes=10)
        assert (named(page.results), page.more) == ([(1, "m4")], True)


async def test_what_does_not_fit_is_not_read_either(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        for _ in range(4):
            await run(it, "AAPL", pad=1_000)
        for ticker in ("", "AAPL"):
            reply = await it.store._run("get_results", "s", ticker, 1_000, 3_000)
            assert 2_000 < len(reply[3]) < 3_500


async def test_each_result_has_the_receipt_that_its_run_has_stored_once(engine: Engine) -> None:
    async with engine.opened() as it:
        await it.create()
        await run(it, "AAPL", receipt=True)
        await run(it, "AAPL")
        await run(it, "BRK.B", receipt=True)
        stored = (await it.store.get_document("s"))["analysis_results"]
        assert isinstance(stored, list)
        assert ["receipt" in found for found in stored if isinstance(found, dict)] == [
            *(True, False, False, False, False),
            *[False] * 5,
            *(True, False, False, False, False),
        ]
        for limit in (1, 4, 5, 6, 10, 12, 15):
            page = await it.store.newest_results("s", limit=limit, max_bytes=ANY)
            for found in page.results:
                assert found.get("receipt") == (None if found["run_id"] == 2 else RECEIPT)
        page = await it.store.newest_results("s", ticker="AAPL", limit=7, max_bytes=ANY)
        assert [found.get("receipt") for found in page.results] == [RECEIPT] * 2 + [None] * 5
        # The receipts count, too, though they are stored once.
        longest = len(json.dumps(page.results[0], separators=(",", ":"))) + 1
        page = await it.store.newest_results("s", limit=5, max_bytes=2 * longest + 5)
        assert len(page.results) == 2


async def test_the_bytes_of_a_document_are_bounded_and_the_oldest_results_go(engine: Engine) -> None:
    limit = 20_000
    async with engine.opened(max_results_bytes=limit) as it:
        await it.create()
        for pad in (3_000, 100, 900, 10, 3_500, 0, 0, 0, 3_900, 200) * 3:
            run_id = await run(it, "AAPL", receipt=True, pad=pad)
            document: dict[str, Any] = await it.store.get_document("s")
            kept = document["analysis_results"]
            lengths = [len(json.dumps(one, separators=(",", ":"))) for one in kept]
            assert document["result_sizes"] == lengths
            assert document["results_bytes"] == sum(lengths) <= limit
            assert named(kept)[-1] == (run_id, "m4")
            # Not one more than had to go.
            assert run_id < 3 or sum(lengths) > limit - 5_000


async def test_the_newest_result_stays_however_long_it_is(engine: Engine) -> None:
    async with engine.opened(max_results_bytes=100) as it:
        await it.create()
        await run(it, "AAPL", pad=1_000)
        assert named(await stored_results(it.store, "s")) == [(1, "m4")]


async def test_a_document_that_does_not_count_its_bytes_is_measured_once(engine: Engine) -> None:
    async with engine.opened(max_results_bytes=20_000) as it:
        await it.create()
        for _ in range(3):
            await run(it, "AAPL", pad=1_000)
        for path in ("$.result_sizes", "$.results_bytes"):
            await it.client.execute_command("JSON.DEL", "portfolio:{s}", path)
        assert len(await stored_results(it.store, "s")) == 15
        for count in (5, 5, 5):
            await run(it, "AAPL", pad=1_000, count=count)
        document: dict[str, Any] = await it.store.get_document("s")
        assert len(document["analysis_results"]) == len(document["result_sizes"])
        assert 15_000 < document["results_bytes"] == sum(document["result_sizes"]) <= 20_000


async def test_results_of_no_session_and_of_another_key_are_refused_by_name(engine: Engine) -> None:
    async with engine.opened() as it:
        with pytest.raises(SessionMissing):
            await it.store.newest_results("s", limit=1, max_bytes=ANY)
        await it.client.set("portfolio:{s}", "x")
        with pytest.raises(WrongType):
            await it.store.newest_results("s", limit=1, max_bytes=ANY)
        await it.client.execute_command("JSON.SET", "portfolio:{t}", "$", '{"version":1}')
        with pytest.raises(WrongType):
            await it.store.newest_results("t", limit=1, max_bytes=ANY)
