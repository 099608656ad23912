"""The log as operators read it, and as programs do."""

from __future__ import annotations

from typing import Any

import pytest

from portfolio_trio.logs import TextFormatter, fields_of


def log_text(caplog: pytest.LogCaptureFixture) -> str:
    """All lines, each with its fields."""
    return "\n".join(map(TextFormatter().format, caplog.records))


def events(
    caplog: pytest.LogCaptureFixture, *names: str, level: str = ""
) -> list[tuple[str, dict[str, Any]]]:
    """Event and fields of each line: of these events, of this level; by default of any."""
    found = [
        (vars(record).get("event", ""), fields_of(record))
        for record in caplog.records
        if level in {"", record.levelname.lower()}
    ]
    return [each for each in found if not names or each[0] in names]
