"""The key of a session: its braces keep all of a session in one slot of a cluster."""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "portfolio:{"
_SUFFIX: Final = "}"

KEY_PATTERN: Final = _PREFIX + "*" + _SUFFIX
"""Glob that finds every session."""


def key_of(session_id: str) -> str:
    """Return the key of a session."""
    return f"{_PREFIX}{session_id}{_SUFFIX}"


def session_of(key: bytes) -> str | None:
    """Return the session of a key; None if the key cannot be one that :func:`key_of` made."""
    try:
        return key.decode().removeprefix(_PREFIX).removesuffix(_SUFFIX)
    except UnicodeDecodeError:
        return None
