"""Replies are matched to their commands, whatever the order of events."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, ResponseError

from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._pipeline import Call, Pipeline
from portfolio_trio.redis.errors import ReplyOverdue, TooManyPending, Unavailable


def new_pipeline(
    *, pushed: list[object] | None = None, max_pending: int = 1000, max_bytes: int = 10**6
) -> Pipeline:
    sink: list[object] = [] if pushed is None else pushed
    return Pipeline(anyio.Event, sink.append, max_pending=max_pending, max_unsent_bytes=max_bytes)


STEPS = st.lists(
    st.tuples(st.just("submit"), st.just(0))
    | st.tuples(st.just("take"), st.just(0))
    | st.tuples(st.just("push"), st.just(0))
    | st.tuples(st.just("receive"), st.integers(1, 20))
)


@given(STEPS)
def test_every_call_gets_its_own_reply_and_a_loss_says_what_was_sent(steps: list[tuple[str, int]]) -> None:
    pushed: list[object] = []
    pipeline = new_pipeline(pushed=pushed)
    calls: list[Call] = []
    wire = b""  # what the server has answered and we have not read
    taken = pushes = 0
    for step, size in steps:
        if step == "submit":
            calls.append(pipeline.submit(pack(("ECHO", len(calls)))))
        elif step == "take":
            pipeline.take()
            wire += b"".join(b":%d\r\n" % number for number in range(taken, len(calls)))
            taken = len(calls)
        elif step == "push":
            wire += b">1\r\n+note\r\n"
            pushes += 1
        else:
            pipeline.feed(wire[:size])
            wire = wire[size:]
    answered = pipeline.received
    assert [call.reply for call in calls[:answered]] == list(range(answered))
    assert pipeline.pending == len(calls) - answered
    pipeline.fail(Unavailable, "gone")
    assert all(call.done.is_set() for call in calls)
    assert [call.reply.sent for call in calls[answered:]] == [
        number < taken for number in range(answered, len(calls))
    ]
    assert len(pushed) <= pushes


def test_error_replies_keep_their_place() -> None:
    pipeline = new_pipeline()
    first, second = pipeline.submit(pack(("A",))), pipeline.submit(pack(("B",)))
    pipeline.take()
    pipeline.feed(b"-ERR no\r\n+yes\r\n")
    assert isinstance(first.reply, ResponseError)
    assert second.reply == b"yes"


def test_bounds_on_count_and_bytes() -> None:
    pipeline = new_pipeline(max_pending=2)
    pipeline.submit(b"x")
    pipeline.submit(b"x")
    with pytest.raises(TooManyPending) as caught:
        pipeline.submit(b"x")
    assert not caught.value.sent
    pipeline = new_pipeline(max_bytes=10)
    pipeline.submit(b"x" * 10)
    with pytest.raises(TooManyPending):
        pipeline.submit(b"x")
    pipeline.take()
    pipeline.submit(b"x")


def test_a_closed_pipeline_takes_no_more_and_finishes_what_it_has() -> None:
    pipeline = new_pipeline()
    call = pipeline.submit(b"x")
    pipeline.close("demoted")
    with pytest.raises(Unavailable, match="demoted"):
        pipeline.submit(b"x")
    with pytest.raises(Unavailable, match="demoted"):
        pipeline.say(b"x")
    pipeline.feed(b"+OK\r\n")
    assert call.reply == b"OK"


def test_the_kind_of_failure_is_kept() -> None:
    pipeline = new_pipeline()
    call = pipeline.submit(b"x")
    pipeline.fail(ReplyOverdue, "no reply")
    assert isinstance(call.reply, ReplyOverdue)


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 400 Bad Request\r\n", b"+nobody asked\r\n", b"%1\r\n*1\r\n+a\r\n+b\r\n"]
)
def test_what_is_no_reply_to_a_command_ends_the_conversation(nonsense: bytes) -> None:
    with pytest.raises(InvalidResponse):
        new_pipeline().feed(nonsense)
