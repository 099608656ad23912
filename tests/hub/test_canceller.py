"""Which end of a run is the answer to a request to cancel."""

from __future__ import annotations

import json

import pytest

from portfolio_trio.hub.canceller import Canceller
from portfolio_trio.hub.members import SessionSubscriber
from portfolio_trio.hub.ordered_event import OrderedEvent
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.sequencer import EventSequencer
from portfolio_trio.protocol.messages import AnalysisCancelled
from tests.hub.test_sequencer import state
from tests.peers.fakes import FakeSubscriber


def end(reason: EndReason) -> OrderedEvent:
    message = AnalysisCancelled(ticker="AAPL", run_id=1, reason=reason)
    return OrderedEvent("end", run_id=1, message=message)


def subscribed(*subscribers: SessionSubscriber) -> EventSequencer:
    sequencer = EventSequencer()
    for subscriber in subscribers:
        sequencer.subscribe(subscriber, state(1))
    return sequencer


def test_the_end_that_it_asked_for_is_its_answer_once() -> None:
    subscriber = FakeSubscriber()
    canceller, sequencer = Canceller(subscriber, "mine"), subscribed(subscriber)
    answered = canceller.answer_with(end(EndReason.CANCELLED), sequencer.subscribers)
    assert (answered.exclude, json.loads(answered.answer)["id"]) == (subscriber, "mine")
    later = end(EndReason.CANCELLED)
    assert canceller.answer_with(later, sequencer.subscribers) is later


@pytest.mark.parametrize("reason", [each for each in EndReason if each is not EndReason.CANCELLED])
def test_an_end_that_was_decided_before_is_no_answer(reason: EndReason) -> None:
    subscriber = FakeSubscriber()
    canceller, event = Canceller(subscriber, "mine"), end(reason)
    assert canceller.answer_with(event, subscribed(subscriber).subscribers) is event
    assert not canceller.answered


def test_a_socket_without_events_is_answered_by_its_own_task() -> None:
    canceller, event = Canceller(FakeSubscriber(), "mine"), end(EndReason.CANCELLED)
    assert canceller.answer_with(event, subscribed().subscribers) is event
