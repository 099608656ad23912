"""How the log is written: one line per event, as text or as JSON.

The message is a sentence without data; ``extra`` of the call has the ``event``, whose name is stable while
messages may change, and the context as fields.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final, Literal

from typing_extensions import override

from portfolio_trio.escaping import LogFormatter, echo
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from types import TracebackType

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

# The standard attributes of a record; some exist only after formatting.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "event"}
_FIELD_CHARACTERS: Final = 1_000
_MESSAGE_CHARACTERS: Final = 4_000
_TRACEBACK_CHARACTERS: Final = 30_000


def write_log(
    level: Level = "info", form: Format = "text", *, worker: int | None = None, access: bool = False
) -> None:
    """Write the log to stderr from now on.

    Args:
        level: The lowest level that is logged.
        form: The format of lines.
        worker: The number of this process, if there are several.
        access: Whether to log each answer and each closed socket.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(worker) if form == "json" else TextFormatter(worker))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("portfolio_trio.access_log").setLevel(logging.DEBUG if access else logging.WARNING)


class TextFormatter(LogFormatter):
    """``2026-11-27T08:07:37.755Z INFO worker 1 LOGGER: SENTENCE field=value``."""

    def __init__(self, worker: int | None = None) -> None:
        who = "" if worker is None else f"worker {worker} "
        super().__init__(f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s")

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return rfc3339(record.created)

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        more = "".join(f" {key}={_quoted(str(value))}" for key, value in fields_of(record).items())
        return super().formatMessage(record) + echo(more, _MESSAGE_CHARACTERS)

    @override
    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return super().formatException(_unwrapped(ei))


class JsonFormatter(LogFormatter):
    """One object per line: ``time``, ``level``, ``event``, ``message``, ``logger``, fields, ``exception``."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    @override
    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "message": record.getMessage()[:_MESSAGE_CHARACTERS],
            "logger": record.name,
            **self._worker,
            **{key: _plain(value) for key, value in fields_of(record).items()},
        }
        if record.exc_info:
            # Its end is the most useful part.
            text = logging.Formatter.formatException(self, _unwrapped(record.exc_info))
            content["exception"] = text[-_TRACEBACK_CHARACTERS:]
        # Escapes everything that is not ASCII, and so everything that could move a cursor.
        return json.dumps(content)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The context fields of a record."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    # NaN is not valid JSON.
    if isinstance(value, float) and value - value == 0:
        return value
    return str(value)[:_FIELD_CHARACTERS]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


def _unwrapped(
    ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
) -> tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]:
    """The only exception in nested groups: nurseries wrap it in a page of text without information."""
    error = ei[1]
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return ei if error is None or error is ei[1] else (type(error), error, error.__traceback__)
