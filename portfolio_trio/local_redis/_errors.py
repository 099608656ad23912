"""The error of a local Redis that cannot start."""

from __future__ import annotations


class LocalRedisError(Exception):
    """There is no Redis to start, or it cannot run; the message is one line that says what to do."""
