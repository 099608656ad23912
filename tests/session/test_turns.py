"""Turns are taken in the order of requests, and never more at once than allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.session.turns import Turns


class Someone:
    def __init__(self, *, wants: bool = True) -> None:
        self.wants = wants
        self.turns = 0

    def take_turn(self) -> bool:
        self.turns += self.wants
        return self.wants


def test_one_after_another() -> None:
    turns, people = Turns(2), [Someone() for _ in range(5)]
    for each in people:
        turns.line_up(each)
    assert [each.turns for each in people] == [1, 1, 0, 0, 0]
    turns.give_back()
    assert [each.turns for each in people] == [1, 1, 1, 0, 0]
    people[3].wants = False
    turns.give_back()
    assert [each.turns for each in people] == [1, 1, 1, 0, 1]
    assert turns.free == 0
    turns.give_back()
    turns.give_back()
    assert turns.free == 2


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=30))
def test_all_who_want_one_get_one_and_all_come_back(at_once: int, wanted: list[bool]) -> None:
    turns, people = Turns(at_once), [Someone(wants=each) for each in wanted]
    for each in people:
        turns.line_up(each)
    assert sum(each.turns for each in people) == min(at_once, sum(wanted))
    for _ in range(sum(wanted)):
        turns.give_back()
    assert [each.turns for each in people] == [int(each) for each in wanted]
    assert turns.free == at_once
