"""Documents that somebody else has changed: every field, with values that the store never writes."""

from __future__ import annotations

import copy
from typing import Any, Final

from hypothesis import strategies as st

Document = dict[str, Any]

# Where to put a value; a number is a place in a list.
Path = tuple[str | int, ...]

FIELDS: Final[tuple[Path, ...]] = (
    ("session_id",),
    ("holdings",),
    ("holdings", "AAPL"),
    ("holdings", "new"),
    ("version",),
    ("total_value",),
    ("valued",),
    ("valued", "tick_id"),
    ("valued", "as_of"),
    ("targets",),
    ("targets", "weights"),
    ("targets", "weights", "AAPL"),
    ("targets", "budgets"),
    ("targets", "band"),
    ("targets", "new"),
    ("run_counter",),
    ("current_analysis",),
    *(
        ("current_analysis", name)
        for name in ("ticker", "started_at", "run_id", "version", "tick_id", "recorded", "worker", "token")
    ),
    ("run_ends",),
    ("run_ends", 0),
    *(("run_ends", 0, name) for name in ("run_id", "outcome", "reason", "new")),
    ("analysis_results",),
    ("analysis_results", 0),
    *(("analysis_results", 0, name) for name in ("ticker", "metric", "run_id", "value", "new")),
    ("result_sizes",),
    ("result_sizes", 0),
    ("results_bytes",),
    ("last_activity",),
    ("incarnation",),
    ("attached",),
    ("attached", 0),
)

GONE: Final = object()
"""The value that removes a field."""

SPECIAL: Final[tuple[Any, ...]] = (
    GONE,
    None,
    True,
    *(-1, 0, 1, 5, 1.5, -0.5, 1e-9, 5e-324, 1e15, 2**53 - 2, 2**53 - 1, 2**53),
    *(1e22, -1e22, 1e300, 1e308, -1e308),
    *("", "x", "5", "null", '"', "\\", "{", "}", "]", "[", '"}', "},{", '\\"}', ",", ":", "a b"),
    *("é\u2028\N{GRINNING FACE}", "x" * 5_000),
    *([], [[]], [5], ["x"], [None], ["}"], ['"'], [["w"]], [1.5, "x"], [{}]),
    *({}, {"a": 1}, {"a": {}}, {"x": "}"}, {"AAPL": "5"}, {"AAPL": True}, {"AAPL": None}, {"AAPL": 1e308}),
    *({"AAPL": [1]}, {"aapl": 1}, {"A B": 1}, {"": 1}, {'"': 1}, {"}": 1}),
    *({"$.version": [7]}, {"AAPL": -1e308, "MSFT": 1e308}),
    *({"run_id": 1}, [{"run_id": 1, "reason": "}"}], [{"run_id": 1, "reason": "},{"}]),
    *([{"run_id": 1, "a": "\\"}], [{"run_id": "1"}, {"run_id": 1e300, "outcome": "completed"}]),
    [{"run_id": 1, "outcome": "failed", "reason": "\N{GRINNING FACE}"}],
)

_LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_ANYTHING: Final = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

changes: Final = st.tuples(st.sampled_from(FIELDS), st.sampled_from(SPECIAL) | _ANYTHING)
"""One field and the value that somebody has put there."""


def changed(document: Document, path: Path, value: object) -> Document:
    """The document with another value in one place, or without the field."""
    document = copy.deepcopy(document)
    target: Any = document
    *way, at_last = path
    last: Any = at_last
    for step in way:
        target = target[step]
    if value is not GONE:
        target[last] = value
    elif isinstance(target, list) or last in target:
        del target[last]
    return document
