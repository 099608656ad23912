"""A named Lua script."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script; loaded on every connection before that connection is used.

    Attributes:
        name: For error messages.
        source: The Lua text.
        sha: SHA-1 of the UTF-8 source in lower-case hex, for EVALSHA.
    """

    name: str
    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)
