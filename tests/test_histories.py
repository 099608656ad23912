"""Random histories of a whole session, in virtual time: what a client must never see, and what it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from portfolio_trio.settings import Delay
from tests.support.house import METRICS, Client, House, open_house

Frame = dict[str, Any]

# None of these is held by a new session but the first three; all can be bought.
TICKERS = ("AAPL", "GOOGL", "MSFT", "JPM")
ENDS = {"analysis_completed", "analysis_cancelled", "analysis_failed"}


@dataclass(frozen=True)
class Step:
    """What one of the two sockets does next, or the market, or time."""

    what: str
    who: int = 0
    ticker: str = "AAPL"
    seconds: float = 0.0


SOCKETS = st.integers(0, 1)
STEPS = st.one_of(
    st.builds(Step, st.just("analyze"), SOCKETS, st.sampled_from(TICKERS)),
    st.builds(Step, st.just("analyze"), SOCKETS, st.sampled_from(TICKERS)),
    st.builds(Step, st.just("cancel"), SOCKETS),
    st.builds(Step, st.just("leave"), SOCKETS),
    st.builds(Step, st.just("edit"), SOCKETS, st.sampled_from(TICKERS)),
    st.builds(Step, st.just("tick")),
    # Long, short, and none at all: requests that arrive together.
    st.builds(Step, st.just("wait"), seconds=st.sampled_from([0.001, 0.5, 2.0, 2.5, 7.0])),
    st.builds(Step, st.just("settle")),
)


class Story:
    """Plays a history and keeps what every socket saw."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.clients: list[Client] = []
        self.seen: list[list[Frame]] = []
        self.watched: list[Frame] = []

    async def play(self, steps: list[Step]) -> None:
        watcher = await self.house.connect(events=True)
        self.house.nursery.start_soon(self._read, watcher, self.watched)
        for place in range(2):
            await self._join(place)
        for step in steps:
            await self._do(step)
        # The longest that any run can still take.
        await trio.sleep(30)

    async def _join(self, place: int) -> None:
        client = await self.house.connect()
        frames: list[Frame] = []
        self.clients[place : place + 1] = [client]
        self.seen.append(frames)
        self.house.nursery.start_soon(self._read, client, frames)

    async def _read(self, client: Client, frames: list[Frame]) -> None:
        # Ends with the connection: whoever leaves breaks the stream under it.
        try:
            while True:
                frames.append(await client.receive())
        except Exception:  # noqa: BLE001 - however the library says that it is over
            return

    async def _do(self, step: Step) -> None:
        client = self.clients[step.who]
        match step.what:
            case "analyze":
                await client.send("analyze", ticker=step.ticker)
            case "cancel":
                await client.send("cancel")
            case "edit":
                await client.send("trade", ticker=step.ticker, shares=1)
            case "leave":
                await trio.aclose_forcefully(client.stream)
                await self._join(step.who)
            case "tick":
                await self.house.server.updater.tick()
            case "wait":
                await trio.sleep(step.seconds)
            case "settle":
                await trio.testing.wait_all_tasks_blocked()


def check_events(frames: list[Frame]) -> None:
    """The session's events as a viewer saw them."""
    current: int | None = None
    ended: set[int] = set()
    for frame in frames:
        run_id = frame.get("run_id")
        if frame["type"] == "analysis_started":
            assert current is None, f"run {run_id} started while {current} had not ended"
            current = run_id
        elif frame["type"] in {"analysis_result", "metric_error"}:
            assert run_id == current, f"a result of run {run_id} while {current} was the current one"
        elif frame["type"] in ENDS and run_id is not None:
            assert run_id not in ended, f"run {run_id} ended twice"
            ended.add(run_id)
            current = None
    assert current is None, f"run {current} never ended"


def check_completed(frames: list[Frame]) -> None:
    """A completed run has an outcome for each metric, once."""
    for end in frames:
        if end["type"] == "analysis_completed":
            told = [
                f["metric"]
                for f in frames
                if f["type"] in {"analysis_result", "metric_error"} and f["run_id"] == end["run_id"]
            ]
            assert sorted(told) == sorted(METRICS)
            assert end["results"] + end["errors"] == len(METRICS)


def check_recorded(watched: list[Frame], recorded: list[Frame]) -> None:
    """What was seen is in the document, once and in the same order; a completed run as a whole."""
    streamed = [
        {key: value for key, value in frame.items() if key != "type"}
        for frame in watched
        if frame["type"] == "analysis_result"
    ]
    rest = iter(recorded)
    assert all(frame in rest for frame in streamed), "a streamed result is not recorded, or out of order"
    completed = {f["run_id"] for f in watched if f["type"] == "analysis_completed"}
    assert [f for f in recorded if f["run_id"] in completed] == [
        f for f in streamed if f["run_id"] in completed
    ]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=14), delay=st.sampled_from([None, Delay(2, 5), Delay(2, 2)]))
def test_random_histories(steps: list[Step], delay: Delay | None) -> None:
    async def main() -> None:
        async with open_house(metric_delay_seconds=delay) as house:
            story = Story(house)
            await story.play(steps)
            document = await house.document()
            check_events(story.watched)
            check_completed(story.watched)
            check_recorded(story.watched, document["analysis_results"])
            assert document["current_analysis"] is None
            for frames in story.seen:
                # A socket without the subprotocol: results of the newest run only, never an older one's.
                runs = [f["run_id"] for f in frames if f["type"] == "analysis_result"]
                assert runs == sorted(runs)

    trio.run(main, clock=MockClock(autojump_threshold=0))
