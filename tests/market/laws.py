"""The Hypothesis settings of this folder."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

LAW: Final = settings(deadline=None, derandomize=True)
"""No time limit per example, as machines are noisy; the same examples in every run."""
