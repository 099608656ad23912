"""Ids of new sessions, which cannot be guessed."""

from __future__ import annotations

import secrets
from typing import Final

_RANDOM_BYTES: Final = 16


def new_session_id() -> str:
    """Return 128 random bits as 22 characters that need no escaping in a URL."""
    return secrets.token_urlsafe(_RANDOM_BYTES)
