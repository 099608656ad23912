"""Rows of numbers as JSON text, at a tenth of the cost of writing one number after another."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from pydantic_core import to_json

from portfolio_trio.canonical import canonical
from portfolio_trio.protocol.exact import JsonText, exact_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]

# The decades up to 1e15, and the factors that scale a number of each to 15 digits before the point.
_DECADES: Final = np.array([float(f"1e{exponent}") for exponent in range(-7, 15)])
_POWERS: Final = np.array([float(f"1e{exponent}") for exponent in range(22, -1, -1)])
_WHOLE: Final = 1e15
_HALF: Final = 0.5
# Adding and subtracting it rounds to an integer: doubles of this size have no fractional part.
_TO_INTEGER: Final = 1.5 * 2.0**52
# Splits a double into two halves of 26 bits, whose products are exact (Dekker 1971).
_SPLIT: Final = 2.0**27 + 1.0
_POWERS_HIGH: Final = _SPLIT * _POWERS - (_SPLIT * _POWERS - _POWERS)
_POWERS_LOW: Final = _POWERS - _POWERS_HIGH
_NO_ERRORS: Final[Mapping[int, Mapping[str, str]]] = {}


def canonical_numbers(numbers: Floats) -> Floats:
    """The numbers, shape ``(N,)``, each as `canonical` makes it; NaN, which means none, is unchanged.

    Raises:
        ValueError: A number is infinite.
    """
    sizes = np.abs(numbers)
    place = _DECADES.searchsorted(sizes, side="right")
    power = _POWERS[place]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = numbers * power
        digits = (scaled + _TO_INTEGER) - _TO_INTEGER
        # The exact rounding error of the product: it decides if the product is halfway between two integers.
        split = _SPLIT * numbers
        high = split - (split - numbers)
        low = numbers - high
        power_high, power_low = _POWERS_HIGH[place], _POWERS_LOW[place]
        lost = ((high * power_high - scaled) + high * power_low + low * power_high) + low * power_low
        beyond = (scaled - digits) + lost
        digits += beyond > _HALF
        digits -= beyond < -_HALF
        found: Floats = digits / power
    for each in np.flatnonzero(sizes >= _WHOLE).tolist():
        found[each] = canonical(float(numbers[each]))
    return found


def numbers_text(numbers: Floats) -> JsonText:
    """A list of numbers; NaN, which means none, becomes null.

    Raises:
        ValueError: A number is infinite.
    """
    return JsonText(to_json(canonical_numbers(numbers.ravel()).tolist(), inf_nan_mode="null").decode())


def rows_text(
    tickers: Sequence[str],
    between: Sequence[str],
    end: str,
    numbers: Floats,
    errors: Mapping[int, Mapping[str, str]] = _NO_ERRORS,
) -> JsonText:
    """A list of objects, one for each ticker.

    Args:
        tickers: The names, N.
        between: The text before each number of a row, K texts: see `members`.
        end: The text after the last number.
        numbers: Row by row, shape ``(N, K)``; NaN, which means none, becomes null.
        errors: For some rows, the error code of each number that is null.

    Raises:
        ValueError: A number is infinite.
    """
    if not tickers:
        return JsonText("[]")
    texts = numbers_text(numbers)[1:-1].split(",")
    parts = list(between) * len(tickers)
    ends = [end] * len(tickers)
    for row, codes in errors.items():
        ends[row] = f',"errors":{exact_json(codes)}{end}'
    starts = [f'{{"ticker":{encode_basestring_ascii(ticker)}{between[0]}' for ticker in tickers]
    parts[:: len(between)] = map(",".join, zip(["", *ends[:-1]], starts, strict=True))
    woven = [""] * (2 * len(parts))
    woven[::2], woven[1::2] = parts, texts
    # The text before the first row must not join it to another.
    return JsonText(f"[{''.join(woven)[1:]}{ends[-1]}]")


def members(*names: str) -> tuple[str, ...]:
    """The text before numbers of these names."""
    return tuple(f',"{name}":' for name in names)
