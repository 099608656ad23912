"""The types of the fields of a document, with the bounds of what the store writes.

Anything else in a document was written by somebody else. The scripts check the same, see
``lua/checks.lua``, before they change a document.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from portfolio_trio.canonical import TOTAL_LIMIT
from portfolio_trio.targets import Targets
from portfolio_trio.tickers import TICKER_PATTERN

Whole: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
"""A non-negative integer."""
Name: TypeAlias = Annotated[str, Field(pattern=TICKER_PATTERN)]
"""A ticker in upper case."""
Shares: TypeAlias = Annotated[float, Field(strict=True, ge=-TOTAL_LIMIT, le=TOTAL_LIMIT)]
"""A number of shares; a trade that would lead to more is refused."""
Total: TypeAlias = Annotated[float, Field(strict=True, gt=-TOTAL_LIMIT, lt=TOTAL_LIMIT)]
"""The value of a portfolio, in currency units."""
Moment: TypeAlias = Annotated[str, Field(pattern=r"^[0-9TZ:.\-]{1,40}$")]
"""A time, RFC 3339 in UTC with Z."""
Code: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{0,64}$")]
"""A worker, a token or a reason."""
_Part: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1)]


class _TargetFields(TypedDict):
    """Targets as a document has them: shares of 1."""

    weights: dict[Name, _Part] | None
    budgets: dict[Name, _Part] | None
    band: _Part


_TARGET_FIELDS: Final = TypeAdapter(_TargetFields)


def _as_stored(targets: object) -> object:
    return targets if targets is None else _TARGET_FIELDS.validate_python(targets)


StoredTargets: TypeAlias = Annotated[Targets | None, BeforeValidator(_as_stored)]
"""The owner's targets in a document; None if none were ever set."""
