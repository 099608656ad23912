"""Text of numbers and of the structures that contain them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.protocol.exact import exact_json
from tests.metrics.support import LAW


class Row(NamedTuple):
    name: str
    one: float | None
    two: float | None
    errors: dict[str, str]


NUMBERS = st.floats(-1e21, 1e21) | st.floats(-1.0, 1.0) | st.sampled_from([0.0, -0.0, 1e-8, 1e15])
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner))


@LAW
@given(JSON)
def test_what_holds_no_float_is_as_json_has_it(value: Any) -> None:
    assert json.loads(exact_json(value)) == value


@LAW
@given(st.text(max_size=5), NUMBERS | st.none(), NUMBERS | st.none(), st.sampled_from([{}, {"one": "why"}]))
def test_a_row_has_canonical_numbers(
    name: str, one: float | None, two: float | None, errors: dict[str, str]
) -> None:
    expected = {"name": name, "one": one and canonical(one), "two": two and canonical(two)}
    found = json.loads(exact_json([Row(name, one, two, errors)]))
    assert found == [expected | ({"errors": errors} if errors else {})]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_no_nan_gets_onto_the_wire(value: Any) -> None:
    with pytest.raises(ValueError, match="not a JSON number"):
        exact_json(value)


def test_what_has_no_json_is_named() -> None:
    with pytest.raises(TypeError, match="set"):
        exact_json({"a": {1}})
