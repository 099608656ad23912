"""Turns for runs that start by themselves, in the order in which they became due."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol


class InLine(Protocol):
    """A waiter for a turn."""

    def take_turn(self) -> bool:
        """Take the turn; False if it is no longer wanted."""
        ...


class Turns:
    """A number of concurrent turns; a waiter is woken only when there is one for it.

    At a tick all followers line up at once: waking a thousand tasks only to make them wait again would delay
    all others. Each is in line only once, so the line is at most as long as the number of followers.

    Args:
        at_once: How many at a time.
    """

    def __init__(self, at_once: int) -> None:
        self.free = at_once
        self._line: Final[deque[InLine]] = deque()

    def line_up(self, who: InLine) -> None:
        """Give a turn when there is one: now, or after the earlier waiters."""
        self._line.append(who)
        self._hand_out()

    def give_back(self) -> None:
        """Record that a turn is over."""
        self.free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self.free and self._line:
            if self._line.popleft().take_turn():
                self.free -= 1
