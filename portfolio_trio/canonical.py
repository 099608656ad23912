"""Numbers as they may be written: the doubles that every JSON engine reads back to the last bit.

RedisJSON multiplies the digits of a number by a power of ten, which is exact only where both fit a double: at
most 15 significant digits and at most 22 decimals. Other engines read every double; the document has to hold
on all of them. So a number is made canonical before it is hashed, recorded or sent, and is the same wherever
it is read. ``lua/prelude.lua`` has the same rules for what the scripts add up.
"""

from __future__ import annotations

from bisect import bisect_right
from math import copysign, inf, isfinite
from typing import Final

SHARE_DECIMALS: Final = 9
"""Share counts have at most so many decimals."""

TOTAL_LIMIT: Final = 1e22
"""Totals stay below this: up to here every power of ten is exact as a double."""

# Below this, 15 significant digits would need more than 22 decimals.
_SMALL: Final = 1e-8
# Whole numbers are printed with a trailing ".0" from here to 1e16, which makes two digits more.
_WHOLE: Final = 1e15
_WITH_EXPONENT: Final = 1e16
# Ends of the decades from there to `_WHOLE`, and what scales a number of each to 15 digits before the point.
_DECADES: Final = tuple(float(f"1e{exponent}") for exponent in range(-7, 15))
_POWERS: Final = tuple(float(f"1e{exponent}") for exponent in range(22, -1, -1))
# Added and taken away again it leaves an integer: doubles of this size have no digit behind the point.
_TO_INTEGER: Final = 1.5 * 2.0**52
_CLEAR: Final = 0.4
# Below this, nine decimals are within 15 digits.
_NINE_DECIMALS: Final = 1e6


def canonical(value: float) -> float:
    """Return the nearest double whose shortest text every engine reads back as that double.

    The value is rounded to 15 significant digits and to 22 decimals, whichever is coarser; between 1e15 and
    1e16 to 13 digits, as many writers print those without an exponent. From 1e22 on the last of the 15 digits
    may move by a few. Zero has no sign.

    Raises:
        ValueError: It is infinite or not a number.
    """
    size = abs(value)
    if _SMALL <= size < _WHOLE:
        # Scaled to 15 digits before the point, at most a sixteenth off: to which integer this rounds is clear
        # unless it is near the middle of two. That integer over an exact power of ten is the nearest double.
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
        # As below, without making a number of it in between.
        return f"{value:.15g}"
    return f"{canonical(value):.15g}"


def canonical_shares(value: float, *others: float) -> float:
    """Return a share count of at most nine decimals, and of no more than 15 significant digits.

    Args:
        value: The count, or the sum of two.
        others: What it is the sum of: its last digit is no finer than that of the largest, so that what
            addition leaves behind is no position.

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
    """Find the nearest 15 digits whose product with the power of ten, as a double, is the right one."""
    if not isfinite(size):
        raise ValueError(f"{size} is no JSON number")
    mantissa, exponent = f"{size:.14e}".split("e")
    digits = int(mantissa.replace(".", ""))
    # About every second one will do.
    for step in range(1_000):
        for candidate in (digits - step, digits + step):
            text = str(candidate).rstrip("0")
            power = int(exponent) - 14 + len(str(candidate)) - len(text)
            exact = float(f"{text}e{power}")
            if exact < inf and float(text) * float(f"1e{power}") == exact:
                return exact
    raise AssertionError(f"no canonical double near {size!r}")
