"""Rows of numbers as JSON text, at a tenth of what one number after the other costs."""

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

# Ends of the decades up to 1e15, and what scales a number of each to 15 digits before the point.
_DECADES: Final = np.array([float(f"1e{exponent}") for exponent in range(-7, 15)])
_POWERS: Final = np.array([float(f"1e{exponent}") for exponent in range(22, -1, -1)])
_WHOLE: Final = 1e15
_HALF: Final = 0.5
# Added and taken away again it leaves an integer: doubles of this size have no digit behind the point.
_TO_INTEGER: Final = 1.5 * 2.0**52
# Splits a double into two halves of 26 bits, whose products are exact (Dekker 1971).
_SPLIT: Final = 2.0**27 + 1.0
_POWERS_HIGH: Final = _SPLIT * _POWERS - (_SPLIT * _POWERS - _POWERS)
_POWERS_LOW: Final = _POWERS - _POWERS_HIGH
_NO_ERRORS: Final[Mapping[int, Mapping[str, str]]] = {}


def canonical_numbers(numbers: Floats) -> Floats:
    """The numbers, shape ``(N,)``, each as `canonical` makes it; NaN, which stands for none, as it is.

    Raises:
        ValueError: A number is infinite.
    """
    sizes = np.abs(numbers)
    place = _DECADES.searchsorted(sizes, side="right")
    power = _POWERS[place]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = numbers * power
        digits = (scaled + _TO_INTEGER) - _TO_INTEGER
        # What the product was rounded by, exactly: where it is in the middle of two integers this says which.
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
    """A list of numbers; NaN, which stands for none, is null.

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
        between: What stands before each number of a row, K texts: see `members`.
        end: What stands behind the last.
        numbers: Row by row, shape ``(N, K)``; NaN, which stands for none, is null.
        errors: Of some rows the code of each number that is null.

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
    # What stands before the first row joins it to none.
    return JsonText(f"[{''.join(woven)[1:]}{ends[-1]}]")


def members(*names: str) -> tuple[str, ...]:
    """What stands before numbers of these names."""
    return tuple(f',"{name}":' for name in names)
