"""JSON in which every number is canonical: see `portfolio_trio.canonical`."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

from portfolio_trio.canonical import canonical_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class JsonText(str):
    """Text that is already JSON."""

    __slots__ = ()


def exact_json(value: object) -> str:
    """JSON text of strings, numbers, booleans, None, mappings, lists and named tuples.

    `JsonText` is inserted unchanged. A named tuple becomes an object of its fields; an empty mapping named
    ``errors`` is left out of it.

    Raises:
        TypeError: The value has another type.
        ValueError: A number is infinite or NaN.
    """
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _named_tuple(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON here")


def _list(values: Sequence[object]) -> str:
    return "[" + ",".join(map(exact_json, values)) + "]"


def _dict(members: Mapping[str, object]) -> str:
    return (
        "{"
        + ",".join([f"{encode_basestring_ascii(name)}:{exact_json(each)}" for name, each in members.items()])
        + "}"
    )


def _named_tuple(row: tuple[object, ...]) -> str:
    fields: tuple[str, ...] = type(row)._fields  # type: ignore[attr-defined]
    if fields[-1] == "errors" and not row[-1]:
        fields, row = fields[:-1], row[:-1]
    return _dict(dict(zip(fields, row, strict=True)))


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    float: canonical_text,
    str: encode_basestring_ascii,
    int: str,
    JsonText: str,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    dict: _dict,
    list: _list,
    tuple: _list,
}
