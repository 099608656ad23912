"""The messages of the protocol as TypeScript types, made of its AsyncAPI document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portfolio_trio.protocol.schemas import Json

_HEAD: Final = """\
// portfolio-trio %(version)s: what goes over ws://HOST:PORT/ws/{session_id}, subprotocol %(subprotocol)s.
// Made by `portfolio-trio types`; do not edit.
"""
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def types(document: Json) -> str:
    """The types of every message and of its parts.

    ``ClientMessage`` is what may be sent, told apart by ``action``; ``ServerMessage`` is what arrives, told
    apart by ``type``, and results by ``metric`` as well.

    Args:
        document: As `portfolio_trio.protocol.asyncapi.document` makes it.
    """
    return "\n".join(_lines(document))


def _lines(document: Json) -> Iterator[str]:
    yield _HEAD % {"version": document["info"]["version"], "subprotocol": document["x-subprotocol"]}
    messages = document["components"]["messages"]
    requests = [name for name in document["operations"] if name != "events"]
    yield from _alias("ClientMessage", "All that a client may send.", [messages[name] for name in requests])
    answers = [message for name, message in messages.items() if name not in requests]
    yield from _alias("ServerMessage", "All that the server sends.", answers)
    for name, schema in document["components"]["schemas"].items():
        yield from _declaration(name, schema)


def _alias(name: str, description: str, messages: list[Json]) -> Iterator[str]:
    yield from _comment(description)
    yield f"export type {name} ="
    yield from (f"  | {_last(message['payload']['$ref'])}" for message in messages)
    yield "  ;\n"


def _declaration(name: str, schema: Json) -> Iterator[str]:
    yield from _comment(schema.get("description", ""))
    if "properties" not in schema:
        yield f"export type {name} = {_type(schema)};\n"
        return
    yield f"export interface {name} {{"
    required = schema.get("required", ())
    for field, each in schema["properties"].items():
        yield from (f"  {line}" for line in _comment(each.get("description", "")))
        key = field if _NAME.fullmatch(field) else json.dumps(field)
        yield f"  {key}{'' if field in required else '?'}: {_type(each)};"
    yield "}\n"


def _comment(text: str) -> Iterator[str]:
    lines = text.strip().replace("*/", "* /").splitlines()
    if len(lines) == 1:
        yield f"/** {lines[0]} */"
    elif lines:
        yield "/**"
        yield from (f" * {line}".rstrip() for line in lines)
        yield " */"


def _type(schema: Json) -> str:  # noqa: PLR0911 - a line for each shape
    match schema:
        case {"$ref": reference}:
            return _last(reference)
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"oneOf": choices} | {"anyOf": choices}:
            return " | ".join(map(_type, choices))
        case {"type": "array", "items": items}:
            return f"Array<{_type(items)}>"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"Record<string, {_type(values)}>"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": "integer"}:
            return "number"
        case {"type": ("number" | "string" | "boolean" | "null") as plain}:
            return str(plain)
        case _:
            return "unknown"


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]
