"""One cell of a file of closes: which text is a close, a missing close, or a date."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Final

MISSING: Final = frozenset(
    {
        "", ".", "-",
        "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
        "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
"""Cells that mean no close: empty, pandas' words for missing values, and the dot and dash of data vendors."""

_MIDNIGHT: Final = re.compile(r"[ T]00:00(:00(\.0{1,9})?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?", re.ASCII)
_TIME_OF_DAY: Final = re.compile(r"[ T]\d\d:\d\d.*", re.ASCII)
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DATE_LENGTH: Final = len("2026-11-20")


def close_of(cell: str) -> float | None:
    """The close in a stripped cell, NaN for a missing one; None if it is neither."""
    if cell in MISSING:
        return math.nan
    # `float` accepts 1_000 and the digits of other scripts.
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def why_no_close(cell: str) -> str:
    """What to do about a cell that is not a close, as the end of a sentence; empty if unknown."""
    if _THOUSANDS.fullmatch(cell):
        return "; write it without thousands separators"
    if _DECIMAL_COMMA.fullmatch(cell):
        return "; write a point before the decimals"
    return ""


def day_of(cell: str) -> str | None:
    """The day in a stripped cell as ``YYYY-MM-DD``; None if it is not a day, or has a time but midnight."""
    day = cell[:_DATE_LENGTH]
    if not is_date(day):
        return None
    return day if len(cell) == _DATE_LENGTH or _MIDNIGHT.fullmatch(cell, _DATE_LENGTH) else None


def why_no_day(cell: str) -> str:
    """What to do about a cell that is not a day."""
    if is_date(cell[:_DATE_LENGTH]) and _TIME_OF_DAY.fullmatch(cell, _DATE_LENGTH):
        return "has a time of day, but bars are daily; write YYYY-MM-DD"
    return "is not a date; write YYYY-MM-DD"


def is_date(text: str) -> bool:
    """Whether a text is a valid calendar day, written ``YYYY-MM-DD``."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
