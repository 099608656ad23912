"""A worker's knowledge of a run on another one: a table of decisions, and that it never goes back."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.hub.remote_run import RemoteState


class Known(NamedTuple):
    """What is known of a session: the newest run, the run that is open, the version of the holdings."""

    newest: int
    open: int | None
    version: int


def known(remote: RemoteState) -> Known:
    return Known(remote.newest, None if remote.run is None else remote.run.run_id, remote.version)


def at_run_5() -> RemoteState:
    """Run 5 is open on another worker, on version 3."""
    remote = RemoteState()
    assert remote.outdate(3) is None
    assert remote.follow(5, "AAPL", 3, "two") is None
    return remote


def test_at_first_nothing_is_known() -> None:
    remote = RemoteState()
    assert known(remote) == Known(0, None, 0)
    assert (remote.others, remote.owner) == ((), "")
    assert remote.end() is None


# What happens while run 5 is open on version 3; the run that is over by it; what is known then.
TABLE = [
    ("follow 6 on 3", 5, Known(6, 6, 3)),
    ("follow 6 on 4", 5, Known(6, 6, 3)),
    # It works on holdings that are known to be outdated: it is about to be started again.
    ("follow 6 on 2", 5, Known(6, None, 3)),
    ("follow 5 on 3", None, Known(5, 5, 3)),
    ("follow 4 on 9", None, Known(5, 5, 3)),
    ("claim 6", 5, Known(6, None, 3)),
    ("cancel 4", None, Known(5, 5, 3)),
    ("cancel 5", 5, Known(5, None, 3)),
    ("cancel 6", 5, Known(6, None, 3)),
    ("outdate 2", None, Known(5, 5, 3)),
    ("outdate 3", None, Known(5, 5, 3)),
    ("outdate 4", 5, Known(5, None, 4)),
    ("end", 5, Known(5, None, 3)),
]


@pytest.mark.parametrize(("what", "over", "then"), TABLE, ids=[row[0] for row in TABLE])
def test_decisions(what: str, over: int | None, then: Known) -> None:
    remote = at_run_5()
    kind, *words = what.split()
    numbers = [int(word) for word in words if word.isdigit()]
    if kind == "follow":
        ended = remote.follow(numbers[0], "MSFT", numbers[1], "three")
    elif kind == "end":
        ended = remote.end()
    else:
        ended = getattr(remote, kind)(*numbers)
    assert (None if ended is None else (ended.run_id, ended.ticker)) == (over and (over, "AAPL"))
    assert known(remote) == then


def test_the_open_run_is_known_with_its_owner() -> None:
    remote = at_run_5()
    assert remote.is_open(5)
    assert not remote.is_open(4)
    assert (remote.owner, remote.run_version) == ("two", 3)
    remote.end()
    assert not remote.is_open(5)
    assert remote.owner == ""


def test_a_run_that_was_cancelled_before_it_was_known_does_not_open() -> None:
    remote = RemoteState()
    assert remote.cancel(5) is None
    assert remote.follow(5, "AAPL", 1, "two") is None
    assert not remote.is_open(5)


def test_a_version_that_came_before_its_run_outdates_it() -> None:
    remote = RemoteState()
    remote.outdate(4)
    remote.follow(1, "AAPL", 3, "two")
    assert known(remote) == Known(1, None, 4)


NEWS = st.lists(
    st.one_of(
        st.tuples(st.just("follow"), st.integers(1, 9), st.integers(1, 5)),
        st.tuples(st.sampled_from(["claim", "cancel"]), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("outdate"), st.integers(1, 5), st.just(0)),
        st.tuples(st.just("end"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(NEWS)
def test_what_is_known_never_goes_back(news: list[tuple[str, int, int]]) -> None:
    remote, over = RemoteState(), set[int]()
    for kind, first, second in news:
        before = known(remote)
        if kind == "follow":
            ended = remote.follow(first, "AAPL", second, "two")
        elif kind == "end":
            ended = remote.end()
        elif kind == "claim" and first < remote.newest:
            continue  # refused before it comes here
        else:
            ended = getattr(remote, kind)(first)
        now = known(remote)
        assert now.newest >= before.newest
        assert now.version >= before.version
        if now.open is not None:
            assert now.open == now.newest
            assert now.open not in over
            assert remote.run_version >= now.version
        # The open run is reported as over at the moment at which it is, and only then.
        assert (None if ended is None else ended.run_id) == (None if before.open == now.open else before.open)
        if ended is not None and ended.run_id is not None:
            over.add(ended.run_id)
