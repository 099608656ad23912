"""Names that occur twice in one JSON object: a parser would silently keep the last one."""

from __future__ import annotations

import json


class _RepeatedError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def repeated_name(text: str | bytes, names: int) -> str | None:
    """The first name that occurs twice in an object of a JSON text; None if there is none.

    Args:
        text: Valid JSON.
        names: How many names a parser found in all its objects. Each needs a colon, so a text with no more
            colons than that repeats none, and is not parsed again.
    """
    if text.count(":" if isinstance(text, str) else b":") <= names:  # type: ignore[arg-type]
        return None
    try:
        # Numbers stay text: some have more digits than Python reads.
        json.loads(text, object_pairs_hook=_check, parse_int=str, parse_float=str)
    except _RepeatedError as repeated:
        return repeated.name
    return None


def _check(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _RepeatedError(name)
        seen.add(name)
