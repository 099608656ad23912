from __future__ import annotations

import math
import struct
from decimal import Decimal

import pydantic_core
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical, canonical_shares, canonical_text

# Every bit pattern, and the magnitudes that a portfolio has.
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.builds(
    lambda mantissa, power: mantissa * 10.0**power, st.floats(-10.0, 10.0), st.integers(-25, 25)
)


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


def read_fast(text: str) -> float:
    """What a reader makes of a number that multiplies the digits, as a double, by one power of ten."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    power = int(exponent or 0) - len(fraction)
    digits, scale = float(int(whole + fraction)), float(f"1e{abs(power)}")
    value = digits / scale if power < 0 else digits * scale
    return -value if mantissa.startswith("-") else value


@given(numbers)
@example(4494761894597550.0)  # 16 digits, which writers print with .0
@example(9.709789388414e35)  # fewer digits, so that the power of ten is beyond what is exact
@example(1.7976931348623157e308)
@example(5e-324)
def test_a_canonical_number_survives_the_roughest_reader(value: float) -> None:
    kept = canonical(value)
    for text in (repr(kept), canonical_text(value), pydantic_core.to_json(kept).decode()):
        assert float(text) == kept
        assert bits(read_fast(text)) == bits(kept), text
    assert bits(canonical(kept)) == bits(kept)


@given(numbers)
def test_it_is_as_near_as_15_digits_and_22_decimals_allow(value: float) -> None:
    kept = canonical(value)
    relative = 0.5e-12 if 1e15 <= abs(value) < 1e16 else 0.5e-13 if abs(value) >= 1e22 else 0.5e-14
    assert abs(Decimal(kept) - Decimal(value)) <= Decimal(abs(value)) * Decimal(relative) + Decimal("0.6e-22")
    assert kept == 0.0 or (kept < 0.0) == (value < 0.0)
    assert canonical(-value) == -kept


def test_examples_of_what_becomes_of_numbers() -> None:
    assert canonical(123456789.12345679) == 123456789.123457
    assert canonical(0.1 + 0.2) == 0.3
    assert canonical(1 / 3) == 0.333333333333333
    assert canonical(1.23456789e-15) == 1.2345679e-15
    assert canonical(1e-23) == 0.0
    assert bits(canonical(-1e-30)) == bits(canonical(-0.0)) == bits(0.0)
    assert canonical_text(100.0) == "100"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_json_number_is_refused(value: float) -> None:
    for function in (canonical, canonical_text, canonical_shares):
        with pytest.raises(ValueError, match="not a JSON number"):
            function(value)


@given(st.floats(-1e15, 1e15))
def test_shares_have_nine_decimals_and_15_digits_at_most(value: float) -> None:
    kept = canonical_shares(value)
    _, digits, exponent = Decimal(repr(kept)).normalize().as_tuple()
    assert isinstance(exponent, int)
    assert exponent >= -9
    assert len(digits) <= 15
    assert canonical_shares(kept) == canonical(kept) == kept
    assert abs(kept - value) <= max(0.501e-9, abs(value) * 0.5e-13)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ((10000.1, -10000, -0.1), 0),
        ((0.1, 0.2, -0.3), 0),
        ((100000000.1, -100000000, -0.1), 0),
        ((0.000000001, 1, -1), 0.000000001),
        ((1e15, -1e15), 0),
        ((-33.333333333, -33.333333333, -33.333333334, 100), 0),
    ],
)
def test_adding_up_leaves_no_dust(steps: tuple[float, ...], left: float) -> None:
    held = 0.0
    for traded in steps:
        held = canonical_shares(held + traded, held, traded)
    assert held == left


@given(st.integers(10**14, 10**15 - 1), st.integers(-22, 0), st.integers(-2, 2))
@example(100_000_000_000_000, -7, 0)
@example(999_999_999_999_999, -22, 2)
def test_halfway_between_two_of_15_digits_it_is_what_formatting_says(
    digits: int, power: int, ulps: int
) -> None:
    value = float(f"{digits}.5e{power}")
    for _ in range(abs(ulps)):
        value = math.nextafter(value, math.copysign(math.inf, ulps))
    assert canonical(value) == float(f"{value:.15g}")
    assert canonical(-value) == float(f"{-value:.15g}")
