"""Batches: their numbers, and the meaning of a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portfolio_trio.hub.events import RUN_ENDS, Batch, PeerEvent, SequenceTracker

EVENTS = st.builds(
    PeerEvent,
    session_id=st.text(max_size=5),
    kind=st.sampled_from(["portfolio", "analysis_result", "analysis_cancelled", "claim", "cancel", "look"]),
    run_id=st.none() | st.integers(1, 2**53),
    version=st.none() | st.integers(1, 2**53),
    ticker=st.none() | st.just("AAPL"),
    frame=st.text(max_size=20),
)


def batch(number: int, sender: str = "one", *, previous: int | None = None) -> Batch:
    """A batch; unless stated otherwise, its sender writes to no other worker."""
    return Batch(sender=sender, number=number, previous=number - 1 if previous is None else previous)


@given(st.lists(EVENTS, max_size=4))
def test_what_is_written_is_read(events: list[PeerEvent]) -> None:
    written = Batch(sender="one", number=7, previous=3, events=tuple(events))
    assert Batch.model_validate_json(written.model_dump_json().encode()) == written


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"sender":"one"}',
        b'{"sender":"one","number":1,"previous":0,"events":[{"kind":"?"}]}',
    ],
)
def test_what_is_no_batch_is_refused(text: bytes) -> None:
    with pytest.raises(ValidationError):
        Batch.model_validate_json(text)


def test_the_ends_of_a_run_are_messages() -> None:
    assert {"analysis_completed", "analysis_cancelled", "analysis_failed"} == RUN_ENDS


def test_each_batch_names_the_one_before_it() -> None:
    tracker = SequenceTracker()
    assert [tracker.follows(batch(number)) for number in (1, 2, 3)] == [True, True, True]
    # Between these its sender has written to others.
    assert tracker.follows(batch(9, previous=3))
    assert tracker.follows(batch(17, previous=9))
    assert not tracker.follows(batch(18, previous=9))


def test_the_first_batch_that_arrives_may_not_be_the_first_that_was_written() -> None:
    tracker = SequenceTracker()
    assert not tracker.follows(batch(2))
    assert tracker.follows(batch(3))


def test_a_gap_shows_once() -> None:
    tracker = SequenceTracker()
    assert [tracker.follows(batch(number)) for number in (1, 4, 5)] == [True, False, True]


def test_senders_count_apart() -> None:
    tracker = SequenceTracker()
    assert tracker.follows(batch(1))
    assert tracker.follows(batch(1, "two"))
    assert tracker.follows(batch(2))
    assert not tracker.follows(batch(3, "two"))


@pytest.mark.parametrize("again", [1, 2])
def test_a_batch_that_comes_again_or_late_is_no_silent_one(again: int) -> None:
    tracker = SequenceTracker()
    assert [tracker.follows(batch(number)) for number in (1, 2, again)] == [True, True, False]


@pytest.mark.parametrize("lost", [True, False])
def test_a_sender_that_has_forgotten_this_worker_begins_anew_and_that_shows(*, lost: bool) -> None:
    tracker = SequenceTracker()
    assert tracker.follows(batch(1))
    # Its next batches, of which the first may be lost.
    if not lost:
        assert not tracker.follows(batch(2, previous=0))
    assert tracker.follows(batch(3, previous=2)) != lost


def test_a_lost_sender_may_come_back_under_its_name() -> None:
    tracker = SequenceTracker()
    tracker.follows(batch(1))
    tracker.forget("one")
    assert tracker.follows(batch(9, previous=0))
    # A worker that only seemed dead continues its numbers: batches it wrote meanwhile may be lost.
    tracker.forget("one")
    assert not tracker.follows(batch(10))
    tracker.forget("nobody")


@given(st.lists(st.booleans(), max_size=30))
def test_a_batch_follows_if_and_only_if_the_one_before_it_came(came: list[bool]) -> None:
    tracker = SequenceTracker()
    numbers = [number for number, here in enumerate(came, start=1) if here]
    for number in numbers:
        assert tracker.follows(batch(number)) == (number == 1 or number - 1 in numbers)
