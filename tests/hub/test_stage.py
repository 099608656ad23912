"""What the sockets of a session are shown: versions never fall, and every run has one start and one end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.hub.stage import HELD_SCENES, Scene, Stage
from portfolio_trio.protocol.messages import Portfolio, Running, Valued

if TYPE_CHECKING:
    from portfolio_trio.hub.run_state import Run

AT = "2026-11-18T11:06:40.000Z"


class Watcher:
    """A socket that keeps what it sees: texts as they are, states as version, running and id."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def see(self, event: str, run: Run | None = None) -> None:  # noqa: ARG002 - nothing is dropped here
        if event.startswith("{"):
            frame = json.loads(event)
            if frame["type"] == "portfolio":
                current = frame["current_analysis"]
                event = f"v{frame['version']}" + (f" running {current['run_id']}" if current else "")
                event += f" for {frame['id']}" if "id" in frame else ""
            else:
                event = f"{frame['reason']} {frame['run_id']}"
        self.seen.append(event)

    def see_latest(self, event: str) -> None:
        self.seen.append(event)


def state(version: int, current: int | None = None, *, of: int = 1, tick: int = 1) -> Portfolio:
    return Portfolio(
        session_id="s",
        holdings={"AAPL": version},
        version=version,
        total_value=1.0,
        valued=Valued(tick_id=tick, as_of=AT),
        current_analysis=None if current is None else running(current, of),
    )


def running(run_id: int, version: int = 1) -> Running:
    return Running(ticker="AAPL", started_at=AT, run_id=run_id, version=version, tick_id=1)


def start(run_id: int, version: int = 1) -> Scene:
    return Scene("started", f"start {run_id}", run_id, running=running(run_id, version))


def result(run_id: int) -> Scene:
    return Scene("outcome", f"result {run_id}", run_id)


def end(run_id: int | None, **more: Any) -> Scene:
    return Scene("end", f"end {run_id}", run_id, **more)


def edit(version: int, current: int | None = None, **more: Any) -> Scene:
    return Scene("portfolio", state=state(version, current), **more)


def greeted(stage: Stage, version: int = 1) -> Watcher:
    watcher = Watcher()
    stage.greet(watcher, state(version))
    watcher.seen.clear()
    return watcher


def test_an_older_portfolio_is_never_shown_after_a_newer_one() -> None:
    stage = Stage()
    asker, viewer = greeted(stage), greeted(stage)
    stage.play(edit(3))
    stage.play(edit(2, asker=asker, request_id=7))
    # Who had asked is answered all the same, with the newest there is.
    assert viewer.seen == ["v3"]
    assert asker.seen == ["v3", "v3 for 7"]
    assert stage.answer(state(2), 8).version == 3
    late = Watcher()
    stage.greet(late, state(1))
    assert late.seen == ["v3"]


def test_a_value_belongs_to_the_holdings_that_have_been_shown() -> None:
    stage = Stage()
    viewer = greeted(stage)
    stage.play(Scene("portfolio_update", "tick 5", version=1, tick_id=5))
    stage.play(Scene("portfolio_update", "tick 4", version=1, tick_id=4))
    stage.play(edit(2))
    stage.play(Scene("portfolio_update", "tick 6 of 1", version=1, tick_id=6))
    stage.play(Scene("portfolio_update", "tick 7", version=2, tick_id=7))
    assert viewer.seen == ["tick 5", "v2", "tick 7"]


def test_new_holdings_wait_for_the_end_of_the_run_on_the_old_ones() -> None:
    stage = Stage()
    viewer = greeted(stage)
    for scene in (start(1), edit(2), result(1), start(2, 2), result(2)):
        stage.play(scene)
    # It had ended before they came: the document did not name it any more.
    assert (viewer.seen, stage.awaited) == (["start 1", "result 1"], 1)
    stage.play(end(1))
    assert viewer.seen[2:] == ["end 1", "v2", "start 2", "result 2"]
    assert stage.awaited is None


def test_no_number_on_old_holdings_once_they_are_known_to_have_cut_the_run_short() -> None:
    stage = Stage()
    viewer = greeted(stage)
    for scene in (start(1), edit(2, 1), result(1), end(1)):
        stage.play(scene)
    assert viewer.seen == ["start 1", "end 1", "v2"]


def test_a_run_ends_once_and_one_that_was_not_seen_to_start_has_no_results() -> None:
    stage = Stage()
    viewer = greeted(stage)
    for scene in (result(1), start(2), end(2), end(2), result(2), start(2), start(1), end(1)):
        stage.play(scene)
    assert viewer.seen == ["start 2", "end 2"]


def test_one_that_ended_before_it_began_says_so_once() -> None:
    stage = Stage()
    viewer = greeted(stage)
    for scene in (end(1), end(1), end(None), start(1)):
        stage.play(scene)
    assert viewer.seen == ["end 1", "end None"]


def test_who_comes_late_knows_from_the_greeting_what_runs() -> None:
    stage = Stage()
    early = greeted(stage)
    stage.play(start(1))
    late = Watcher()
    stage.greet(late, state(1))
    stage.play(result(1))
    stage.play(end(1))
    assert late.seen == ["v1 running 1", "result 1", "end 1"]
    assert early.seen == ["start 1", "result 1", "end 1"]


def test_who_comes_while_new_holdings_wait_is_spared_the_run_on_the_old_ones() -> None:
    stage = Stage()
    greeted(stage)
    stage.play(start(1))
    stage.play(edit(2))
    late = Watcher()
    stage.greet(late, state(2))
    for scene in (result(1), end(1), start(2, 2)):
        stage.play(scene)
    assert late.seen == ["v2", "start 2"]


def test_a_run_that_was_over_before_the_holdings_that_were_shown_does_not_begin_any_more() -> None:
    stage = Stage()
    viewer = greeted(stage)
    stage.play(edit(2))
    for scene in (start(1), result(1), end(1), start(2, 2), end(2)):
        stage.play(scene)
    assert viewer.seen == ["v2", "start 2", "end 2"]


def test_a_run_that_began_unseen_is_adopted_from_a_state() -> None:
    stage = Stage()
    viewer = greeted(stage)
    stage.play(Scene("portfolio", state=state(1, 4), adopts=running(4), again=True))
    for scene in (start(4), result(4), end(4)):
        stage.play(scene)
    assert viewer.seen == ["v1 running 4", "result 4", "end 4"]


def test_one_that_began_unseen_waits_for_the_end_of_the_one_before() -> None:
    stage, one = Stage(), Watcher()
    stage.greet(one, state(1))
    stage.play(start(3))
    stage.play(Scene("portfolio", state=state(1, 4), adopts=running(4), again=True))
    assert (one.seen, stage.awaited) == (["v1", "start 3"], 3)
    stage.play(result(4))
    stage.close("superseded")
    assert one.seen == ["v1", "start 3", "superseded 3", "v1 running 4", "result 4"]


def test_who_cancelled_is_answered_and_not_told() -> None:
    stage = Stage()
    canceller, viewer = greeted(stage), greeted(stage)
    stage.play(start(1))
    stage.play(end(1, but=canceller))
    stage.play(end(1))
    assert canceller.seen == ["start 1"]
    assert viewer.seen == ["start 1", "end 1"]


def test_an_end_that_never_comes_is_given_up_when_too_much_waits() -> None:
    stage = Stage()
    viewer = greeted(stage)
    stage.play(start(1))
    for _ in range(HELD_SCENES + 1):
        stage.play(start(2))
    assert viewer.seen == ["start 1", "superseded 1", "start 2"]


def test_a_session_that_was_made_anew_begins_from_the_start() -> None:
    stage = Stage()
    told, viewer = greeted(stage), greeted(stage)
    stage.play(edit(9))
    stage.play(start(5, 9))
    stage.play(edit(10, asker=viewer, request_id=1))
    stage.tell(told)
    stage.begin_anew("expired")
    stage.play(edit(1))
    stage.play(start(1))
    assert told.seen == ["v9", "start 5", "disconnected 5", "v10", "v1", "start 1"]
    assert viewer.seen == ["v9", "start 5", "disconnected 5", "v10 for 1", "expired", "v1", "start 1"]


SCENES = st.one_of(
    st.builds(start, st.integers(1, 6), st.integers(1, 5)),
    st.builds(result, st.integers(1, 6)),
    st.builds(end, st.one_of(st.none(), st.integers(1, 6))),
    st.builds(edit, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 6))),
    st.builds(
        lambda version, tick: Scene("portfolio_update", f"tick {tick}", version=version, tick_id=tick),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
)


@given(st.lists(st.one_of(SCENES, st.just("join")), max_size=40))
def test_in_whatever_order_things_become_known(scenes: list[Any]) -> None:
    stage = Stage()
    watchers = [greeted(stage)]
    for scene in scenes:
        if scene == "join":
            watchers.append(Watcher())
            stage.greet(watchers[-1], state(1))
        else:
            stage.play(scene)
    while stage.open is not None:
        stage.close("superseded")
    assert stage.awaited is None
    for watcher in watchers:
        check(watcher.seen)
    # Who was there from the start has seen all that who came later saw.
    for watcher in watchers[1:]:
        rest = iter(watchers[0].seen)
        events = [seen for seen in watcher.seen[1:] if not seen.startswith("v")]
        assert all(event in rest for event in events)


def check(seen: list[str]) -> None:
    """Versions rise, ticks do not fall, and runs follow one another."""
    version, tick, current, newest = 0, 0, None, 0
    for event in seen:
        kind, *rest = event.split()
        if kind.startswith("v"):
            assert int(kind[1:]) >= version
            version = int(kind[1:])
            if rest and current is None:
                current = newest = int(rest[1])
            assert (int(rest[1]) if rest else None) == current
        elif kind == "tick":
            assert int(rest[0]) >= tick
            tick = int(rest[0])
        elif kind == "start":
            assert current is None
            assert int(rest[0]) > newest
            current = newest = int(rest[0])
        elif kind == "result":
            assert int(rest[0]) == current
        elif current is not None:
            assert rest[0] in {"None", str(current)} or int(rest[0]) > newest
            current = None if rest[0] == str(current) else current
