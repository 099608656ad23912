"""Random histories of two clients of one session, over connections that break, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from portfolio_trio.client import Backoff, ClientError, Limits, ReceivedResult, RequestTimedOut
from portfolio_trio.settings import Delay
from tests.support.app import METRICS, App, open_app
from tests.support.client import Transport, enter

if TYPE_CHECKING:
    from portfolio_trio.client import PortfolioClient

LIMITS = Limits(request_seconds=20)
BACKOFF = Backoff(first=0.5, longest=4)
TICKERS = ("AAPL", "GOOGL", "MSFT", "JPM")

seconds = st.sampled_from([0.0, 0.3, 1.0, 2.5, 7.0])
steps = st.one_of(
    st.tuples(st.just("analyze"), st.sampled_from(TICKERS), seconds),
    st.tuples(st.just("deadline"), st.sampled_from(TICKERS), seconds),
    st.tuples(st.just("take"), st.sampled_from(TICKERS), st.integers(0, 5)),
    st.tuples(st.just("trade"), st.sampled_from(TICKERS), seconds),
    st.tuples(st.just("cut"), st.just(""), seconds),
    st.tuples(st.just("cancel"), st.just(""), seconds),
    st.tuples(st.just("sleep"), st.just(""), seconds),
)
Step = tuple[str, str, float]


class Actor:
    """One client that goes through its steps; what it checks holds whatever the other one does."""

    def __init__(self, portfolio: PortfolioClient, transport: Transport) -> None:
        self.portfolio = portfolio
        self.transport = transport

    async def play(self, history: list[Step]) -> None:
        for action, ticker, amount in history:
            try:
                await getattr(self, action)(ticker, amount)
            except RequestTimedOut:
                # Both servers can be reached again, so that no request waits in vain.
                raise
            except ClientError:
                continue

    async def analyze(self, ticker: str, amount: float) -> None:
        """The whole of a run, and whole means all of one snapshot."""
        await trio.sleep(amount)
        async with self.portfolio.analyze(ticker) as results:
            async for outcome in results:
                assert outcome.ticker == ticker
                assert outcome.run_id == results.started.run_id
            outcomes = results.outcomes
            assert set(outcomes) == set(METRICS)
            assert {each.run_id for each in outcomes.values()} == {results.started.run_id}
            snapshots = {each.snapshot for each in outcomes.values() if isinstance(each, ReceivedResult)}
            assert snapshots <= {results.started.snapshot}

    async def deadline(self, ticker: str, amount: float) -> None:
        """However it ends, it ends by then."""
        before = trio.current_time()
        with trio.move_on_after(amount):
            await self.analyze(ticker, 0)
        assert trio.current_time() <= before + amount + 1e-6

    async def take(self, ticker: str, amount: float) -> None:
        """So many outcomes and no more."""
        async with self.portfolio.analyze(ticker) as results:
            for _ in range(int(amount)):
                assert (await anext(results)).ticker == ticker

    async def trade(self, ticker: str, amount: float) -> None:
        assert ticker in (await self.portfolio.trade(ticker, amount + 1)).holdings

    async def cancel(self, _: str, amount: float) -> None:
        await trio.sleep(amount)
        await self.portfolio.cancel()

    async def cut(self, _: str, amount: float) -> None:
        await trio.sleep(amount)
        await self.transport.cut()

    async def sleep(self, _: str, amount: float) -> None:
        await trio.sleep(amount)


async def check_rest(app: App, actors: list[Actor]) -> None:
    """When no client does anything, nothing runs, all are connected, and all see the stored state."""
    await trio.sleep(10)
    document = await app.document()
    assert document["current_analysis"] is None
    for actor in actors:
        assert actor.portfolio.connected
        assert actor.portfolio.running is None
        assert actor.portfolio.state.version == document["version"]
        assert actor.portfolio.state.holdings == document["holdings"]
        assert actor.portfolio.state.total_value == document["total_value"]


@given(histories=st.lists(st.lists(steps, max_size=8), min_size=2, max_size=2), seed=st.integers(0, 9))
@settings(max_examples=120)
def test_whatever_two_clients_do_each_sees_whole_runs_and_nothing_is_left(
    histories: list[list[Step]], seed: int
) -> None:
    async def main() -> None:
        async with open_app(metric_delay_seconds=Delay(0.2, 4), seed=seed) as app:
            tasks = trio.lowlevel.current_statistics().tasks_living
            transports = [Transport(app), Transport(app)]
            async with (
                enter(app, transports[0], limits=LIMITS, backoff=BACKOFF) as one,
                enter(app, transports[1], limits=LIMITS, backoff=BACKOFF) as two,
            ):
                actors = [Actor(one, transports[0]), Actor(two, transports[1])]
                with trio.fail_after(10_000):
                    async with trio.open_nursery() as nursery:
                        for actor, history in zip(actors, histories, strict=True):
                            nursery.start_soon(actor.play, history)
                await check_rest(app, actors)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert app.server.services.hub.groups == ()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@given(st.floats(0.001, 10), st.floats(1, 10), st.floats(1, 100), st.integers(0, 10_000), st.randoms())
def test_pauses_grow_to_the_longest_and_no_further(
    first: float, factor: float, times: float, attempt: int, rng: object
) -> None:
    backoff = Backoff(first, factor, first * times)
    whole = min(backoff.longest, first * factor ** min(attempt, 20))
    delay = backoff.delay(attempt, rng)  # type: ignore[arg-type]  # it is random.Random
    assert whole / 2 * (1 - 1e-9) <= delay <= backoff.longest
    assert backoff.delay(0, rng) <= first  # type: ignore[arg-type]  # as above
