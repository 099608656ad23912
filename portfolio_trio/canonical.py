"""Canonical numbers: the doubles that every JSON engine reads back exactly.

RedisJSON multiplies the digits of a number by a power of ten, which is exact only if both fit a double: at
most 15 significant digits and at most 22 decimals. Other engines read every double, but the document has to
be the same on all of them. So a number is made canonical before it is hashed, recorded or sent, and is the
same wherever it is read. ``lua/prelude.lua`` applies the same rules to the sums that the scripts compute.
"""

from __future__ import annotations

from bisect import bisect_right
from math import copysign, inf, isfinite
from typing import Final

SHARE_DECIMALS: Final = 9
"""The maximum number of decimals of share counts."""

TOTAL_LIMIT: Final = 1e22
"""Totals must be below this: up to here every power of ten is exact as a double."""

# Below this, 15 significant digits would need more than 22 decimals.
_SMALL: Final = 1e-8
# From here to 1e16 whole numbers are printed with a trailing ".0", which adds two digits.
_WHOLE: Final = 1e15
_WITH_EXPONENT: Final = 1e16
# The decades from there to `_WHOLE`, and the factors that scale a number of each to 15 digits before the
# point.
_DECADES: Final = tuple(float(f"1e{exponent}") for exponent in range(-7, 15))
_POWERS: Final = tuple(float(f"1e{exponent}") for exponent in range(22, -1, -1))
# Adding and subtracting it rounds to an integer: doubles of this size have no fractional part.
_TO_INTEGER: Final = 1.5 * 2.0**52
_CLEAR: Final = 0.4
# Below this, nine decimals are within 15 digits.
_NINE_DECIMALS: Final = 1e6


def canonical(value: float) -> float:
    """Return the nearest double whose shortest text every engine reads back exactly.

    The value is rounded to 15 significant digits and to 22 decimals, whichever is coarser; between 1e15 and
    1e16 to 13 digits, because many writers print those without an exponent. From 1e22 on the last of the 15
    digits may be off by a few. Zero has no sign.

    Raises:
        ValueError: It is infinite or not a number.
    """
    size = abs(value)
    if _SMALL <= size < _WHOLE:
        # Scaled to 15 digits before the point, with an error of at most a sixteenth: the nearest integer is
        # certain unless the value is near the middle of two. That integer over an exact power of ten is the
        # nearest double.
        power = _POWERS[bisect_right(_DECADES, size)]
        scaled = value * power
        digits = (scaled + _TO_INTEGER) - _TO_INTEGER
        if -_CLEAR < scaled - digits < _CLEAR:
            return digits / power
        return float(f"{value:.15g}")
    if size < _SMALL:
        return float(f"{value:.22f}") + 0.0
    if size < _WITH_EXPONENT:
        return float(f"{value:.13g}")
    if size < TOTAL_LIMIT:
        return float(f"{value:.15g}")
    return copysign(_beyond_limit(size), value)


def canonical_text(value: float) -> str:
    """Return the number, made canonical, as JSON text.

    Raises:
        ValueError: It is infinite or not a number.
    """
    if _SMALL <= abs(value) < _WHOLE:
        # As below, but without converting it to a number in between.
        return f"{value:.15g}"
    return f"{canonical(value):.15g}"


def canonical_shares(value: float, *others: float) -> float:
    """Return a share count with at most nine decimals and at most 15 significant digits.

    Args:
        value: The count, or the sum of two.
        others: The summands: its last digit is no finer than that of the largest, so that rounding errors of
            the addition leave no position.

    Raises:
        ValueError: It is infinite or not a number.
    """
    size = max(map(abs, (value, *others))) if others else abs(value)
    if size < _NINE_DECIMALS:
        return float(f"{value:.{SHARE_DECIMALS}f}") + 0.0
    decimals, limit = SHARE_DECIMALS - 1, _NINE_DECIMALS * 10.0
    while decimals and size >= limit:
        decimals, limit = decimals - 1, limit * 10.0
    return canonical(float(f"{value:.{decimals}f}"))


def _beyond_limit(size: float) -> float:
    """Find the nearest 15 digits whose product with the power of ten, as a double, is exact."""
    if not isfinite(size):
        raise ValueError(f"{size} is not a JSON number")
    mantissa, exponent = f"{size:.14e}".split("e")
    digits = int(mantissa.replace(".", ""))
    # About every second candidate works.
    for step in range(1_000):
        for candidate in (digits - step, digits + step):
            text = str(candidate).rstrip("0")
            power = int(exponent) - 14 + len(str(candidate)) - len(text)
            exact = float(f"{text}e{power}")
            if exact < inf and float(text) * float(f"1e{power}") == exact:
                return exact
    raise AssertionError(f"no canonical double near {size!r}")
