"""The AsyncAPI document and the reference page, against the official schema, the models and a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import trio
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.metrics import BUILT_IN
from portfolio_trio.protocol import asyncapi, decisions, messages, reference, schemas, typescript
from portfolio_trio.protocol.closes import CLOSES, worth_reconnecting
from portfolio_trio.protocol.codes import ERRORS, CloseCode, ErrorCode
from portfolio_trio.protocol.events import parse_message
from portfolio_trio.protocol.examples import MESSAGES, REQUESTS
from portfolio_trio.protocol.messages import Message
from portfolio_trio.protocol.requests import Request, RequestError, parse_request
from tests.support.app import METRICS, open_app

if TYPE_CHECKING:
    from trio.testing import MockClock

    from portfolio_trio.protocol.schemas import Json

SCHEMA = json.loads((Path(__file__).parents[1] / "support" / "asyncapi" / "3.0.0.json").read_text())
DOCUMENT = asyncapi.document(details={name: metric.detail for name, metric in BUILT_IN.items()})
KINDS = {
    name: each
    for name, each in {**vars(messages), **vars(decisions)}.items()
    if isinstance(each, type) and each is not decisions.Decision
}


def check(name: str, frame: Json, document: Json = DOCUMENT) -> None:
    """Validate a frame as the message of this name."""
    payload = document["components"]["messages"][name]["payload"]
    Draft7Validator({**payload, "components": document["components"]}).validate(frame)


def refuses(name: str, frame: Json) -> bool:
    with pytest.raises(ValidationError):
        check(name, frame)
    return True


@pytest.mark.parametrize("content", [asyncapi.document(), DOCUMENT, asyncapi.document(host="h", secure=True)])
def test_the_document_is_valid_asyncapi(content: Json) -> None:
    Draft7Validator(SCHEMA).validate(content)
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_official_schema_would_notice() -> None:
    broken = json.loads(json.dumps(DOCUMENT))
    broken["operations"]["analyze"]["action"] = "subscribe"
    with pytest.raises(ValidationError):
        Draft7Validator(SCHEMA).validate(broken)


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))
    assert references
    for place in references:
        found: Any = DOCUMENT
        for part in place.split("/"):
            found = found[part]


def test_messages_of_operations_are_those_of_the_channel() -> None:
    channel = DOCUMENT["channels"]["session"]["messages"]
    assert {name: f"#/components/messages/{name}" for name in channel} == {
        name: each["$ref"] for name, each in channel.items()
    }
    for name, operation in DOCUMENT["operations"].items():
        assert operation["action"] == ("send" if name == "events" else "receive")
        answers = operation["reply"]["messages"] if operation["action"] == "receive" else []
        for each in [*operation["messages"], *answers]:
            assert each["$ref"].removeprefix("#/channels/session/messages/") in channel


def test_every_model_of_the_protocol_is_in_it_and_has_an_example() -> None:
    assert {type(each) for each in REQUESTS} == set(get_args(Request)) == set(asyncapi.ANSWERS)
    sent = {each for each in KINDS.values() if issubclass(each, Message) and each is not Message}
    assert {type(each) for each in MESSAGES} == sent
    told = {*asyncapi.EVENTS, *(answer for answers in asyncapi.ANSWERS.values() for answer in answers)}
    assert told == sent
    names = {asyncapi.name_of(each) for each in (*REQUESTS, *MESSAGES)}
    assert set(DOCUMENT["components"]["messages"]) == names
    assert len(names) == len(REQUESTS) + len(MESSAGES)


@pytest.mark.parametrize("example", [*REQUESTS, *MESSAGES], ids=asyncapi.name_of)
def test_examples_fit_their_schemas_and_their_models(example: Message | Request) -> None:
    name = asyncapi.name_of(example)
    (shown,) = DOCUMENT["components"]["messages"][name]["examples"]
    check(name, shown["payload"])
    text = json.dumps(shown["payload"])
    if isinstance(example, Message):
        assert json.loads(parse_message(text).to_json()) == shown["payload"]
    else:
        assert parse_request(text) == example


@pytest.mark.parametrize("example", MESSAGES, ids=asyncapi.name_of)
def test_the_schema_requires_what_is_always_there(example: Message) -> None:
    name, frame = asyncapi.name_of(example), schemas.frame_of(example)
    schema = DOCUMENT["components"]["schemas"][schemas.schema_name(type(example))]
    if isinstance(example, messages.AnalysisResult):
        schema = DOCUMENT["components"]["schemas"]["ConcentrationResult"]
    for field in schema["properties"]:
        rest = {key: value for key, value in frame.items() if key != field}
        if field in schema["required"]:
            assert refuses(name, rest)
        else:
            check(name, rest)
    assert refuses(name, {**frame, "type": "another"})


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("analyze", {"action": "analyze"}),
        ("analyze", {"action": "analyze", "ticker": "A B"}),
        ("analyze", {"action": "analyze", "ticker": "AAPL", "id": 1.5}),
        ("set_holdings", {"action": "set_holdings", "holdings": {"AAPL": "1"}}),
        ("trade", {"action": "trade", "ticker": "AAPL", "shares": 1e16}),
        ("get_results", {"action": "get_results", "limit": 0}),
    ],
)
def test_what_the_schema_refuses_the_server_refuses(name: str, frame: Json) -> None:
    assert refuses(name, frame)
    with pytest.raises(RequestError):
        parse_request(json.dumps(frame))


@pytest.mark.trio
async def test_what_the_real_server_sends_fits_the_document(autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=5, freshness_tolerance=1.0) as app:
        client, subscriber = await app.connect(events=True), await app.connect(events=True)
        requests: tuple[Json, ...] = (
            {"action": "analyze", "ticker": "AAPL", "id": 1, "receipt": True},
            {"action": "analyze", "ticker": "JPM", "id": 2},
            {"action": "cancel"},
            {"action": "get_results"},
            {"action": "set_holdings", "holdings": {"MSFT": 1}},
            {"action": "set_holdings", "holdings": {"MSFT": 1}, "version": 1, "id": "x"},
            {"action": "analyze", "ticker": "MSFT"},
            {"action": "cancel", "id": "y"},
            {"action": "set_targets", "weights": {"MSFT": 1, "JPM": 1}, "id": 3},
            {"action": "get_risk", "correlations": True, "receipt": True, "id": 4},
            {"action": "what_if", "trades": {"MSFT": -1, "JPM": 2}, "receipt": True, "id": 5},
            {"action": "what_if", "trades": {"MSFT": 1}},
            {"action": "plan", "to": "budgets", "cash": 100, "receipt": True, "id": 6},
            {"action": "get_history", "receipt": True, "id": 7},
        )
        for request in requests:
            name = {"what_if": "what_if_request", "plan": "plan_request"}.get(request["action"])
            check(name or request["action"], request)
            await client.socket.send_message(json.dumps(request))
            await trio.sleep(1)
        frames = [*await client.silence(10), *await subscriber.silence(10)]
        for frame in frames:
            check(frame["type"], frame)
        seen = {frame["type"] for frame in frames}
        assert seen == set(map(asyncapi.name_of, MESSAGES))
        assert {frame["metric"] for frame in frames if "detail" in frame and "metric" in frame} == set(
            METRICS
        )


def test_a_detail_is_that_of_its_metric() -> None:
    frame = schemas.frame_of(next(e for e in MESSAGES if isinstance(e, messages.AnalysisResult)))
    assert refuses("analysis_result", {**frame, "metric": "correlation"})
    # A document lists the metrics that are installed where it is made, and no others.
    assert refuses("analysis_result", {**frame, "metric": "one_of_a_plug_in"})
    plugged = asyncapi.document(details={"one_of_a_plug_in": None}, more_codes=True)
    bare = {**frame, "metric": "one_of_a_plug_in"}
    del bare["detail"]
    check("analysis_result", bare, plugged)
    failure = {"type": "metric_error", "ticker": "A", "metric": "one_of_a_plug_in", "detail": "", "run_id": 1}
    check("metric_error", {**failure, "code": "code_of_its_own"}, plugged)
    assert refuses("metric_error", {**failure, "metric": "momentum", "code": "code_of_its_own"})


def test_the_words_of_the_protocol_are_enums() -> None:
    parts = DOCUMENT["components"]["schemas"]
    assert parts["CancelReason"]["enum"] == list(EndReason)
    assert parts["ErrorCode"]["enum"] == list(ErrorCode)
    assert parts["MetricName"]["enum"] == list(BUILT_IN)


def test_what_is_recorded_is_typed_by_its_metric() -> None:
    results = asyncapi.name_of(messages.Results)
    frame = schemas.frame_of(next(e for e in MESSAGES if isinstance(e, messages.Results)))
    check(results, frame)
    (record,) = frame["results"]
    assert refuses(results, {**frame, "results": [{**record, "metric": "momentum"}]})
    assert refuses(results, {**frame, "results": [{**record, "value": None}]})


def test_typescript_has_a_type_for_every_schema() -> None:
    text = typescript.types(DOCUMENT)
    declared = re.findall(r"^export (?:interface|type) (\w+)", text, re.MULTILINE)
    assert set(declared) == {*DOCUMENT["components"]["schemas"], "ClientMessage", "ServerMessage"}
    assert len(declared) == len(set(declared))
    assert not re.search(r": .*\bunknown\b", text)
    for line in (
        'export type CancelReason = "switched" | "cancelled" |',
        "  detail: ConcentrationDetail;",
        '  metric: "concentration";',
        "  results: Array<RecordedResult>;",
        "  id?: RequestId;",
        "  | ErrorMessage",
        "  holdings: Record<string, number>;",
    ):
        assert line in text
    # A server with other metrics has types of them, too.
    assert 'metric: "custom";' in typescript.types(asyncapi.document(details={"custom": None}))


def test_the_tables_are_complete() -> None:
    assert [row["code"] for row in DOCUMENT["x-error-codes"]] == list(ErrorCode)
    assert [row["code"] for row in DOCUMENT["x-close-codes"]] == list(CloseCode)
    assert set(ERRORS) == set(ErrorCode)
    assert set(CLOSES) == set(CloseCode)
    assert [
        code for code in (1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013) if worth_reconnecting(code)
    ] == [
        1001,
        1006,
        1011,
        1012,
        1013,
    ]


def test_the_committed_page_is_the_generated_one() -> None:
    committed = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    assert committed == reference.page(), (
        "run: python -m portfolio_trio.protocol.reference > docs/protocol.md"
    )


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = reference.page()
    headings = {line.strip("#` ").lower().replace(" ", "-") for line in page.splitlines() if line[:1] == "#"}
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links
    assert links <= headings
