"""Who starts by itself takes turns, in the order in which there was something new."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol


class InLine(Protocol):
    """Somebody who waits for a turn."""

    def take_turn(self) -> bool:
        """Take it; False for who does not want it any more."""
        ...


class Turns:
    """A number of turns; nobody who is in line is woken before there is one.

    At a tick all who follow line up at once: to wake a thousand tasks only to have them wait again would hold
    up everybody else. Each is in line once, so the line is no longer than there are followers.

    Args:
        at_once: How many.
    """

    def __init__(self, at_once: int) -> None:
        self.free = at_once
        self._line: Final[deque[InLine]] = deque()

    def line_up(self, who: InLine) -> None:
        """Give a turn when there is one: now, or when those before have had theirs."""
        self._line.append(who)
        self._hand_out()

    def give_back(self) -> None:
        """A turn is over."""
        self.free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self.free and self._line:
            if self._line.popleft().take_turn():
                self.free -= 1
