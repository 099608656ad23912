"""Rows of numbers are written together, with the same result as one by one."""

from __future__ import annotations

import itertools
import json
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.protocol.tables import canonical_numbers, members, numbers_text, rows_text
from tests.metrics.support import LAW

ROOMY = settings(LAW, max_examples=300)

# Every bit pattern, the magnitudes that a portfolio has, and what lies next to the middle of two roundings.
NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.builds(lambda mantissa, power: mantissa * 10.0**power, st.floats(-10.0, 10.0), st.integers(-25, 25))
    | st.builds(
        lambda digits, power, ulps: float(
            np.nextafter(float(f"{digits}5e{power}"), ulps * np.inf if ulps else float(f"{digits}5e{power}"))
        ),
        st.integers(10**14, 10**15 - 1),
        st.integers(-24, 2),
        st.sampled_from([-1, 0, 1]),
    )
)


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


@ROOMY
@given(st.lists(NUMBERS, max_size=20))
@example([0.0, -0.0, 1e-8, 1e15, 9.999999999999995e14, -1e-300, 999999999999999.5, 1e22, 5e-324, 1.7e308])
def test_numbers_made_canonical_together_are_what_each_is_alone(numbers: list[float]) -> None:
    found = canonical_numbers(np.array(numbers)).tolist()
    assert list(map(bits, found)) == [bits(canonical(each)) for each in numbers]
    assert json.loads(numbers_text(np.array(numbers))) == [canonical(each) for each in numbers]


def test_those_next_to_the_middle_of_two_are_too() -> None:
    """All doubles whose product with a large power of ten is within a small fraction of a value."""
    numbers = []
    for power, fraction in itertools.product((18, 19, 20, 21, 22), range(46, 58)):
        for parts in range(-15, 16, 2):
            step = 2**fraction
            first = (step // 2 + parts) * pow(5**power, -1, step) % step
            numbers += [
                mantissa * 2.0 ** (-fraction - power)
                for mantissa in range(first, 2**53, step)
                if mantissa >= 2**52 and 10**14 <= mantissa * 5**power >> fraction < 10**15
            ]
    assert len(numbers) > 500
    assert canonical_numbers(np.array(numbers)).tolist() == list(map(canonical, numbers))


def test_many_numbers_are_too() -> None:
    rng = np.random.default_rng(17)
    numbers = rng.normal(size=50_000) * 10.0 ** rng.uniform(-9.0, 15.0, 50_000)
    assert canonical_numbers(numbers).tolist() == list(map(canonical, numbers.tolist()))


@LAW
@given(st.dictionaries(st.text(max_size=5), st.tuples(NUMBERS, st.none() | NUMBERS)), st.data())
def test_a_row_is_an_object(rows: dict[str, tuple[float, float | None]], data: st.DataObject) -> None:
    wrong = data.draw(st.sets(st.integers(0, len(rows) - 1))) if rows else set()
    errors = {row: {"two": "why"} for row in sorted(wrong)}
    numbers = np.array([[one, np.nan if two is None else two] for one, two in rows.values()])
    expected = [
        {"ticker": name, "one": canonical(one), "in": {"two": two if two is None else canonical(two)}}
        | ({"errors": errors[row]} if row in errors else {})
        for row, (name, (one, two)) in enumerate(rows.items())
    ]
    flat = rows_text([*rows], members("one", "two"), "}", numbers, errors)
    assert json.loads(flat) == [
        {"ticker": each["ticker"], "one": each["one"], "two": each["in"]["two"]}  # type: ignore[index]
        | ({"errors": each["errors"]} if "errors" in each else {})
        for each in expected
    ]
    if not errors:
        nested = rows_text([*rows], (',"one":', ',"in":{"two":'), "}}", numbers)
        assert json.loads(nested) == expected


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_no_infinity_gets_onto_the_wire(value: float) -> None:
    with pytest.raises(ValueError, match="not a JSON number"):
        numbers_text(np.array([1.0, value]))
