"""JSON in which every number is as it may be written: see `portfolio_trio.canonical`."""

from __future__ import annotations

from functools import cache
from json.encoder import encode_basestring_ascii
from typing import Final

from portfolio_trio.canonical import canonical_text

# Between these every number is written with 15 digits and nothing else.
_LEAST: Final = 1e-8
_MOST: Final = 1e15


def exact_json(value: object) -> str:  # noqa: PLR0911 - a line for each shape
    """JSON text of strings, numbers, booleans, None, mappings, lists and named tuples.

    A named tuple is an object of its fields; an empty mapping called ``errors`` is left out of it.

    Raises:
        TypeError: It is something else.
        ValueError: A number is infinite or none.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return canonical_text(value)
        case str():
            return encode_basestring_ascii(value)
        case int():
            return str(int(value))
        case dict():
            members = (f"{exact_json(name)}:{exact_json(each)}" for name, each in value.items())
            return "{" + ",".join(members) + "}"
        case tuple() if hasattr(value, "_fields"):
            return _object(value)
        case list() | tuple():
            return "[" + ",".join(map(exact_json, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON here")


def _object(row: tuple[object, ...]) -> str:
    """A named tuple; one of a name and ordinary numbers alone, as rows of tables are, is written at once."""
    kind = type(row)
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    if fields[-1] == "errors" and not row[-1]:
        fields, row = fields[:-1], row[:-1]
        first, *numbers = row
        plain = all(type(each) is float and _LEAST <= abs(each) < _MOST for each in numbers)
        if plain and type(first) is str:
            return _template(fields) % (encode_basestring_ascii(first), *numbers)
    members = (f'"{name}":{exact_json(each)}' for name, each in zip(fields, row, strict=True))
    return "{" + ",".join(members) + "}"


@cache
def _template(fields: tuple[str, ...]) -> str:
    first, *numbers = fields
    return f'{{"{first}":%s,' + ",".join(f'"{name}":%.15g' for name in numbers) + "}"
