"""How the log is written, and that each call of it names its event."""

from __future__ import annotations

import ast
import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from hypothesis import given, settings

import portfolio_trio
from portfolio_trio.logs import JsonFormatter, TextFormatter, write_log
from portfolio_trio.settings import Settings, SettingsError
from tests.test_escaping import harmless, texts

PACKAGE: Final = Path(portfolio_trio.__file__).parent
TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
METHODS: Final = {"debug", "info", "warning", "error", "exception", "log", "critical", "begins", "ends"}
LOGS: Final = re.compile(r"(^|\.)(log|logger|_log|shortage|left_behind|\w+_log)$")

# The beginning and the end of a condition have matching events.
PAIRS: Final = {
    "store_lost": "store_back",
    "other_prices": "same_prices",
    "leader_began": "leader_ended",
    "market_update_failed": "market_recovered",
    "sweep_errors": "sweep_errors_end",
    "ticks_skipped": "ticks_kept",
    "prices_stale_begin": "prices_stale_end",
}


def record(
    message: str, *args: object, error: BaseException | None = None, **fields: object
) -> logging.LogRecord:
    exc_info: Any = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("here", logging.WARNING, "x.py", 1, message, args, exc_info)
    vars(made).update(fields)
    return made


def test_a_line_of_text() -> None:
    line = TextFormatter(2).format(
        record("serving", event="serving", url="ws://x", workers=2, why="a b", session="s-1")
    )
    assert re.fullmatch(
        TIME + r' WARNING worker 2 here: serving url=ws://x workers=2 why="a b" session=s-1', line
    )
    assert re.fullmatch(TIME + r" WARNING here: all is well", TextFormatter().format(record("all is well")))


def test_a_line_of_json() -> None:
    line = JsonFormatter(2).format(
        record("tick %d", 5, event="sweep", tick_id=5, seconds=0.25, odd=math.nan, path=Path("/a"), ok=True)
    )
    content = json.loads(line)
    assert re.fullmatch(TIME, content.pop("time"))
    assert content == {
        "level": "warning",
        "event": "sweep",
        "message": "tick 5",
        "logger": "here",
        "worker": 2,
        "tick_id": 5,
        "seconds": 0.25,
        "odd": "nan",
        "path": "/a",
        "ok": True,
    }


@settings(max_examples=50)
@given(texts)
def test_no_text_of_others_forges_a_line(text: str) -> None:
    made = record("said %s", text, error=ValueError(text), event="x", said=text)
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["said"] == text[:1_000]
    first, *more = TextFormatter().format(made).split("\n")
    assert harmless(first)
    assert all(each.startswith("  | ") and harmless(each) for each in more)


async def _fail() -> None:
    async with trio.open_nursery() as outer, trio.open_nursery():
        outer.start_soon(_raise)


async def _raise() -> None:
    raise LookupError("the one cause")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_groups_of_one_are_shown_as_that_one(formatter: logging.Formatter) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        trio.run(_fail)
    line = formatter.format(record("it failed", error=raised.value))
    assert "LookupError: the one cause" in line
    assert "ExceptionGroup" not in line
    both = ExceptionGroup("two", [LookupError("one"), ValueError("other")])
    line = formatter.format(record("it failed", error=both))
    assert "LookupError: one" in line
    assert "ValueError: other" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_program_logs_so(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given_: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **options: given_.update(options))
    write_log("debug", form, worker=1)
    (handler,) = given_["handlers"]
    assert isinstance(handler.formatter, JsonFormatter if form == "json" else TextFormatter)
    assert given_["level"] == "DEBUG"
    log = logging.getLogger("portfolio_trio.access_log")
    assert not log.isEnabledFor(logging.INFO)
    write_log("info", form, access=True)
    assert log.isEnabledFor(logging.DEBUG)
    log.setLevel(logging.NOTSET)


def test_the_settings() -> None:
    assert Settings.read(["--log-level", "warning", "--log-format", "json"]).log_format == "json"
    with pytest.raises(SettingsError, match="--log-level"):
        Settings.read(["--log-level", "loud"])


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        # The client is a library: its user decides on the format of its log. What bounds lines hands on what
        # it is given.
        if "client" in path.parts or path.name == "log_throttle.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                of, _, method = name.rpartition(".")
                if method in METHODS and LOGS.search(of):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_each_line_of_the_log_names_its_event() -> None:
    own = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    found: dict[str, set[str]] = {}
    for place, call in calls():
        # A sentence without data: what is in a field is not said twice, and lines can be counted by it.
        assert [type(word) for word in call.args] == [ast.Constant], place
        assert "%" not in ast.literal_eval(call.args[0]), place
        extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
        assert isinstance(extra, ast.Dict), place
        fields = [ast.literal_eval(key) for key in extra.keys if key is not None]
        assert fields[0] == "event", place
        event = ast.literal_eval(extra.values[0])
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event), place
        # A field of a record's own name raises as it is logged.
        assert not own & set(fields), place
        found.setdefault(event, set()).add(place)
    assert len(found) > 40
    section = (PACKAGE.parent / "docs/operations.md").read_text().split("## The log")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (?=\w)", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    assert {"serving", "connection_refused"} <= named
    assert named <= found.keys()
    for begin, end in PAIRS.items():
        assert {begin, end} <= named
