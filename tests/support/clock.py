"""Clocks that only a test can move."""

from __future__ import annotations

from typing import Final

import trio

START: Final = 1_795_000_000.0
"""2026-11-18T11:06:40Z, in seconds since 1970."""


class ManualClock:
    """A wall clock: call it for the time, `move` it, backwards too."""

    def __init__(self, start: float = START) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += seconds


def virtual_wall_time() -> float:
    """Wall time that follows Trio's clock, hence `trio.testing.MockClock`."""
    return START + trio.current_time()
