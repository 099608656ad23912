"""The reference page of the protocol, made from its AsyncAPI document.

python -m portfolio_trio.protocol.reference > docs/protocol.md
"""

from __future__ import annotations

import json
import sys
from itertools import chain
from typing import TYPE_CHECKING, Final

from portfolio_trio.protocol.asyncapi import document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portfolio_trio.protocol.schemas import Json

_INTRODUCTION: Final = """\
# The protocol

`ws://HOST:PORT/ws/{session_id}`, subprotocol `%(x-subprotocol)s`. This page is generated from the models that
parse and write the messages (`python -m portfolio_trio.protocol.reference`). For programs,
`portfolio_trio.protocol.asyncapi.document()` gives the same as an AsyncAPI 3.0 document. The numbers are
defined in [metrics](metrics.md).

%(description)s

## Order of messages

- The state comes first, then events, in the same order on every socket of the session.
- A run begins with `analysis_started`. Then follow one `analysis_result` or `metric_error` for each of its
  `metrics`, as they finish, and one of `analysis_completed`, `analysis_cancelled` and `analysis_failed`,
  after which no message of the run arrives. A run that ends before it has its snapshot never sends
  `analysis_started`.
- Each run that a socket has seen start ends exactly once, and in the same way on every socket of the
  session, on every worker. (A state with the run as `current_analysis` counts as its start, and no
  `analysis_started` follows.) A run that is replaced by another ends before the other one starts.
- The `version` of `portfolio` never decreases on a socket, in events and answers alike. If two changes come
  together, the older state may be left out. If another socket's change overtakes the answer to a request,
  the answer has the newest state: it means that the request is done, and its `version` is that of the
  request or a later one.
- New holdings are shown when the run on the old ones has ended, and before one on them starts.
  `current_analysis` is the run that this socket has seen start but not end.
- A session that expires is created again at the next request of any of its sockets. Each socket is told
  once, with the `error` `session_expired`: a socket with the subprotocol at the next market update at the
  latest, and it gets the new state when there is one; any other as the answer to its next request. Then
  versions and run ids start again.
- If the store has lost its newest changes (a lagging replica took over), the next `portfolio` has the
  holdings that are left, with a `version` above all earlier ones; results that were sent may be lost.
- `analysis_cancelled` gives the reason: `switched` (the same socket asked for another), `superseded`
  (another socket did), `cancelled` (a client sent `cancel`), `portfolio_changed` (holdings or prices
  changed; it starts again by itself, with a new `run_id` and the old `id`), `disconnected` (the socket that
  asked is gone), `draining` (the server is shutting down).
- `portfolio_update` is the latest value of the holdings that were shown last: a slow client skips to the
  newest. Results and the ends of runs are never skipped; a client that falls too far behind is closed with
  1013.
"""


def page() -> str:
    """The whole page, as Markdown."""
    content = document()
    head = _INTRODUCTION % {**content, "description": content["info"]["description"]}
    return "\n".join(
        chain(
            [head],
            ["## What a client sends", ""],
            *(_section(content, name) for name in content["operations"] if name != "events"),
            ["## What the server sends", ""],
            *(_section(content, _last(each)) for each in content["operations"]["events"]["messages"]),
            *(_section(content, name) for name in _bare_answers(content)),
            ["## Parts of messages", ""],
            *(_part(content, name) for name in _parts(content)),
            _table("Error codes", "retryable", content["x-error-codes"]),
            _table("Close codes", "reconnect", content["x-close-codes"]),
        )
    )


def _bare_answers(content: Json) -> list[str]:
    """Messages that are only answers."""
    operations = content["operations"]
    told = {*operations, *map(_last, operations["events"]["messages"])}
    return [name for name in content["components"]["messages"] if name not in told]


def _parts(content: Json) -> list[str]:
    """Schemas that only occur inside messages."""
    whole = {_last(message["payload"]) for message in content["components"]["messages"].values()}
    return [name for name in content["components"]["schemas"] if name not in whole]


def _section(content: Json, name: str) -> Iterator[str]:
    message = content["components"]["messages"][name]
    yield from (f"### `{name}`", "", message["summary"], "")
    operation = content["operations"].get(name)
    if operation is not None:
        answers = ", ".join(f"[`{_last(each)}`](#{_last(each)})" for each in operation["reply"]["messages"])
        yield from (f"Answered with {answers}.", "")
    yield from ("```json", json.dumps(message["examples"][0]["payload"]), "```", "")
    yield from _fields(content["components"]["schemas"][_last(message["payload"])])


def _part(content: Json, name: str) -> Iterator[str]:
    schema = content["components"]["schemas"][name]
    yield from (f"### {name}", "", schema.get("description", "").partition("\n")[0], "")
    if "properties" in schema:
        yield from _fields(schema)
    else:
        yield from (f"{_type(schema)}", "")


def _fields(schema: Json) -> Iterator[str]:
    yield from ("| field | type | always | |", "|---|---|---|---|")
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        always = "yes" if name in required else ""
        default = f"default `{json.dumps(field['default'])}`" if field.get("default") is not None else ""
        notes = "; ".join(filter(None, (_description(field), default)))
        yield f"| `{name}` | {_type(field)} | {always} | {notes} |"
    yield ""


def _description(field: Json) -> str:
    """The description of a field, or of its one alternative to null."""
    branches = (field, *field.get("anyOf", ()))
    return next((each["description"] for each in branches if "description" in each), "")


def _type(schema: Json) -> str:  # noqa: PLR0911 - a line for each shape
    match schema:
        case {"$ref": _}:
            return f"[{_last(schema)}](#{_last(schema).lower()})"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"anyOf": choices}:
            return " or ".join(map(_type, choices))
        case {"type": "array", "items": items}:
            return f"array of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case _:
            return str(schema["type"])


def _table(title: str, flag: str, rows: list[Json]) -> Iterator[str]:
    yield from (f"## {title}", "", f"| code | {flag} | |", "|---|---|---|")
    yield from (f"| `{row['code']}` | {'yes' if row[flag] else 'no'} | {row['meaning']} |" for row in rows)
    yield ""


def _last(reference: Json) -> str:
    return str(reference["$ref"].rpartition("/")[2])


if __name__ == "__main__":
    sys.stdout.write(page())
