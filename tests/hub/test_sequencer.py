"""What a session's sockets are shown: versions never decrease, and every run has one start and one end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.hub.ordered_event import OrderedEvent
from portfolio_trio.hub.sequencer import MAX_HELD_EVENTS, EventSequencer
from portfolio_trio.protocol.messages import Portfolio, Running, Valued

if TYPE_CHECKING:
    from portfolio_trio.hub.run_state import Run

AT = "2026-11-18T11:06:40.000Z"


class Watcher:
    """A socket that keeps what it sees: texts as they are, states as version, running and id."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def enqueue(self, event: str, run: Run | None = None) -> None:  # noqa: ARG002 - nothing is dropped here
        if event.startswith("{"):
            frame = json.loads(event)
            if frame["type"] == "portfolio":
                current = frame["current_analysis"]
                event = f"v{frame['version']}" + (f" running {current['run_id']}" if current else "")
                event += f" for {frame['id']}" if "id" in frame else ""
            else:
                event = f"{frame['reason']} {frame['run_id']}"
        self.seen.append(event)

    def enqueue_latest(self, event: str) -> None:
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


def start(run_id: int, version: int = 1) -> OrderedEvent:
    return OrderedEvent("started", f"start {run_id}", run_id, running=running(run_id, version))


def result(run_id: int, metric: str = "") -> OrderedEvent:
    return OrderedEvent("outcome", f"result {run_id}{metric}", run_id, metric=metric)


def end(run_id: int | None, **more: Any) -> OrderedEvent:
    return OrderedEvent("end", f"end {run_id}", run_id, **more)


def edit(version: int, current: int | None = None, **more: Any) -> OrderedEvent:
    return OrderedEvent("portfolio", state=state(version, current), **more)


def subscribed(sequencer: EventSequencer, version: int = 1) -> Watcher:
    watcher = Watcher()
    sequencer.subscribe(watcher, state(version))
    watcher.seen.clear()
    return watcher


def test_a_run_that_nobody_sees_is_over_for_whoever_comes_later() -> None:
    sequencer = EventSequencer()
    assert sequencer.skip(3)
    assert sequencer.is_over(3)
    assert not sequencer.skip(3)
    late = subscribed(sequencer)
    for event in (start(3), result(3), start(4)):
        sequencer.publish(event)
    assert late.seen == ["start 4"]


def test_no_run_is_passed_over_while_another_is_open_or_something_waits() -> None:
    sequencer = EventSequencer()
    sequencer.adopt(running(3))
    assert not sequencer.skip(4)
    sequencer.publish(start(5))
    sequencer.publish(end(3))
    assert not sequencer.skip(6)
    sequencer.publish(end(5))
    assert sequencer.skip(6)


def test_an_older_portfolio_is_never_shown_after_a_newer_one() -> None:
    sequencer = EventSequencer()
    requester, subscriber = subscribed(sequencer), subscribed(sequencer)
    sequencer.publish(edit(3))
    sequencer.publish(edit(2, requester=requester, request_id=7))
    # The requester is still answered, with the newest state.
    assert subscriber.seen == ["v3"]
    assert requester.seen == ["v3", "v3 for 7"]
    assert sequencer.answer(state(2), 8).version == 3
    late = Watcher()
    sequencer.subscribe(late, state(1))
    assert late.seen == ["v3"]


def test_a_value_belongs_to_the_holdings_that_have_been_shown() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(OrderedEvent("portfolio_update", "tick 5", version=1, tick_id=5))
    sequencer.publish(OrderedEvent("portfolio_update", "tick 4", version=1, tick_id=4))
    sequencer.publish(edit(2))
    sequencer.publish(OrderedEvent("portfolio_update", "tick 6 of 1", version=1, tick_id=6))
    sequencer.publish(OrderedEvent("portfolio_update", "tick 7", version=2, tick_id=7))
    assert subscriber.seen == ["tick 5", "v2", "tick 7"]


def test_a_metric_of_a_run_is_shown_once() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for text in ("risk 1", "risk 1 again"):
        sequencer.publish(start(1))
        sequencer.publish(OrderedEvent("outcome", text, 1, metric="portfolio_risk"))
    assert (subscriber.seen, sequencer.outcomes) == (["start 1", "risk 1"], ("portfolio_risk",))
    for event in (end(1), start(2)):
        sequencer.publish(event)
    sequencer.publish(OrderedEvent("outcome", "risk 2", 2, metric="portfolio_risk"))
    assert subscriber.seen[2:] == ["end 1", "start 2", "risk 2"]


def test_the_end_of_a_run_is_not_stuck_behind_what_waits_for_it() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    # The second began, was cut short by new holdings and ended before anybody told how the first had.
    for event in (start(1), start(2), edit(2), end(2), start(3, 2)):
        sequencer.publish(event)
    assert subscriber.seen == ["start 1"]
    sequencer.publish(end(1))
    assert subscriber.seen == ["start 1", "end 1", "start 2", "end 2", "v2", "start 3"]
    assert sequencer.awaited is None


def test_a_state_on_the_same_holdings_costs_a_run_none_of_its_results() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    # Another worker died without reporting the first run's end; the document is read during the second.
    for event in (start(1), start(2), result(2), edit(1, 2), result(2), end(2)):
        sequencer.publish(event)
    sequencer.publish(end(1))
    assert subscriber.seen == ["start 1", "end 1", "start 2", "result 2", "result 2", "end 2"]


def test_new_holdings_wait_for_the_end_of_the_run_on_the_old_ones() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (start(1), edit(2), result(1), start(2, 2), result(2)):
        sequencer.publish(event)
    # It had ended before they came: the document no longer contained it.
    assert (subscriber.seen, sequencer.awaited) == (["start 1", "result 1"], 1)
    sequencer.publish(end(1))
    assert subscriber.seen[2:] == ["end 1", "v2", "start 2", "result 2"]
    assert sequencer.awaited is None


def test_no_number_on_old_holdings_once_they_are_known_to_have_cut_the_run_short() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (start(1), edit(2, 1), result(1), end(1)):
        sequencer.publish(event)
    assert subscriber.seen == ["start 1", "end 1", "v2"]


def test_a_run_ends_once_and_one_that_was_not_seen_to_start_has_no_results() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (result(1), start(2), end(2), end(2), result(2), start(2), start(1), end(1)):
        sequencer.publish(event)
    assert subscriber.seen == ["start 2", "end 2"]


def test_the_end_of_a_run_that_never_started_is_shown_once() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (end(1), end(1), end(None), start(1)):
        sequencer.publish(event)
    assert subscriber.seen == ["end 1", "end None"]


def test_an_end_without_a_start_comes_after_the_end_of_the_run_before() -> None:
    sequencer = EventSequencer()
    watcher = subscribed(sequencer)
    for event in (start(1), end(2), result(1), end(1), end(2)):
        sequencer.publish(event)
    assert watcher.seen == ["start 1", "result 1", "end 1", "end 2"]


def test_who_comes_late_knows_from_the_welcome_what_runs() -> None:
    sequencer = EventSequencer()
    early = subscribed(sequencer)
    sequencer.publish(start(1))
    late = Watcher()
    sequencer.subscribe(late, state(1))
    sequencer.publish(result(1))
    sequencer.publish(end(1))
    assert late.seen == ["v1 running 1", "result 1", "end 1"]
    assert early.seen == ["start 1", "result 1", "end 1"]


def test_who_comes_while_new_holdings_wait_is_spared_the_run_on_the_old_ones() -> None:
    sequencer = EventSequencer()
    subscribed(sequencer)
    sequencer.publish(start(1))
    sequencer.publish(edit(2))
    late = Watcher()
    sequencer.subscribe(late, state(2))
    for event in (result(1), end(1), start(2, 2)):
        sequencer.publish(event)
    assert late.seen == ["v2", "start 2"]


def test_a_run_that_was_over_before_the_holdings_that_were_shown_does_not_begin_any_more() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(edit(2))
    for event in (start(1), result(1), end(1), start(2, 2), end(2)):
        sequencer.publish(event)
    assert subscriber.seen == ["v2", "start 2", "end 2"]


def test_a_run_that_began_unseen_is_adopted_from_a_state() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(OrderedEvent("portfolio", state=state(1, 4), adopts=running(4), again=True))
    for event in (start(4), result(4), end(4)):
        sequencer.publish(event)
    assert subscriber.seen == ["v1 running 4", "result 4", "end 4"]


def test_a_run_on_holdings_that_became_old_while_its_state_waited_is_not_adopted() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer, 3)
    sequencer.publish(start(5, 3))
    sequencer.publish(OrderedEvent("portfolio", state=state(3, 10, of=3), adopts=running(10, 3), again=True))
    sequencer.answer(state(11), None)
    sequencer.publish(end(5))
    assert (subscriber.seen, sequencer.open) == (["start 5", "end 5", "v11"], None)


def test_one_that_began_unseen_waits_for_the_end_of_the_one_before() -> None:
    sequencer, one = EventSequencer(), Watcher()
    sequencer.subscribe(one, state(1))
    sequencer.publish(start(3))
    sequencer.publish(OrderedEvent("portfolio", state=state(1, 4), adopts=running(4), again=True))
    assert (one.seen, sequencer.awaited) == (["v1", "start 3"], 3)
    sequencer.publish(result(4))
    sequencer.close("superseded")
    assert one.seen == ["v1", "start 3", "superseded 3", "v1 running 4", "result 4"]


def test_who_cancelled_is_answered_in_the_place_of_the_end_and_not_told() -> None:
    sequencer = EventSequencer()
    canceller, subscriber = subscribed(sequencer), subscribed(sequencer)
    sequencer.publish(start(1))
    sequencer.publish(edit(2))
    sequencer.publish(end(1, exclude=canceller, answer="answer 1"))
    sequencer.publish(end(1))
    assert canceller.seen == ["start 1", "answer 1", "v2"]
    assert subscriber.seen == ["start 1", "end 1", "v2"]


def test_an_end_that_never_comes_is_given_up_when_too_much_waits() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(start(1))
    for _ in range(MAX_HELD_EVENTS + 1):
        sequencer.publish(start(2))
    assert subscriber.seen == ["start 1", "superseded 1", "start 2"]


def test_an_end_waits_for_results_that_were_lost_and_so_does_what_follows() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (start(1), result(1, "a"), end(1, outcomes=3), start(2), end(2)):
        sequencer.publish(event)
    assert sequencer.awaited == 1
    assert subscriber.seen == ["start 1", "result 1a"]
    sequencer.publish(result(1, "b"))
    assert sequencer.awaited == 1
    sequencer.publish(result(1, "c"))
    assert subscriber.seen == ["start 1", "result 1a", "result 1b", "result 1c", "end 1", "start 2", "end 2"]


def test_an_end_whose_results_are_lost_is_shown_once_whatever_reports_it() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    for event in (start(1), result(1, "a"), end(1, outcomes=2), start(2), end(1)):
        sequencer.publish(event)
    assert subscriber.seen == ["start 1", "result 1a", "end 1", "start 2"]


def test_an_end_that_is_known_is_what_is_shown_when_too_much_waits() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(start(1))
    sequencer.publish(end(1, outcomes=1))
    for _ in range(MAX_HELD_EVENTS):
        sequencer.publish(start(2))
    assert subscriber.seen == ["start 1", "end 1", "start 2"]


def test_a_run_in_progress_when_the_first_socket_came_ends_without_its_earlier_results() -> None:
    sequencer = EventSequencer()
    sequencer.adopt(running(1))
    late = Watcher()
    sequencer.subscribe(late, state(1))
    sequencer.publish(result(1, "e"))
    sequencer.publish(end(1, outcomes=5))
    assert late.seen == ["v1 running 1", "result 1e", "end 1"]


def test_an_older_state_brings_no_newer_one_into_the_run_on_its_holdings() -> None:
    sequencer = EventSequencer()
    subscriber = subscribed(sequencer)
    sequencer.publish(start(1))
    # A client that sees no events has asked, and was answered with a state that no other has been shown yet.
    sequencer.answer(state(2), None)
    sequencer.publish(edit(1, again=True))
    for event in (result(1), end(1)):
        sequencer.publish(event)
    assert subscriber.seen == ["start 1", "result 1", "end 1", "v2"]


def test_a_session_that_was_made_anew_begins_from_the_start() -> None:
    sequencer = EventSequencer()
    told, subscriber = subscribed(sequencer), subscribed(sequencer)
    sequencer.publish(edit(9))
    sequencer.publish(start(5, 9))
    sequencer.publish(edit(10, requester=subscriber, request_id=1))
    sequencer.subscribers.mark_told(told)
    sequencer.begin_anew("expired")
    sequencer.publish(edit(1))
    sequencer.publish(start(1))
    assert told.seen == ["v9", "start 5", "disconnected 5", "v10", "v1", "start 1"]
    assert subscriber.seen == ["v9", "start 5", "disconnected 5", "v10 for 1", "expired", "v1", "start 1"]


EVENTS = st.one_of(
    st.builds(start, st.integers(1, 6), st.integers(1, 5)),
    st.builds(result, st.integers(1, 6)),
    st.builds(end, st.one_of(st.none(), st.integers(1, 6))),
    st.builds(edit, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 6))),
    st.builds(
        lambda version, tick: OrderedEvent("portfolio_update", f"tick {tick}", version=version, tick_id=tick),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
)


@given(st.lists(st.one_of(EVENTS, st.just("join"), st.builds(state, st.integers(1, 5))), max_size=40))
def test_in_whatever_order_things_become_known(events: list[Any]) -> None:
    sequencer = EventSequencer()
    watchers = [subscribed(sequencer)]
    for event in events:
        if event == "join":
            watchers.append(Watcher())
            sequencer.subscribe(watchers[-1], state(1))
        elif isinstance(event, Portfolio):
            sequencer.answer(event, None)
        else:
            sequencer.publish(event)
    while sequencer.open is not None:
        sequencer.close("superseded")
    assert sequencer.awaited is None
    for watcher in watchers:
        check(watcher.seen)
    # A socket that was there from the start has seen all runs that a later one saw. For a tick's value only
    # the latest counts: a socket that has seen a newer tick is not shown an older one.
    for watcher in watchers[1:]:
        rest = iter(watchers[0].seen)
        events = [seen for seen in watcher.seen[1:] if not seen.startswith(("v", "tick"))]
        assert all(event in rest for event in events)


def check(seen: list[str]) -> None:
    """Versions rise, ticks do not fall, and runs follow one another, each on the holdings that are shown."""
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
