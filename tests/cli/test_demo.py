"""The demo checks its output against the server's guarantees."""

from __future__ import annotations

from typing import TypeVar

import pytest

from portfolio_trio.cli.demo import FIRST, SECOND, SWITCH_AFTER, DemoError, _Switch
from portfolio_trio.client import ReceivedResult
from portfolio_trio.protocol.examples import MESSAGES
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisResult,
    AnalysisStarted,
    Message,
)

Kind = TypeVar("Kind", bound=Message)


def example(kind: type[Kind], **fields: object) -> Kind:
    found = next(message for message in MESSAGES if isinstance(message, kind))
    return found.model_copy(update=fields)


def result_of(ticker: str) -> ReceivedResult:
    return ReceivedResult(**dict(example(AnalysisResult, ticker=ticker, detail=None)))


@pytest.fixture
def switched() -> _Switch:
    """Two results of the first run, one more that had left already, and the start of the second."""
    switch = _Switch()
    switch.take(example(AnalysisStarted, ticker=FIRST))
    for _ in range(SWITCH_AFTER):
        assert not switch.enough.is_set()
        switch.take(result_of(FIRST))
    assert switch.enough.is_set()
    switch.take(result_of(FIRST))
    switch.take(example(AnalysisCancelled, ticker=FIRST, cancelled_in_us=180))
    switch.take(example(AnalysisStarted, ticker=SECOND))
    return switch


def test_it_is_over_with_the_second_run(switched: _Switch) -> None:
    over = []
    for event in (result_of(SECOND), example(AnalysisCompleted, ticker=SECOND)):
        switched.take(event)
        over.append(switched.over)
    assert over == [False, True]
    assert switched.summary().startswith(f"{FIRST} was cancelled in 180 µs before {SECOND} started")


def test_what_comes_of_the_first_run_after_that_is_an_error(switched: _Switch) -> None:
    with pytest.raises(DemoError, match=f"{FIRST} arrived after {SECOND} had started"):
        switched.take(result_of(FIRST))
