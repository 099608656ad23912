"""The schemas of the protocol's messages, each with its own name, so that types can be generated.

Type generators support a union whose members differ in one constant. So the result of each metric is a
separate schema, selected by `metric`, and so is the form in which a document keeps it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from portfolio_trio.protocol import decisions
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.examples import MESSAGES, REQUESTS
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisResult,
    AnalysisStarted,
    Error,
    Message,
    Results,
)
from portfolio_trio.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portfolio_trio.protocol.requests import Request

# JSON text, which has no schema here.
Json = dict[str, Any]

REF: Final = "#/components/schemas"
RECORDED: Final = "RecordedResult"

CANCEL_REASONS: Final = (
    "switched",
    "cancelled",
    "superseded",
    "portfolio_changed",
    "disconnected",
    "draining",
)

# Models in which null values are written out.
_WITH_NULLS: Final = frozenset(
    name for name, kind in vars(decisions).items() if isinstance(kind, type) and issubclass(kind, BaseModel)
)

# JavaScript already has an Error.
_RENAMED: Final = {Error.__name__: "ErrorMessage"}


def schema_name(kind: type[BaseModel]) -> str:
    """The name of a model's schema."""
    return _RENAMED.get(kind.__name__, kind.__name__)


def frame_of(message: Request | Message) -> Json:
    """The wire form, as JSON."""
    text = message.to_json() if isinstance(message, Message) else message.model_dump_json(exclude_none=True)
    frame: Json = json.loads(text)
    return frame


def schemas(details: Mapping[str, type[BaseModel] | None], *, more_codes: bool = False) -> Json:
    """Schemas of the requests to the server and of its messages, by name.

    Args:
        details: The model of each metric's detail, by metric, None if it has none; empty means any metrics.
        more_codes: Whether metrics may have error codes that are not in the table.
    """
    template = f"{REF}/{{model}}"
    _, read = models_json_schema([(type(each), "validation") for each in REQUESTS], ref_template=template)
    kinds = [*map(type, MESSAGES), *(kind for kind in details.values() if kind is not None)]
    _, written = models_json_schema([(kind, "serialization") for kind in kinds], ref_template=template)
    sent = {
        name: _without_optional_nulls(schema) if name in _WITH_NULLS else _without_nulls(schema)
        for name, schema in written["$defs"].items()
        if name != Targets.__name__
    }
    # Within a portfolio, targets that are not set are null; within a receipt they are left out.
    sent[Targets.__name__] = written["$defs"][Targets.__name__]
    # The base class of details says nothing about any of them.
    sent.pop("BaseModel")
    for message in MESSAGES:
        _require(sent[type(message).__name__], message)
    _name_parts(sent, details)
    sent |= _results(sent[AnalysisResult.__name__], details)
    sent |= _parts(details, more_codes=more_codes)
    found = _tidy({**read["$defs"], **sent})
    request_id: Json = {}
    for schema in found.values():
        if "id" in schema.get("properties", {}):
            request_id = _without_null(schema["properties"]["id"])
            schema["properties"]["id"] = _ref("RequestId")
    found["RequestId"] = request_id
    found |= _hoisted(found)
    return {name: found[name] for name in sorted(found)}


def _hoisted(found: Json) -> Json:
    """Enumerations inside a schema, each with its own name; fields refer to them."""
    hoisted = {}
    for name, schema in found.items():
        for field, each in schema.get("properties", {}).items():
            if "enum" in each:
                own = name + _camel(field)
                hoisted[own] = {"description": f"`{field}` of {name}.", **each}
                schema["properties"][field] = _ref(own)
    return hoisted


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _ref(name: str) -> Json:
    return {"$ref": f"{REF}/{name}"}


def _union(members: Iterable[str], description: str) -> Json:
    # The constants distinguish the members. If `discriminator` were added, a common type generator would give
    # each constant an anonymous type.
    return {"description": description, "oneOf": [_ref(name) for name in members]}


# --- parts with a name ---------------------------------------------------------------------------------


def _parts(details: Mapping[str, object], *, more_codes: bool) -> Json:
    codes: Json = {"type": "string", "enum": [code.value for code in ErrorCode]}
    if more_codes:
        codes = {"anyOf": [codes, {"type": "string", "description": "of a metric that is not built in"}]}
    metrics: Json = {"enum": list(details)} if details else {}
    return {
        "ErrorCode": {"description": "The code of an error.", **codes},
        "CancelReason": {
            "description": "Why a run was cancelled.",
            "type": "string",
            "enum": list(CANCEL_REASONS),
        },
        "MetricName": {"description": "The name of a metric.", "type": "string", **metrics},
    }


def _name_parts(sent: Json, details: Mapping[str, object]) -> None:
    """Make fields refer to the named schemas."""
    for message in MESSAGES:
        fields = sent[type(message).__name__]["properties"]
        if "code" in fields:
            fields["code"] = _ref("ErrorCode")
        if "metric" in fields:
            fields["metric"] = _ref("MetricName")
    sent[AnalysisCancelled.__name__]["properties"]["reason"] = _ref("CancelReason")
    sent[AnalysisStarted.__name__]["properties"]["metrics"] = {"type": "array", "items": _ref("MetricName")}
    sent[Results.__name__]["properties"]["results"] = {"type": "array", "items": _ref(RECORDED)}
    if not details:
        detail = {
            "type": "object",
            "description": "more about the value; its fields depend on the metric",
        }
        sent[AnalysisResult.__name__]["properties"]["detail"] = detail


# --- a result of each metric ---------------------------------------------------------------------------


def _results(every: Json, details: Mapping[str, type[BaseModel] | None]) -> Json:
    """The schemas of results as they are sent, and as the session's document keeps them."""
    if not details:
        return {RECORDED: {**_without_envelope(every), "description": "A result as it is stored."}}
    found: Json = {}
    names = {metric: _camel(metric) for metric in details}
    for metric, kind in details.items():
        schema = _of_metric(every, metric, kind)
        found[f"{names[metric]}Result"] = schema
        found[f"Recorded{names[metric]}"] = {
            **_without_envelope(schema),
            "description": f"`{metric}` of one run, as it is stored.",
        }
    sent = [f"{name}Result" for name in names.values()]
    kept = [f"Recorded{name}" for name in names.values()]
    found[AnalysisResult.__name__] = _union(sent, every["description"])
    found[RECORDED] = _union(kept, "A result as the session's document stores it.")
    return found


def _of_metric(every: Json, metric: str, kind: type[BaseModel] | None) -> Json:
    fields = {**every["properties"], "metric": {"type": "string", "const": metric}}
    required = every["required"]
    if kind is None:
        del fields["detail"]
    else:
        fields["detail"] = _ref(kind.__name__)
        required = [*required, "detail"]
    return {**every, "description": f"`{metric}` of one run.", "properties": fields, "required": required}


def _without_envelope(schema: Json) -> Json:
    fields = {name: each for name, each in schema["properties"].items() if name not in {"type", "id"}}
    required = [name for name in schema["required"] if name in fields]
    return {**schema, "properties": fields, "required": required}


# --- what is on the wire, and what is not --------------------------------------------------------------


def _without_nulls(schema: Json) -> Json:
    """The schema of a model whose empty fields are left out: a field that could be null is optional."""
    properties = schema.get("properties", {})
    required = [name for name in schema.get("required", ()) if not _nullable(properties[name])]
    kept = {name: _without_null(each) if _nullable(each) else each for name, each in properties.items()}
    return {**schema, "properties": kept, "required": required}


def _without_optional_nulls(schema: Json) -> Json:
    """The schema of a model whose missing numbers are null, and whose unset options are left out."""
    required = schema.get("required", ())
    properties = {
        name: _without_null(each) if _nullable(each) and name not in required else each
        for name, each in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def _nullable(schema: Json) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _without_null(schema: Json) -> Json:
    rest = [each for each in schema["anyOf"] if each != {"type": "null"}]
    more = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**rest[0], **more} if len(rest) == 1 else {**more, "anyOf": rest}


def _require(schema: Json, example: Message) -> None:
    """Make the schema require the fields that even the sparsest frame has; null only where that has null."""
    optional = {name: None for name, field in type(example).model_fields.items() if field.default is None}
    sparsest = frame_of(example.model_copy(update=optional))
    schema["required"] = list(sparsest)
    for name, value in sparsest.items():
        property_ = schema["properties"][name]
        property_.pop("default", None)
        if value is None:
            schema["properties"][name] = {"anyOf": [property_, {"type": "null"}]}


def _tidy(found: Json) -> Json:
    """The schemas by their names in the document, without titles that only repeat field names."""
    text = json.dumps(_without_titles(found))
    for old, new in _RENAMED.items():
        text = text.replace(f'"{REF}/{old}"', f'"{REF}/{new}"').replace(f'"{old}": {{', f'"{new}": {{')
    tidied: Json = json.loads(text)
    return tidied


def _without_titles(schema: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    match schema:
        case dict():
            return {
                key: _without_titles(value)
                for key, value in schema.items()
                if not (key == "title" and isinstance(value, str))
            }
        case list():
            return [_without_titles(value) for value in schema]
        case _:
            return schema
